"""The Responses API as the openai SDK reads it; its types are checked strictly against what came."""

from __future__ import annotations

import itertools
import json

import httpx2
import openai
import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from tests.simulator.apis.conftest import last_row
from tests.simulator_process import API_KEY, running_simulator

TOOL = {
    "type": "function",
    "name": "look_up",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}
ANY_EVENT = TypeAdapter(ResponseStreamEvent)


def events_of(client, **asked):
    events = list(client.responses.create(stream=True, **asked))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    for event in events:
        plain = event.to_dict()
        # The SDK's types want the tokens written to the cache, which is newer than the servers that we stand for.
        if usage := plain.get("response", {}).get("usage"):
            usage["input_tokens_details"].setdefault("cache_write_tokens", 0)
        ANY_EVENT.validate_python(plain)
    return events


def test_a_stream_of_text_has_its_typed_events_in_order(simulator, client):
    events = events_of(client, model="plain", input="how are you", max_output_tokens=16)
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[4:20] == ["response.output_text.delta"] * 16
    assert kinds[20:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    text = "".join(event.delta for event in events[4:20])
    response = events[-1].response
    assert response.output_text == text == events[20].text
    assert response.incomplete_details.reason == "max_output_tokens"
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (10, 16, 26)
    row = last_row(simulator)
    assert (row["api"], row["status"], row["outcome"], row["chunks"]) == ("responses", 200, "ok", 16)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (10, 16)


def test_the_sdks_own_accumulation_equals_the_last_event(plain_client):
    with plain_client.responses.stream(model="shows-thoughts", input="how are you") as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert len(final.output_text.split()) == 4
    assert len(final.output[0].content[0].text.split()) == 6


def test_an_answer_in_one_body(simulator, client):
    response = client.responses.create(
        model="plain", input="how are you", instructions="be brief", max_output_tokens=16
    )
    assert response.status == "incomplete"
    assert len(response.output_text.split()) == 16
    assert response.usage.input_tokens == 16
    assert last_row(simulator)["first_token_at"] == last_row(simulator)["finished_at"]


def test_hidden_reasoning_is_an_item_without_deltas_and_counts(client):
    events = events_of(client, model="thinker", input="why", max_output_tokens=30)
    first_text = next(n for n, event in enumerate(events) if event.type == "response.output_text.delta")
    assert [event.type for event in events[2:first_text]] == [
        "response.output_item.added",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
    ]
    response = events[-1].response
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.usage.output_tokens_details.reasoning_tokens == 20
    assert response.usage.output_tokens == 30
    silent = client.responses.create(model="thinker", input="why", max_output_tokens=16)
    assert [item.type for item in silent.output] == ["reasoning"]


@pytest.mark.parametrize(("summary", "kind"), [("auto", "reasoning_summary_text"), (None, "reasoning_text")])
def test_reasoning_that_is_shown_comes_in_deltas(plain_client, simulator, summary, kind):
    reasoning = {"summary": summary} if summary else {}
    events = events_of(plain_client, model="shows-thoughts", input="why", reasoning=reasoning)
    assert [event.type for event in events].count(f"response.{kind}.delta") == 6
    assert [event.type for event in events].count("response.output_text.delta") == 4
    assert events[-1].type == "response.completed"
    assert last_row(simulator)["reasoning_tokens"] == 6


def test_effort_changes_how_much_it_thinks(plain_client):
    used = [
        plain_client.responses.create(model="thinker", input="why", reasoning={"effort": effort}, max_output_tokens=500)
        for effort in ("none", "low", "medium", "high")
    ]
    assert [one.usage.output_tokens_details.reasoning_tokens for one in used] == [0, 8, 20, 40]


def test_a_function_call_comes_in_pieces_and_a_result_gets_a_text(client):
    events = events_of(client, model="plain", input="weather in Oslo?", tools=[TOOL])
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    (call,) = events[-1].response.output
    assert (call.type, call.name, call.status) == ("function_call", "look_up", "completed")
    assert "".join(deltas) == call.arguments
    assert len(deltas) > 3
    assert 1 <= json.loads(call.arguments)["days"] <= 7
    given = [{"role": "user", "content": "weather in Oslo?"}, call.to_dict()]
    given.append({"type": "function_call_output", "call_id": call.call_id, "output": '{"t": 3}'})
    after = client.responses.create(model="plain", input=given, tools=[TOOL], max_output_tokens=16)
    assert after.output[0].type == "message"
    none = client.responses.create(model="plain", input="hi", tools=[TOOL], tool_choice="none", max_output_tokens=16)
    assert none.output[0].type == "message"


def test_a_refusal(plain_client):
    events = events_of(plain_client, model="plain", input="[[simulate refusal]]")
    refusal = "".join(event.delta for event in events if event.type == "response.refusal.delta")
    assert events[-1].response.output[0].content[0].refusal == refusal
    assert refusal.startswith("I'm sorry")


def test_json_by_a_schema(plain_client):
    form = {"type": "json_schema", "name": "answer", "strict": True, "schema": TOOL["parameters"]}
    response = plain_client.responses.create(model="plain", input="hi", text={"format": form})
    assert set(json.loads(response.output_text)) == {"city", "days"}
    assert response.status == "completed"


def test_a_conversation_by_previous_response_id(client):
    first = client.responses.create(model="plain", input="how are you", max_output_tokens=16)
    second = client.responses.create(
        model="plain", input="and now", previous_response_id=first.id, max_output_tokens=16
    )
    assert second.usage.input_tokens == first.usage.input_tokens + 16 + 4 + 2 + 4
    assert second.previous_response_id == first.id
    unkept = client.responses.create(model="plain", input="hi", store=False, max_output_tokens=16)
    for unknown in (unkept.id, "resp_0"):
        with pytest.raises(openai.BadRequestError) as raised:
            client.responses.create(model="plain", input="hi", previous_response_id=unknown)
        assert raised.value.code == "previous_response_not_found"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"model": "nobody", "input": "hi"}, None),
        ({"model": "plain"}, "missing_required_parameter"),
        ({"model": "plain", "input": "hi", "max_tokens": 5}, "unknown_parameter"),
        ({"model": "plain", "input": "hi", "max_output_tokens": 3}, None),
        ({"model": "thinker", "input": "hi", "temperature": 0.3}, "unsupported_value"),
        ({"model": "thinker", "input": "hi", "top_p": 0.3}, "unsupported_parameter"),
        ({"model": "plain", "input": "hi", "reasoning": {"effort": "low"}}, "unsupported_parameter"),
        ({"model": "vectors", "input": "hi"}, "OperationNotSupported"),
    ],
)
def test_what_is_refused(simulator, asked, code):
    answer = httpx2.post(simulator.chat_url + "/openai/v1/responses", json=asked, headers={"api-key": API_KEY})
    assert answer.status_code == (404 if asked["model"] == "nobody" else 400)
    if code is not None:
        assert answer.json()["error"]["code"] == code


