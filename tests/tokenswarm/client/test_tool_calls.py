"""Calls of tools and refusals, read from each API's answers, streamed and whole, and judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulator_process import API_KEY, Simulator, running_simulator
from tests.tokenswarm.config.test_settings import settings
from tokenswarm.apis.chat_completions import ChatStream
from tokenswarm.apis.named import api_of
from tokenswarm.apis.request import ChatRequest, Sending
from tokenswarm.apis.responses import ResponseStream
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import Client
from tokenswarm.client.sdk import chat_endpoint
from tokenswarm.record import RequestRecord
from tokenswarm.userinput import BadInput
from tokenswarm.workload.expectation import parse_expectation

CONFIG = """
[deployments.right]
ttft_base_ms = 1
tbt_ms = 1
[deployments.wrong]
ttft_base_ms = 1
tbt_ms = 1
wrong_above = 0
"""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
EXPECT = parse_expectation({"tool": {"name": "weather", "arguments": SCHEMA}})
FUNCTION = {"name": "weather", "parameters": SCHEMA}
TOOLS = {
    "chat": {"type": "function", "function": FUNCTION},
    "responses": {"type": "function", **FUNCTION},
    "messages": {"name": "weather", "input_schema": SCHEMA},
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG, seed=3) as simulator:
        yield simulator


def ask(simulator: Simulator, endpoint: str, deployment: str, stream: bool) -> RequestRecord:
    variables = {"OPENAI_BASE_URL": simulator.chat_url + "/v1", "OPENAI_API_KEY": API_KEY}
    chat = settings(variables, deployment=deployment, endpoint=endpoint).chat
    assert chat is not None
    request = ChatRequest(
        messages=[{"role": "user", "content": "What is the weather?"}],
        max_tokens=100,
        stream=stream,
        keep_text=True,
        judge=EXPECT.columns,
        body={"tools": [TOOLS[endpoint]]},
    )
    client = Client(api_of(chat), chat_endpoint(chat, Sending()), Sending(), Caller("w0", 1))
    record = client.call(request, lambda _record: None).record
    client.close()
    return record


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("endpoint", ["chat", "responses", "messages"])
def test_a_call_is_judged_by_its_arguments(simulator: Simulator, endpoint: str, stream: bool) -> None:
    right, wrong = (ask(simulator, endpoint, deployment, stream) for deployment in ("right", "wrong"))
    assert (right.answer_check, wrong.answer_check) == ("right", "tool"), (right.error, wrong.error)
    assert right.answer_hash != wrong.answer_hash


def chat_found(events: list[dict[str, Any]]) -> Any:
    stream = ChatStream(keep_text=True)
    for event in events:
        stream.feed(b"data: " + json.dumps({"choices": [event]}).encode() + b"\n\n", 1.0, 0.0)
    stream.feed(b"data: [DONE]\n\n", 2.0, 1.0)
    return stream.finish()


def test_two_calls_side_by_side_and_the_older_form() -> None:
    def part(index: int, **function: str) -> dict[str, Any]:
        return {"index": index, "function": function}

    found = chat_found(
        [
            {"index": 0, "delta": {"tool_calls": [part(0, name="a", arguments="")]}},
            {"index": 0, "delta": {"tool_calls": [part(1, name="b", arguments="{"), part(0, arguments='{"x"')]}},
            {"index": 0, "delta": {"tool_calls": [part(0, arguments=":1}"), part(1, arguments="}")]}},
            {"index": 0, "delta": {}, "finish_reason": "tool_calls"},
        ]
    )
    assert found.tool_calls == (("a", '{"x":1}'), ("b", "{}"))
    older = {"message": {"function_call": {"name": "a", "arguments": "{}"}}, "finish_reason": "function_call"}
    assert chat_found([{"index": 0, **older}]).tool_calls == (("a", "{}"),)


def test_calls_without_an_index_are_told_apart_by_their_names() -> None:
    names = [{"function": {"name": name, "arguments": "{}"}} for name in ("a", "b")]
    found = chat_found([{"index": 0, "delta": {"tool_calls": names}, "finish_reason": "tool_calls"}])
    assert found.tool_calls == (("a", "{}"), ("b", "{}"))


def test_a_refusal_in_a_field_of_its_own_is_the_text_and_is_marked() -> None:
    found = chat_found(
        [
            {"index": 0, "delta": {"content": None, "refusal": "Das geht"}},
            {"index": 0, "delta": {"refusal": " nicht."}, "finish_reason": "stop"},
        ]
    )
    assert (found.text, found.refused) == ("Das geht nicht.", True)
    content = [{"type": "refusal", "refusal": "Das geht nicht."}]
    body = {"status": "completed", "output": [{"type": "message", "content": content}]}
    response = ResponseStream(keep_text=True).read_body(body)
    assert (response.text, response.refused) == ("Das geht nicht.", True)


def test_an_endpoint_without_tools_is_refused(tmp_path: Any) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps({"question": "a", "expect": {"tool": "weather"}}))
    with pytest.raises(BadInput, match="dataset: expected endpoint = chat, responses, messages beside expect"):
        settings(
            {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"},
            deployment="d",
            endpoint="completions",
            dataset=str(tmp_path / "d.jsonl"),
        )
