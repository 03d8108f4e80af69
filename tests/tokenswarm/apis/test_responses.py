"""Responses API: what the openai SDK reads from the same bytes, and what an answer that is none comes to."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scripted_server import close, scripted_server
from tests.tokenswarm.apis.streams import cut_at, events, read
from tokenswarm.apis.request import ChatRequest
from tokenswarm.apis.responses import Responses, ResponseStream
from tokenswarm.record import Outcome

USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"cached_tokens": 32},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 9},
    "total_tokens": 62,
}
ITEM = {"item_id": "i", "output_index": 0, "content_index": 0}


def response(status: str, **more: Any) -> dict[str, Any]:
    found = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5", "status": status, "output": []}
    return {**found, "error": None, "incomplete_details": None, "usage": None, **more}


def delta(text: str, kind: str = "response.output_text.delta") -> dict[str, Any]:
    return {"type": kind, "sequence_number": 1, **ITEM, "delta": text}


def message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}


CREATED = {"type": "response.created", "sequence_number": 0, "response": response("in_progress")}
ADDED = {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": message("")}
DONE = response("completed", output=[message("a cat")], usage=USAGE)
COMPLETED = {"type": "response.completed", "sequence_number": 9, "response": DONE}
WHOLE = [CREATED, ADDED, delta("a"), delta(""), delta(" "), delta("cat"), COMPLETED]


def stream(*payloads: dict[str, Any], keep_text: bool = False) -> Any:
    return read(ResponseStream(keep_text), events(*payloads))


def test_a_whole_stream() -> None:
    found = stream(*WHOLE, keep_text=True)
    assert (found.outcome, found.error, found.text) == (Outcome.OK, None, "a cat")
    expected = {
        "ttft_ms": 30.0,
        "ttft_visible_ms": 30.0,
        "last_token_ms": 60.0,
        "chunks": 3,
        "tbt_ms": 15.0,  # 30 ms over 2 gaps of 3 chunks that hold 3 visible tokens
        "prompt_tokens": 50,
        "completion_tokens": 12,
        "reasoning_tokens": 9,
        "cached_tokens": 32,
        "finish_reason": "completed",
        "model": "gpt-5",
    }
    assert {name: found.columns[name] for name in expected} == expected


def test_lifecycle_events_carry_no_token() -> None:
    found = stream(CREATED, ADDED, COMPLETED)
    assert "ttft_ms" not in found.columns


@pytest.mark.parametrize(
    ("kind", "is_visible"),
    [
        ("response.output_text.delta", True),
        ("response.refusal.delta", True),
        ("response.reasoning_text.delta", False),
        ("response.reasoning_summary_text.delta", False),
        ("response.function_call_arguments.delta", False),
    ],
)
def test_what_counts_as_a_token(kind: str, is_visible: bool) -> None:
    found = stream(CREATED, delta("x", kind), delta("y"), COMPLETED)
    assert found.columns["ttft_ms"] == 20.0
    assert found.columns["ttft_visible_ms"] == (20.0 if is_visible else 30.0)


def test_a_summary_of_reasoning_makes_no_time_between_tokens() -> None:
    """The summary's chunks hold tokens that usage does not tell apart."""
    found = stream(CREATED, delta("x", "response.reasoning_summary_text.delta"), delta("y"), COMPLETED)
    assert found.columns["tbt_ms"] is None


@given(st.lists(st.integers(0, 5000), max_size=12))
def test_cut_anywhere_counts_the_same(places: list[int]) -> None:
    found = read(ResponseStream(True), cut_at(b"".join(events(*WHOLE)), places))
    assert (found.outcome, found.text, found.columns["chunks"]) == (Outcome.OK, "a cat", 3)


FAILED = response("failed", error={"code": "server_error", "message": "no luck"})
LIMITED = response("failed", error={"code": "rate_limit_exceeded", "message": "slow down"})
FILTERED = response("incomplete", incomplete_details={"reason": "content_filter"}, usage=USAGE)
CUT_SHORT = response("incomplete", incomplete_details={"reason": "max_output_tokens"}, usage=USAGE)


