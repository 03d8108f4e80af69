"""Anthropic's Messages API: what the anthropic SDK reads from the same bytes, and answers that are none."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scripted_server import close, scripted_server
from tests.tokenswarm.apis.streams import cut_at, events, read
from tokenswarm.apis.messages import Messages, MessageStream
from tokenswarm.apis.request import ChatRequest
from tokenswarm.record import Outcome

START_USAGE = {"input_tokens": 10, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 6, "output_tokens": 1}


def message(**more: Any) -> dict[str, Any]:
    found = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    return {**found, "stop_reason": None, "stop_sequence": None, "usage": START_USAGE, **more}


def delta(text: str, kind: str = "text_delta", name: str = "text") -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, name: text}}


def end(reason: str | None, tokens: int | None = 3) -> list[dict[str, Any]]:
    usage = {} if tokens is None else {"output_tokens": tokens}
    return [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]


START = {"type": "message_start", "message": message()}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
PING = {"type": "ping"}
WHOLE = [START, BLOCK, PING, delta("a"), delta(" "), PING, delta("cat"), *end("end_turn")]


def stream(*payloads: dict[str, Any], keep_text: bool = False) -> Any:
    return read(MessageStream(keep_text), events(*payloads))


def test_a_whole_stream() -> None:
    found = stream(*WHOLE, keep_text=True)
    assert (found.outcome, found.error, found.text) == (Outcome.OK, None, "a cat")
    expected = {
        "ttft_ms": 40.0,
        "ttft_visible_ms": 40.0,
        "last_token_ms": 70.0,
        "chunks": 3,
        "tbt_ms": 15.0,
        "prompt_tokens": 80,  # with what was read from the cache and written to it
        "completion_tokens": 3,
        "cached_tokens": 64,
        "finish_reason": "end_turn",
        "model": "claude",
    }
    assert {name: found.columns[name] for name in expected} == expected


def test_thinking_comes_before_the_visible_answer() -> None:
    found = stream(START, delta("hm", "thinking_delta", "thinking"), delta("a"), *end("end_turn"))
    assert (found.columns["ttft_ms"], found.columns["ttft_visible_ms"]) == (20.0, 30.0)


def test_arguments_of_a_tool_are_tokens_that_nobody_is_shown() -> None:
    found = stream(START, delta("{", "input_json_delta", "partial_json"), *end("tool_use"))
    assert (found.outcome, found.columns["ttft_ms"], found.columns["ttft_visible_ms"]) == (Outcome.OK, 20.0, None)


@pytest.mark.parametrize("kind", ["signature_delta", "citations_delta", "new_delta"])
def test_other_deltas_carry_no_token(kind: str) -> None:
    assert stream(START, delta("x", kind), delta("a"), *end("end_turn")).columns["ttft_ms"] == 30.0


@given(st.lists(st.integers(0, 3000), max_size=12))
def test_cut_anywhere_counts_the_same(places: list[int]) -> None:
    found = read(MessageStream(True), cut_at(b"".join(events(*WHOLE)), places))
    assert (found.outcome, found.text, found.columns["chunks"]) == (Outcome.OK, "a cat", 3)


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
LIMITED = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}


@pytest.mark.parametrize(
    ("ending", "outcome", "error"),
    [
        (end("max_tokens"), Outcome.OK, None),
        (end("stop_sequence"), Outcome.OK, None),
        (end("refusal"), Outcome.CONTENT_FILTER, "answer stopped by the service: refusal"),
        (end(None), Outcome.TRUNCATED, "message ended without a stop reason"),
        (end("whatever"), Outcome.OK, None),
        (end("end_turn")[:-1], Outcome.TRUNCATED, "stream ended before the answer was finished"),
        ([OVERLOADED], Outcome.STREAM_ERROR, "overloaded_error: Overloaded"),
        ([LIMITED], Outcome.THROTTLED, "rate_limit_error: slow down"),
        ([], Outcome.TRUNCATED, "stream ended before the answer was finished"),
    ],
)
def test_how_a_stream_ends(ending: list[dict[str, Any]], outcome: Outcome, error: str | None) -> None:
    found = stream(START, delta("a"), *ending)
    assert (found.outcome, found.error) == (outcome, error)


def test_later_zeros_do_not_replace_what_is_known() -> None:
    zeros = {"type": "message_delta", "delta": {}, "usage": {"input_tokens": 0, "output_tokens": 3}}
    assert stream(START, delta("a"), zeros, *end("end_turn", None)).columns["prompt_tokens"] == 80


def body(value: Any) -> Any:
    reader = MessageStream()
    reader.feed(value if isinstance(value, bytes) else json.dumps(value).encode(), 1.0, 0.0)
    return reader.finish()


def test_a_whole_body() -> None:
    found = body(message(content=[{"type": "text", "text": "a cat"}], stop_reason="end_turn"))
    assert (found.outcome, found.text, found.columns["prompt_tokens"]) == (Outcome.OK, "a cat", 80)


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ({"type": "error", "error": {"type": "api_error", "message": "m"}}, Outcome.STREAM_ERROR),
        (message(stop_reason="end_turn"), Outcome.BAD_PAYLOAD),
        (message(content=[{"type": "text", "text": "a"}]), Outcome.TRUNCATED),
        (b"<html>", Outcome.BAD_PAYLOAD),
        ([], Outcome.BAD_PAYLOAD),
    ],
)
def test_a_body_that_is_no_answer(value: Any, outcome: Outcome) -> None:
    assert body(value).outcome is outcome


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def test_the_sdk_reads_and_sends_the_same() -> None:
    asked: dict[str, Any] = {"model": "m", "max_tokens": 7, "messages": [{"role": "user", "content": "ü"}]}
    with (
        scripted_server([HEAD + b"".join(events(*WHOLE)), close]) as server,
        anthropic.Anthropic(base_url=server.url, api_key="k", max_retries=0) as client,
        client.messages.stream(**asked, system="Be short.") as answer,
    ):
        last = answer.get_final_message()
    found = stream(*WHOLE, keep_text=True)
    assert found.text == "".join(part.text for part in last.content if part.type == "text")
    assert found.columns["completion_tokens"] == last.usage.output_tokens
    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    messages = [{"role": "system", "content": "Be short."}, *asked["messages"]]
    encoded = Messages("m").encode(ChatRequest(messages=messages, max_tokens=7))
    assert json.loads(encoded.body) == json.loads(sent)
    assert head.startswith(b"POST /v1" + encoded.path.encode() + b" ")
    assert all(f"{name}: ".encode() in head for name in encoded.headers)  # the version is the first: gateways know it


def test_the_tier_that_served_it() -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 1, "service_tier": "priority"}}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}
    found = stream(start, {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}}, end,
                   {"type": "message_stop"})  # fmt: skip
    assert found.columns["service_tier"] == "priority"
    body = {"type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 1, "service_tier": "batch"}}  # fmt: skip
    assert read(MessageStream(), [json.dumps(body).encode()]).columns["service_tier"] == "batch"
