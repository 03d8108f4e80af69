"""Calls of tools in answers of three APIs, and the request with their results, as the vendors' SDKs send it."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from tests.tokenswarm.client.test_sdk_bodies import sent_by
from tokenswarm.apis.api import Found
from tokenswarm.apis.named import api_of
from tokenswarm.apis.request import ChatRequest, ChatTarget
from tokenswarm.payload.tool_calls import ToolCall

ASKED: list[Any] = [{"role": "user", "content": "Weather in Köln, and when does the train leave?"}]
PLACE = '{"place":"Köln"}'
CALLS = (ToolCall("call_1", "get_weather", PLACE), ToolCall("call_2", "find_train", "{}"))
RESULTS = [
    {"role": "tool", "tool_call_id": "call_1", "content": "18 °C"},
    {"role": "tool", "tool_call_id": "call_2", "content": '{"at":"14:05"}'},
]
ENDED = {"completion_tokens": 9, "prompt_tokens": 5, "total_tokens": 14}


def chat_call(index: int, call: ToolCall, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"index": index, "id": call.id, "type": "function", "function": function}


def chat_events() -> list[dict[str, Any]]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "model": "m"}

    return [
        chunk({"role": "assistant", "content": None}),
        chunk({"tool_calls": [chat_call(0, CALLS[0], "")]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": PLACE[:5]}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": PLACE[5:]}}]}),
        chunk({"tool_calls": [chat_call(1, CALLS[1], "{}")]}),
        chunk({}, "tool_calls"),
        {"choices": [], "usage": ENDED},
    ]


ITEMS = [
    {"id": "rs_1", "type": "reasoning", "summary": []},
    {"id": "fc_1", "type": "function_call", "status": "completed", "arguments": PLACE, "call_id": "call_1",
     "name": "get_weather"},
    {"id": "fc_2", "type": "function_call", "status": "completed", "arguments": "{}", "call_id": "call_2",
     "name": "find_train"},
]  # fmt: skip


def response_events(listed: bool = True) -> list[dict[str, Any]]:
    deltas = [{"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": PLACE[:5]}]
    done = [{"type": "response.output_item.done", "output_index": at, "item": item} for at, item in enumerate(ITEMS)]
    response = {"id": "resp_1", "status": "completed", "output": ITEMS if listed else [], "model": "m"}
    return [*deltas, *done, {"type": "response.completed", "response": response}]


BLOCKS = [
    {"type": "thinking", "thinking": "Two tools.", "signature": "c2ln"},
    {"type": "text", "text": "Let me see."},
    {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"place": "Köln"}},
    {"type": "tool_use", "id": "call_2", "name": "find_train", "input": {}},
]


def message_events() -> list[dict[str, Any]]:
    def block(at: int, begun: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
        middle = [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
        start = {"type": "content_block_start", "index": at, "content_block": begun}
        return [start, *middle, {"type": "content_block_stop", "index": at}]

    inputs = [{"type": "input_json_delta", "partial_json": part} for part in ("", PLACE[:5], PLACE[5:])]
    return [
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 5, "output_tokens": 1}}},
        *block(0, {"type": "thinking", "thinking": "", "signature": ""},
               {"type": "thinking_delta", "thinking": "Two tools."}, {"type": "signature_delta", "signature": "c2ln"}),
        *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Let me "},
               {"type": "text_delta", "text": "see."}),
        *block(2, {**BLOCKS[2], "input": {}}, *inputs),
        *block(3, {**BLOCKS[3], "input": {}}, {"type": "input_json_delta", "partial_json": ""}),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]  # fmt: skip


def whole(asks: str) -> dict[str, Any]:
    functions = [chat_call(0, call, call.arguments) for call in CALLS]
    calls = [{name: value for name, value in each.items() if name != "index"} for each in functions]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    if asks == "chat":
        return {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": ENDED}
    if asks == "responses":
        return {"id": "resp_1", "status": "completed", "output": ITEMS, "usage": {"output_tokens": 9}}
    return {"type": "message", "content": BLOCKS, "stop_reason": "tool_use", "usage": {"output_tokens": 9}}


STREAMS = {"chat": chat_events, "responses": response_events, "messages": message_events}


def answer(
    asks: str, events: list[dict[str, Any]] | None, body: dict[str, Any] | None = None, keep: bool = True
) -> Found:
    target = ChatTarget(api="openai", endpoint="http://h/v1", deployment="m", asks=asks, key="k")
    request = ChatRequest(messages=ASKED, keep_calls=keep, stream=events is not None)
    reader = api_of(target).reader(request, 200, {"content-type": "text/event-stream"})
    pieces = [json.dumps(body).encode()] if body is not None else [
        b"data: " + json.dumps(event).encode() + b"\n\n" for event in events or ()
    ]  # fmt: skip
    for at, piece in enumerate(pieces):
        reader.feed(piece, 10.0 * at, 10.0 * at)
    return reader.finish()


def second(asks: str, found: Found) -> bytes:
    assert found.called is not None
    target = ChatTarget(api="openai", endpoint="http://h/v1", deployment="m", asks=asks, key="k")
    messages = [*ASKED, *map(dict, found.called.said), *RESULTS]
    return api_of(target).encode(ChatRequest(messages=messages, max_tokens=9, stream=False)).body


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("asks", ["chat", "responses", "messages"])
def test_the_calls_are_found_and_their_results_sent_as_the_sdk_does(asks: str, streamed: bool) -> None:
    found = answer(asks, STREAMS[asks]() if streamed else None, None if streamed else whole(asks))
    assert found.outcome == "ok" and found.called is not None
    assert [(call.id, call.name, json.loads(call.arguments)) for call in found.called.calls] == [
        (call.id, call.name, json.loads(call.arguments)) for call in CALLS
    ]
    assert second(asks, found) == SECOND[asks]()


def _sdk_chat() -> bytes:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in CALLS
    ]
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    return bytes(sent_by(
        lambda sdk: sdk.chat.completions.create(model="m", max_tokens=9, messages=[*ASKED, said, *RESULTS])
    ).content)  # fmt: skip


def _outputs() -> list[dict[str, Any]]:
    return [
        {"type": "function_call_output", "call_id": each["tool_call_id"], "output": each["content"]} for each in RESULTS
    ]


def _sdk_responses() -> bytes:
    def ask(sdk: openai.OpenAI) -> Any:
        given: Any = [*ASKED, *ITEMS, *_outputs()]
        return sdk.responses.create(model="m", max_output_tokens=9, input=given)

    return bytes(sent_by(ask).content)


def _sdk_messages() -> bytes:
    results = [
        {"type": "tool_result", "tool_use_id": each["tool_call_id"], "content": each["content"]} for each in RESULTS
    ]
    said: list[Any] = [*ASKED, {"role": "assistant", "content": BLOCKS}, {"role": "user", "content": results}]
    theirs = sent_by(lambda sdk: sdk.messages.create(model="m", max_tokens=9, messages=said), anthropic.Anthropic)
    return bytes(theirs.content)


SECOND = {"chat": _sdk_chat, "responses": _sdk_responses, "messages": _sdk_messages}


def test_after_a_previous_response_only_the_results_are_sent() -> None:
    found = answer("responses", response_events())
    assert found.called is not None and found.answer_id == "resp_1"
    target = ChatTarget(api="openai", endpoint="http://h/v1", deployment="m", asks="responses", key="k")
    messages = [*ASKED, *map(dict, found.called.said), *RESULTS]
    body = api_of(target).encode(ChatRequest(messages=messages, stream=False, previous_id="resp_1")).body
    theirs = sent_by(lambda sdk: sdk.responses.create(model="m", previous_response_id="resp_1", input=_outputs()))
    assert body == theirs.content


def test_items_that_the_closing_event_leaves_out_are_those_that_were_done() -> None:
    found = answer("responses", response_events(listed=False))
    assert found.called is not None and found.called.said == ITEMS


def test_a_gateway_that_gives_each_call_the_position_0() -> None:
    deltas = [{"tool_calls": [chat_call(0, call, call.arguments)]} for call in CALLS]
    events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    found = answer("chat", [*events, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}])
    assert found.called is not None and found.called.calls == CALLS


@pytest.mark.parametrize("asks", ["chat", "responses", "messages"])
def test_without_canned_results_nothing_is_kept(asks: str) -> None:
    assert answer(asks, STREAMS[asks](), keep=False).called is None


def test_calls_that_the_limit_cut_are_none() -> None:
    cut = [*chat_events()[:3], {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}]
    assert answer("chat", cut).called is None
    incomplete = {
        "id": "r",
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": ITEMS,
    }
    assert answer("responses", None, incomplete).called is None
    assert answer("messages", None, {**whole("messages"), "stop_reason": "max_tokens"}).called is None


def test_a_character_in_two_halves_is_sent_whole() -> None:
    def chunk(arguments: str) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"tool_calls": [{**chat_call(0, CALLS[0], arguments)}]}}]}

    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    found = answer("chat", [chunk('{"a":"\ud83d'), chunk('\ude00"}'), end])
    assert "😀" in second("chat", found).decode()