def test_the_quota_counts_it_like_chat(simulator, plain_client):
    simulator.admin("POST", "/admin/reset")
    with pytest.raises(openai.RateLimitError) as raised:
        for _ in range(4):
            plain_client.responses.create(model="small-quota", input="hi", max_output_tokens=490)
    assert "Responses_Create" in raised.value.message
    assert raised.value.response.headers["x-ratelimit-limit-tokens"] == "1000"


def test_faults_strike_in_its_own_words(simulator, plain_client):
    def broken(fault):
        headers = {"x-simulate-fault": fault}
        return plain_client.responses.create(
            model="plain", input="hi", max_output_tokens=20, stream=True, extra_headers=headers
        )

    failed = list(broken("failed_event"))[-1]
    assert (failed.type, failed.response.status, failed.response.error.code) == (
        "response.failed",
        "failed",
        "server_error",
    )
    error = list(broken("error_event"))[-1]
    assert (error.type, error.code) == ("error", "internal_error")
    filtered = list(broken("filter_midway"))[-1]
    assert filtered.response.incomplete_details.reason == "content_filter"
    assert list(broken("end_midway"))[-1].type == "response.output_text.delta"
    rows = simulator.truth()[-4:]
    assert [row["outcome"] for row in rows] == ["in_band_error"] * 3 + ["cut"]
    whole = plain_client.responses.create(model="plain", input="hi", extra_headers={"x-simulate-fault": "failed_event"})
    assert whole.status == "failed"


def test_a_conversation_goes_on_in_whichever_process_serves_it():
    config = "[deployments.plain]\nmodel = 'gpt-4.1'\nttft_base_ms = 1\nttft_std_ms = 0\ntbt_ms = 0.1\n"
    with running_simulator(config, workers=2) as simulator:
        previous, tokens = None, []
        for _ in range(6):
            with openai.OpenAI(base_url=simulator.chat_url + "/v1", api_key=API_KEY, max_retries=0) as client:
                response = client.responses.create(
                    model="plain", input="go on", max_output_tokens=16, previous_response_id=previous
                )
            previous = response.id
            tokens.append(response.usage.input_tokens)
    assert [b - a for a, b in itertools.pairwise(tokens)] == [16 + 4 + 2 + 4] * 5