@pytest.mark.parametrize(
    ("end", "outcome", "error"),
    [
        ([{"type": "response.failed", "response": FAILED}], Outcome.STREAM_ERROR, "server_error: no luck"),
        ([{"type": "response.failed", "response": LIMITED}], Outcome.THROTTLED, "rate_limit_exceeded: slow down"),
        ([{"type": "error", "code": "oops", "message": "no luck"}], Outcome.STREAM_ERROR, "oops: no luck"),
        ([{"error": {"code": "oops", "message": "no luck"}}], Outcome.STREAM_ERROR, "oops: no luck"),
        (
            [{"type": "response.incomplete", "response": FILTERED}],
            Outcome.CONTENT_FILTER,
            "answer stopped by the content filter",
        ),
        ([{"type": "response.incomplete", "response": CUT_SHORT}], Outcome.OK, None),
        ([], Outcome.TRUNCATED, "stream ended before the answer was finished"),
        (
            [{"type": "response.completed", "response": response("in_progress")}],
            Outcome.BAD_PAYLOAD,
            "response has status 'in_progress', not completed or incomplete",
        ),
    ],
)
def test_how_a_stream_ends(end: list[dict[str, Any]], outcome: Outcome, error: str | None) -> None:
    found = stream(CREATED, delta("a"), *end)
    assert (found.outcome, found.error) == (outcome, error)


def test_a_stream_without_any_output_is_no_answer() -> None:
    nothing = {"type": "response.completed", "response": response("completed", usage=None)}
    assert stream(CREATED, nothing).outcome is Outcome.BAD_PAYLOAD


def test_the_answer_ends_with_its_closing_event() -> None:
    reader = ResponseStream()
    *others, last = events(*WHOLE)
    assert not any(reader.feed(piece, 1.0, 0.0) for piece in others)
    assert reader.feed(last, 2.0, 1.0)


def body(value: Any) -> Any:
    reader = ResponseStream()
    reader.feed(value if isinstance(value, bytes) else json.dumps(value).encode(), 1.0, 0.0)
    return reader.finish()


def test_a_whole_body() -> None:
    found = body(DONE)
    assert (found.outcome, found.text, found.columns["cached_tokens"]) == (Outcome.OK, "a cat", 32)
    assert "ttft_ms" not in found.columns


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (FAILED, Outcome.STREAM_ERROR),
        (LIMITED, Outcome.THROTTLED),
        (FILTERED, Outcome.CONTENT_FILTER),
        (response("completed"), Outcome.BAD_PAYLOAD),
        ([], Outcome.BAD_PAYLOAD),
        (b"<html>", Outcome.BAD_PAYLOAD),
    ],
)
def test_a_body_that_is_no_answer(value: Any, outcome: Outcome) -> None:
    assert body(value).outcome is outcome


def test_a_call_of_a_function_is_an_answer() -> None:
    call = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}
    assert body(response("completed", output=[call])).outcome is Outcome.OK


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def test_the_sdk_reads_the_same() -> None:
    with (
        scripted_server([HEAD + b"".join(events(*WHOLE)), close]) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0) as client,
    ):
        seen = list(client.responses.create(model="gpt-5", input="Hi", stream=True))
    text = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
    (last,) = (event.response for event in seen if event.type == "response.completed")
    found = stream(*WHOLE, keep_text=True)
    assert last.usage is not None
    assert (found.text, found.columns["completion_tokens"]) == (text, last.usage.output_tokens)
    assert found.columns["cached_tokens"] == last.usage.input_tokens_details.cached_tokens


def test_the_sdk_sends_the_same() -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "ü"}]
    with (
        scripted_server([HEAD + b"".join(events(*WHOLE)), close]) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0) as client,
    ):
        client.responses.create(model="m", input=messages, stream=True, max_output_tokens=7, temperature=0.5)  # type: ignore[call-overload]
    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    encoded = Responses("m").encode(ChatRequest(messages=messages, max_tokens=7, body={"temperature": 0.5}))
    assert json.loads(encoded.body) == json.loads(sent)
    assert head.startswith(b"POST /v1" + encoded.path.encode() + b" ")


def test_a_conversation_by_the_last_answers_id_sends_what_follows_it() -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    encoded = Responses("gpt-5").encode(ChatRequest(messages=said, previous_id="resp_1"))
    expected = {"model": "gpt-5", "input": said[2:], "previous_response_id": "resp_1", "stream": True}
    assert json.loads(encoded.body) == expected
    assert stream(*WHOLE).answer_id == "resp_1"
    body = json.dumps(DONE).encode()
    assert read(ResponseStream(), [body]).answer_id == "resp_1"


def test_the_tier_that_served_it() -> None:
    closing = {"type": "response.completed", "response": {"status": "completed", "service_tier": "priority"}}
    found = stream({"type": "response.output_text.delta", "delta": "a"}, closing)
    assert found.columns["service_tier"] == "priority"
    assert stream(*WHOLE).columns["service_tier"] is None
    body = {"status": "completed", "service_tier": "flex", "output": []}
    assert read(ResponseStream(), [json.dumps(body).encode()]).columns["service_tier"] == "flex"
