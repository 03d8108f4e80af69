"""Answers of the other APIs (responses, messages, completions, embeddings), and the row that is right, as in `cases`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.wire.cases import (
    DOES_NOT_JUDGE,
    DOES_NOT_SEE,
    DONE,
    JSON,
    NO_STREAM,
    PAGE,
    SSE,
    STREAMED,
    Case,
    body,
    ev,
    spaced,
    stream,
    told,
)
from tests.wire.replay import Answer
from tokenswarm.apis.completions import Completions
from tokenswarm.apis.embeddings import Embeddings, EmbeddingsRequest
from tokenswarm.apis.messages import Messages
from tokenswarm.apis.responses import Responses
from tokenswarm.record import Doubt

RESPONSES, MESSAGES, COMPLETIONS, EMBEDDINGS = Responses("m"), Messages("m"), Completions("m"), Embeddings("m")
BAD = {"outcome": "bad_payload"}
CUT = {"outcome": "truncated"}
TIMED = {"outcome": "ok", "chunks": 4, "prompt_tokens": 100, "completion_tokens": 4, "tbt_ms": 10.0, "ttft_ms": 15.0}
TIMED |= {"error": None, "doubts": None, "end_note": None}
NO_BLANK_LINE = "the SDK drops an event without its blank line"
ON = "the SDK hands on what comes"


def named(payload: dict[str, Any]) -> bytes:
    return b"event: " + payload["type"].encode() + b"\n" + ev(payload)


def without(case_right: dict[str, Any], *names: str, **more: Any) -> dict[str, Any]:
    return {**case_right, **dict.fromkeys(names), **more}


# Responses

R_OK = {**TIMED, "finish_reason": "completed", "model": "m"}
R_COUNTS: dict[str, Any] = {"input_tokens": 100, "output_tokens": 4, "total_tokens": 104}
R_ITEM = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "abcd", "annotations": []}],
}
R_BEGIN = named({"type": "response.created", "sequence_number": 0, "response": {"id": "r", "object": "response", "model": "m", "status": "in_progress", "output": []}})  # fmt: skip


def r_delta(text: str, kind: str = "output_text") -> bytes:
    place = {"item_id": "i", "output_index": 0, "content_index": 0, "sequence_number": 1}
    return named({"type": f"response.{kind}.delta", **place, "delta": text})


def response(status: Any = "completed", counts: Any = R_COUNTS, **more: Any) -> dict[str, Any]:
    found = {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": status,
        "output": [R_ITEM],
        "error": None,
    }
    return {**found, "incomplete_details": None, "usage": counts, **more}


def r_end(status: Any = "completed", counts: Any = R_COUNTS, kind: str | None = None, **more: Any) -> bytes:
    return named(
        {"type": f"response.{kind or status}", "sequence_number": 9, "response": response(status, counts, **more)}
    )


R_TOKENS = [r_delta(text) for text in "abcd"]
R_ALL = [R_BEGIN, *R_TOKENS, r_end()]


def r(kind: str, name: str, answer: Answer, right: dict[str, Any], asked: Any = None, sdk: str | None = None) -> Case:
    return Case(kind, f"responses: {name}", answer, right, asked or STREAMED, sdk, RESPONSES)


def r_failed(error: Any, kind: str = "failed") -> bytes:
    return named({"type": f"response.{kind}", "response": response("failed", None, error=error)})


_CUT_BY_LIMIT = {"incomplete_details": {"reason": "max_output_tokens"}}
RESPONSE_CASES = [
    r("A", "a whole stream", stream(*R_ALL), R_OK),
    r("A", "and [DONE], as LiteLLM sends it", stream(*R_ALL, DONE), R_OK),
    r("A", "the limit was reached", stream(*R_ALL[:-1], r_end("incomplete", **_CUT_BY_LIMIT)), {**R_OK, "finish_reason": "max_output_tokens"}),
    r("A", "incomplete for a reason nobody knows", stream(*R_ALL[:-1], r_end("incomplete", incomplete_details={"reason": "whim"})),
      {**R_OK, "finish_reason": "whim", "doubts": Doubt.UNKNOWN_END}),
    r("A", "incomplete by the filter", stream(*R_ALL[:-1], r_end("incomplete", incomplete_details={"reason": "content_filter"})),
      {"outcome": "content_filter", "chunks": 4}, sdk=DOES_NOT_JUDGE),
    r("A", "failed", stream(*R_ALL[:-1], r_failed({"code": "server_error", "message": "no luck"})), told("server_error: no luck"), sdk=DOES_NOT_SEE),
    r("A", "failed by a rate limit", stream(R_BEGIN, r_failed({"code": "rate_limit_exceeded", "message": "slow"})), told("rate_limit_exceeded: slow", "throttled"),
      sdk=DOES_NOT_SEE),
    r("A", "failed without an error", stream(R_BEGIN, r_failed(None)), told("response failed without an error"), sdk=DOES_NOT_SEE),
    r("A", "cancelled", stream(*R_ALL[:-1], r_end("cancelled", kind="completed")), told("response was cancelled by the service"), sdk=DOES_NOT_JUDGE),
    r("A", "an error event", stream(*R_ALL[:-1], named({"type": "error", "code": "server_error", "message": "boom", "param": None, "sequence_number": 7})),
      told("server_error: boom"), sdk="the SDK hands it on as an event"),
    r("A", "an error event with text", stream(*R_ALL[:-1], b"event: error\ndata: upstream gone\n\n"), told("upstream gone")),
    r("A", "an error without a type", stream(*R_ALL[:-1], ev({"error": {"code": 502, "message": "lost"}})), told("502: lost")),
    r("A", "object: error", stream(*R_ALL[:-1], ev({"object": "error", "message": "dead", "code": 500})), told("500: dead"), sdk=DOES_NOT_SEE),
    r("A", "bare JSON for an error", stream(b'{"error":{"code":"overloaded","message":"later"}}'), told("overloaded: later"), sdk=DOES_NOT_SEE),
    r("A", "bare JSON after tokens", stream(*R_ALL[:-1], b'{"error":{"message":"out of memory"}}\n\n'), told("out of memory"), sdk=DOES_NOT_SEE),
    r("A", "429 under 200 in a body", body({"error": {"code": "429", "message": "slow"}}), told("429: slow", "throttled"), NO_STREAM, DOES_NOT_SEE),
    r("A", "a page under 200", body(PAGE, {"Content-Type": "text/html"}), {**BAD, "error": "body is an HTML page: 502 Bad Gateway"}, sdk=DOES_NOT_JUDGE),
    r("A", "nothing but [DONE]", stream(*R_ALL[:-1], DONE), CUT, sdk=DOES_NOT_JUDGE),
    r("A", "all of the text is done, but not the response", stream(*R_ALL[:-1], named({"type": "response.output_text.done", "text": "abcd"})), CUT, sdk=DOES_NOT_JUDGE),
    r("A", "no event at all", stream(), CUT, sdk=DOES_NOT_JUDGE),
    r("A", "202", body({"id": "r", "status": "queued", "output": []}, status=202), {**BAD, "status": 202}, sdk=DOES_NOT_JUDGE),
    r("A", "204", body(b"", status=204), {**BAD, "status": 204}, sdk=DOES_NOT_JUDGE),
    r("A", "201 and a whole stream", stream(*R_ALL, status=201), {**R_OK, "doubts": Doubt.STATUS}),
    r("A", "an end without a token", stream(R_BEGIN, r_end(counts=None, output=[])), BAD, sdk=DOES_NOT_JUDGE),
    r("A", "a status that is none", stream(*R_ALL[:-1], r_end(7, kind="completed")), {**R_OK, "finish_reason": "completed"}),
    r("A", "a body that is in progress", body(response("in_progress")), BAD, NO_STREAM, DOES_NOT_JUDGE),
    r("A", "a body without output", body(response(counts=None, output=[])), BAD, NO_STREAM, DOES_NOT_JUDGE),
    r("A", "a body", body(response()), {"outcome": "ok", "ttft_ms": None, "completion_tokens": 4, "doubts": None}, NO_STREAM),
    r("B", "open after the end", stream(*R_ALL, end="open"), {**R_OK, "end_note": "body left open", "e2e_ms": 55.0}, sdk="the SDK waits for the end of the body"),
    r("B", "closed after the end", stream(*R_ALL, end="closed"), {**R_OK, "end_note": "connection closed before the end of the body"}, sdk="the SDK waits for it"),
    r("B", "no blank line at the end", stream(*R_ALL[:-1], R_ALL[-1][:-1]), R_OK, sdk=NO_BLANK_LINE),
    r("B", "no line end at the end", stream(*R_ALL[:-1], R_ALL[-1][:-2]), R_OK, sdk=NO_BLANK_LINE),
    r("B", "the last event is cut", stream(*R_ALL[:-1], R_ALL[-1][:-30]), CUT, sdk=DOES_NOT_JUDGE),
    r("B", "closed in the middle", stream(*R_ALL[:-1], end="closed"), CUT),
    r("B", "reset in the middle", stream(*R_ALL[:-1], end="reset"), {"outcome": "stream_error"}),
    r("B", "open in the middle", stream(*R_ALL[:-1], end="open"), {"outcome": "timeout"}),
    r("B", "an error after the end in the same read", Answer(pieces=(*spaced(R_ALL[:-1]), (55.0, R_ALL[-1] + b"event: error\ndata: late\n\n"))), R_OK,
      sdk="the SDK reads on"),
    r("C", "usage on the deltas", stream(R_BEGIN, *(named({"type": "response.output_text.delta", "delta": t, "usage": {"output_tokens": 1}}) for t in "abcd"), r_end()), R_OK),
    r("C", "the first event twice", stream(R_BEGIN, *R_ALL), {**R_OK, "ttft_ms": 25.0}),
    r("C", "the last event twice", stream(*R_ALL, r_end(counts={**R_COUNTS, "output_tokens": 9})), R_OK, sdk="the SDK reads on"),
    r("D", "zeros beside text", stream(*R_ALL[:-1], r_end(counts={"input_tokens": 0, "output_tokens": 0, "total_tokens": 0})),
      without(R_OK, "prompt_tokens", "completion_tokens", "tbt_ms", doubts=Doubt.ZERO_USAGE), sdk="the SDK hands zeros on"),
    r("D", "no usage", stream(*R_ALL[:-1], r_end(counts=None)), without(R_OK, "prompt_tokens", "completion_tokens", "tbt_ms")),
    r("D", "counts as text", stream(*R_ALL[:-1], r_end(counts={"input_tokens": "100", "output_tokens": "4"})),
      without(R_OK, "prompt_tokens", "completion_tokens", "tbt_ms", doubts=Doubt.USAGE), sdk=ON),
    r("D", "whole floats", stream(*R_ALL[:-1], r_end(counts={"input_tokens": 100.0, "output_tokens": 4.0})), R_OK),
    r("D", "reasoning beside the output", stream(*R_ALL[:-1], r_end(counts={**R_COUNTS, "total_tokens": 404, "output_tokens_details": {"reasoning_tokens": 300}})),
      {**R_OK, "completion_tokens": 304, "reasoning_tokens": 300, "doubts": Doubt.REASONING_BESIDE}, sdk=ON),
    r("D", "names of chat completions", stream(*R_ALL[:-1], r_end(counts={"prompt_tokens": 100, "completion_tokens": 4})), R_OK, sdk="the SDK does not know these names"),
    r("D", "a body with zeros", body(response(counts={"input_tokens": 0, "output_tokens": 0})),
      {"outcome": "ok", "prompt_tokens": None, "completion_tokens": None, "doubts": Doubt.ZERO_USAGE}, NO_STREAM, "the SDK hands zeros on"),
    r("H", "under application/json", stream(*R_ALL, headers=JSON), R_OK),
    r("H", "no names of events", stream(*(each.partition(b"\n")[2] for each in R_ALL)), R_OK),
    r("H", "CR LF", stream(*(each.replace(b"\n", b"\r\n") for each in R_ALL)), R_OK),
    r("H", "heartbeats: comments, named, empty, words", stream(R_BEGIN + b": ping\n\n", R_TOKENS[0] + b"event: ping\ndata: {}\n\n", R_TOKENS[1] + b"data:\n\n",
      R_TOKENS[2] + b"data: ping\n\n", *R_ALL[4:]), R_OK, sdk="the SDK raises on it"),
    r("H", "keepalive events of a type nobody knows", stream(R_BEGIN, named({"type": "keepalive", "sequence_number": 3}) + R_TOKENS[0], *R_ALL[2:]), R_OK),
    r("H", "types that are no text", stream(R_BEGIN, ev({"type": {"a": 1}}) + R_TOKENS[0], ev({"type": []}) + R_TOKENS[1], *R_ALL[3:]), R_OK),
    r("H", "a body where a stream was asked for", body(response()), {"outcome": "ok", "ttft_ms": None, "completion_tokens": 4, "doubts": Doubt.WHOLE}, sdk="the SDK finds no event in it"),
    r("H", "a stream that was not asked for", stream(*R_ALL), R_OK, NO_STREAM, "the SDK was told to expect one body"),
    r("M", "the whole text in one chunk", stream(R_BEGIN, r_delta("tok " * 40), r_end(counts={**R_COUNTS, "output_tokens": 40, "total_tokens": 140})),
      {"outcome": "ok", "chunks": 1, "completion_tokens": 40, "doubts": Doubt.BUFFERED}),
    r("M", "all in one read", Answer(pieces=((300.0, b"".join(R_ALL)),)), {**R_OK, "ttft_ms": 300.0, "tbt_ms": None, "doubts": Doubt.BUFFERED}),
    r("M", "text that comes with the last event alone", stream(R_BEGIN, r_end()), {"outcome": "ok", "ttft_ms": None, "completion_tokens": 4, "doubts": Doubt.NO_TEXT}),
    r("M", "sequences for a terminal in an error", stream(R_BEGIN, r_failed({"code": "x", "message": "\x1b[31mred"})), told("x:  red"), sdk=DOES_NOT_SEE),
]  # fmt: skip

# Messages

M_OK = {**TIMED, "finish_reason": "end_turn", "model": "m"}
M_USAGE = {"input_tokens": 100, "output_tokens": 1}


def m_begin(counts: Any = M_USAGE) -> bytes:
    message = {"id": "msg", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    return named({"type": "message_start", "message": {**message, "stop_sequence": None, "usage": counts}})


def m_delta(text: str, kind: str = "text") -> bytes:
    return named({"type": "content_block_delta", "index": 0, "delta": {"type": f"{kind}_delta", kind: text}})


def m_end(reason: Any = "end_turn", counts: Any = None) -> list[bytes]:
    usage = {"output_tokens": 4} if counts is None else counts
    end = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}
    return [named({"type": "content_block_stop", "index": 0}), named(end), named({"type": "message_stop"})]


def message(reason: Any = "end_turn", counts: Any = None, **more: Any) -> dict[str, Any]:
    found = {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "abcd"}],
    }
    return {
        **found,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": counts or {"input_tokens": 100, "output_tokens": 4},
        **more,
    }


M_BLOCK = named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
M_THOUGHT = named(
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}
)
M_TOKENS = [m_delta(text) for text in "abcd"]
M_BEGIN = [m_begin() + M_BLOCK, *M_TOKENS]
M_ALL = [*M_BEGIN, *m_end()]


def m_error(kind: str, text: str) -> bytes:
    return named({"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"})


def m(kind: str, name: str, answer: Answer, right: dict[str, Any], asked: Any = None, sdk: str | None = None) -> Case:
    return Case(kind, f"messages: {name}", answer, right, asked or STREAMED, sdk, MESSAGES)


def ends(reasons: Iterable[str], right: Any, sdk: str | None = None) -> list[Case]:
    return [m("A", f"reason {each!r}", stream(*M_BEGIN, *m_end(each)), right(each), sdk=sdk) for each in reasons]


_M_KNOWN = ("max_tokens", "stop_sequence", "tool_use", "pause_turn", "model_context_window_exceeded", "stop", "length")
MESSAGE_CASES = [
    m("A", "a whole stream", stream(*M_ALL), M_OK),
    *ends(_M_KNOWN, lambda reason: {**M_OK, "finish_reason": reason}),
    *ends(("whim",), lambda reason: {**M_OK, "finish_reason": reason, "doubts": Doubt.UNKNOWN_END}),
    *ends(("refusal", "content_filtered"), lambda _: {"outcome": "content_filter"}, DOES_NOT_JUDGE),
    *ends(("error",), lambda _: told("finish reason 'error'"), DOES_NOT_JUDGE),
    m("A", "an end without a reason", stream(*M_BEGIN, *m_end(None)), CUT, sdk=DOES_NOT_JUDGE),
    m("A", "an empty reason", stream(*M_BEGIN, *m_end("")), CUT, sdk=DOES_NOT_JUDGE),
    m("A", "a reason, but no message_stop", stream(*M_ALL[:-1]), CUT, sdk=DOES_NOT_JUDGE),
    m("A", "overloaded in the middle", stream(*M_BEGIN, m_error("overloaded_error", "Overloaded")), told("overloaded_error: Overloaded")),
    m("A", "a rate limit in the middle", stream(*M_BEGIN, m_error("rate_limit_error", "slow")), told("rate_limit_error: slow", "throttled")),
    m("A", "Bedrock's throttling", stream(*M_BEGIN, ev({"type": "error", "error": {"type": "throttlingException", "message": "slow"}})),
      told("throttlingException: slow", "throttled"), sdk=DOES_NOT_SEE),
    m("A", "an error event with text", stream(*M_BEGIN, b"event: error\ndata: upstream gone\n\n"), told("upstream gone")),
    m("A", "an error without a name", stream(*M_BEGIN, ev({"error": {"type": "api_error", "message": "boom"}})), told("api_error: boom"), sdk=DOES_NOT_SEE),
    m("A", "bare JSON after tokens", stream(*M_BEGIN, b'{"error":{"message":"out of memory"}}\n\n'), told("out of memory"), sdk=DOES_NOT_SEE),
    m("A", "bare JSON for an error", stream(json.dumps({"type": "error", "error": {"type": "api_error", "message": "x"}}).encode()), told("api_error: x")),
    m("A", "an error under 200 in a body", body({"type": "error", "error": {"type": "api_error", "message": "x"}}), told("api_error: x"), NO_STREAM, DOES_NOT_SEE),
    m("A", "a page under 200", body(PAGE, {"Content-Type": "text/html"}), {**BAD, "error": "body is an HTML page: 502 Bad Gateway"}),
    m("A", "no event at all", stream(), CUT),
    m("A", "an end without a token", stream(m_begin({"input_tokens": 100, "output_tokens": 0}) + M_BLOCK, *m_end(counts={})), BAD, sdk=DOES_NOT_JUDGE),
    m("A", "201 and a whole stream", stream(*M_ALL, status=201), {**M_OK, "doubts": Doubt.STATUS}),
    m("A", "a body", body(message()), {"outcome": "ok", "ttft_ms": None, "completion_tokens": 4, "prompt_tokens": 100, "doubts": None}, NO_STREAM),
    m("A", "a body without content", body(message(content=[])), BAD, NO_STREAM, DOES_NOT_JUDGE),
    m("A", "a body without a reason", body(message(reason=None)), CUT, NO_STREAM, DOES_NOT_JUDGE),
    m("A", "a body that calls a tool", body(message("tool_use", content=[{"type": "tool_use", "id": "t", "name": "f", "input": {}}])),
      {"outcome": "ok", "finish_reason": "tool_use", "doubts": None}, NO_STREAM),
    m("A", "529", body({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, status=529),
      told("HTTP 529: overloaded_error: Overloaded", "http_error")),
    m("B", "open after the end", stream(*M_ALL, end="open"), {**M_OK, "end_note": "body left open", "e2e_ms": 75.0}, sdk="the SDK waits for the end of the body"),
    m("B", "closed after the end", stream(*M_ALL, end="closed"), {**M_OK, "end_note": "connection closed before the end of the body"}, sdk="the SDK waits for it"),
    m("B", "no blank line at the end", stream(*M_ALL[:-1], M_ALL[-1][:-1]), M_OK),
    m("B", "no line end at the end", stream(*M_ALL[:-1], M_ALL[-1][:-2]), M_OK),
    m("B", "the last event is cut", stream(*M_ALL[:-1], M_ALL[-1][:-6]), CUT, sdk=DOES_NOT_JUDGE),
    m("B", "closed in the middle", stream(*M_BEGIN, end="closed"), CUT),
    m("B", "reset in the middle", stream(*M_BEGIN, end="reset"), {"outcome": "stream_error"}),
    m("B", "open in the middle", stream(*M_BEGIN, end="open"), {"outcome": "timeout"}),
    m("C", "later usage has zeros", stream(*M_BEGIN, *m_end(counts={"input_tokens": 0, "output_tokens": 4, "cache_read_input_tokens": 0})), M_OK),
    m("C", "all of usage at the end, as vLLM has it", stream(m_begin({"input_tokens": 0, "output_tokens": 0}) + M_BLOCK, *M_TOKENS, *m_end(counts={"input_tokens": 100, "output_tokens": 4})), M_OK),
    m("C", "usage in message_stop, too", stream(*M_BEGIN, *m_end()[:-1], named({"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 100}})), M_OK),
    m("C", "the first event twice", stream(m_begin(), *M_ALL), {**M_OK, "ttft_ms": 25.0}),
    m("C", "the reason twice", stream(*M_BEGIN, *m_end()[:-1], *m_end()), M_OK),
    m("D", "no usage at all", stream(m_begin(None) + M_BLOCK, *M_TOKENS, *m_end(counts={})), without(M_OK, "prompt_tokens", "completion_tokens", "tbt_ms"), sdk="the SDK raises on it"),
    m("D", "zeros beside text", stream(m_begin({"input_tokens": 0, "output_tokens": 0}) + M_BLOCK, *M_TOKENS, *m_end(counts={"output_tokens": 0})),
      without(M_OK, "prompt_tokens", "completion_tokens", "tbt_ms", doubts=Doubt.ZERO_USAGE), sdk="the SDK hands zeros on"),
    m("D", "a count of one token of the start alone", stream(*M_BEGIN, *m_end(counts={})), without(M_OK, "completion_tokens", "tbt_ms")),
    m("D", "counts as text", stream(m_begin({"input_tokens": "100"}) + M_BLOCK, *M_TOKENS, *m_end(counts={"output_tokens": "4"})),
      without(M_OK, "prompt_tokens", "completion_tokens", "tbt_ms", doubts=Doubt.USAGE), sdk=ON),
    m("D", "what the cache read and wrote", stream(m_begin({"input_tokens": 30, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 6, "output_tokens": 1}) + M_BLOCK, *M_TOKENS, *m_end()),
      {**M_OK, "cached_tokens": 64}),
    m("D", "a body with zeros", body(message(counts={"input_tokens": 0, "output_tokens": 0})),
      {"outcome": "ok", "prompt_tokens": None, "completion_tokens": None, "doubts": Doubt.ZERO_USAGE}, NO_STREAM, "the SDK hands zeros on"),
    m("H", "under application/json", stream(*M_ALL, headers=JSON), M_OK),
    m("H", "CR LF", stream(*(each.replace(b"\n", b"\r\n") for each in M_ALL)), M_OK),
    m("H", "no names of events", stream(*(b"".join(line + b"\n" for line in each.split(b"\n")[:-1] if not line.startswith(b"event:")) for each in M_ALL)), M_OK,
      sdk="the SDK looks at names alone"),
    m("H", "pings, comments, empty data, unknown types", stream(M_BEGIN[0] + named({"type": "ping"}), M_TOKENS[0] + b": ping\n\n", M_TOKENS[1] + b"data:\n\n",
      M_TOKENS[2] + named({"type": "vendor_event", "x": 1}), *M_ALL[4:]), M_OK),
    m("H", "[DONE] at the end, as gateways add it", stream(*M_ALL, DONE), M_OK),
    m("H", "a body where a stream was asked for", body(message()), {"outcome": "ok", "ttft_ms": None, "completion_tokens": 4, "doubts": Doubt.WHOLE}, sdk="the SDK finds no event in it"),
    m("H", "a stream that was not asked for", stream(*M_ALL), M_OK, NO_STREAM, "the SDK was told to expect one body"),
    m("H", "types that are no text", stream(M_BEGIN[0], ev({"type": {}}) + M_TOKENS[0], *M_ALL[2:]), M_OK),
    m("M", "the whole text in one chunk", stream(m_begin() + M_BLOCK, m_delta("tok " * 40), *m_end(counts={"output_tokens": 40})),
      {"outcome": "ok", "chunks": 1, "completion_tokens": 40, "doubts": Doubt.BUFFERED}),
    m("M", "all in one read", Answer(pieces=((300.0, b"".join(M_ALL)),)), {**M_OK, "ttft_ms": 300.0, "tbt_ms": None, "doubts": Doubt.BUFFERED}),
    m("M", "text in the start of its block", stream(m_begin(), named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "a"}}), *M_TOKENS[1:], *m_end()), M_OK),
    m("M", "thinking alone", stream(m_begin() + M_THOUGHT, m_delta("hm", "thinking"), *m_end("max_tokens")), {"outcome": "ok", "ttft_ms": 15.0, "ttft_visible_ms": None, "doubts": Doubt.NO_TEXT}),
    m("M", "the request's id and what is left", stream(*M_ALL, headers={**SSE, "request-id": "req_7", "anthropic-ratelimit-tokens-remaining": "900"}),
      {**M_OK, "request_id": "req_7", "remaining_tokens": 900}),
]  # fmt: skip

# Completions

C_OK = {**TIMED, "finish_reason": "stop"}


def c_token(text: Any, finish: Any = None, **top: Any) -> bytes:
    return ev(
        {
            "id": "c",
            "object": "text_completion",
            "model": "m",
            "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}],
            **top,
        }
    )


def c_usage(prompt: Any = 100, completion: Any = 4, **more: Any) -> bytes:
    return ev(
        {
            "id": "c",
            "object": "text_completion",
            "model": "m",
            "choices": [],
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **more},
        }
    )


def c_body(**more: Any) -> dict[str, Any]:
    choice = {"index": 0, "text": "abcd", "logprobs": None, "finish_reason": "stop", **more.pop("choice", {})}
    return {
        "id": "c",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": {"prompt_tokens": 100, "completion_tokens": 4},
        **more,
    }


def c(kind: str, name: str, answer: Answer, right: dict[str, Any], asked: Any = None, sdk: str | None = None) -> Case:
    return Case(kind, f"completions: {name}", answer, right, asked or STREAMED, sdk, COMPLETIONS)


C_BEGIN = [c_token(""), *(c_token(text) for text in "abcd")]
C_END = [c_token("", "stop"), c_usage(), DONE]
COMPLETION_CASES = [
    c("A", "a whole stream", stream(*C_BEGIN, *C_END), C_OK),
    c("A", "the last text with its reason", stream(*C_BEGIN[:-1], c_token("d", "length"), c_usage(), DONE), {**C_OK, "finish_reason": "length"}),
    c("A", "TGI's reason", stream(*C_BEGIN, c_token("", "eos_token"), c_usage(), DONE), {**C_OK, "finish_reason": "eos_token"}),
    c("A", "a reason nobody knows", stream(*C_BEGIN, c_token("", "whim"), c_usage(), DONE), {**C_OK, "finish_reason": "whim", "doubts": Doubt.UNKNOWN_END}),
    c("A", "reason 'abort'", stream(*C_BEGIN, c_token("", "abort"), DONE), told("finish reason 'abort'"), sdk=DOES_NOT_JUDGE),
    c("A", "[DONE] alone", stream(*C_BEGIN, DONE), {**CUT, "error": "[DONE] came without a finish reason"}, sdk=DOES_NOT_JUDGE),
    c("A", "an empty reason and a cut", stream(*(c_token(text, "") for text in "abcd")), CUT, sdk=DOES_NOT_JUDGE),
    c("A", "an error in the middle", stream(*C_BEGIN, ev({"error": {"code": 500, "message": "dead"}}), DONE), told("500: dead")),
    c("A", "object: error", stream(*C_BEGIN, ev({"object": "error", "message": "dead", "code": 500}), DONE), told("500: dead"), sdk=DOES_NOT_SEE),
    c("A", "event: error", stream(*C_BEGIN, b'event: error\ndata: {"message":"dead"}\n\n'), told("dead"), sdk=DOES_NOT_SEE),
    c("A", "bare JSON", stream(b'{"error":{"message":"busy","code":"429"}}'), told("429: busy", "throttled"), sdk=DOES_NOT_SEE),
    c("A", "no text at all", stream(c_token(""), c_token("", "stop"), DONE), BAD, sdk=DOES_NOT_JUDGE),
    c("A", "a body", body(c_body()), {"outcome": "ok", "ttft_ms": None, "completion_tokens": 4, "doubts": None}, NO_STREAM),
    c("H", "a body where a stream was asked for", body(c_body()), {"outcome": "ok", "ttft_ms": None, "completion_tokens": 4, "doubts": Doubt.WHOLE}, sdk="the SDK finds no event in it"),
    c("A", "a body without text", body(c_body(choice={"text": ""}, usage=None)), BAD, NO_STREAM, DOES_NOT_JUDGE),
    c("A", "a body without choices", body(c_body(choices=[])), BAD, NO_STREAM, DOES_NOT_JUDGE),
    c("B", "open after [DONE]", stream(*C_BEGIN, *C_END, end="open"), {**C_OK, "end_note": "body left open", "e2e_ms": 75.0}),
    c("B", "closed after [DONE]", stream(*C_BEGIN, *C_END, end="closed"), {**C_OK, "end_note": "connection closed before the end of the body"}),
    c("B", "no blank line after usage", stream(*C_BEGIN, C_END[0], C_END[1][:-1]), C_OK, sdk=NO_BLANK_LINE),
    c("B", "closed in the middle", stream(*C_BEGIN, end="closed"), CUT),
    c("B", "reset in the middle", stream(*C_BEGIN, end="reset"), {"outcome": "stream_error"}),
    c("B", "open in the middle", stream(*C_BEGIN, end="open"), {"outcome": "timeout"}),
    c("C", "usage on every chunk", stream(C_BEGIN[0], *(c_token(t, usage={"prompt_tokens": 100, "completion_tokens": n}) for n, t in enumerate("abcd", 1)), c_token("", "stop"), DONE), C_OK),
    c("C", "usage with the reason", stream(*C_BEGIN, c_token("", "stop", usage={"prompt_tokens": 100, "completion_tokens": 4}), DONE), C_OK),
    c("D", "zeros beside text", stream(*C_BEGIN, C_END[0], c_usage(0, 0), DONE), without(C_OK, "prompt_tokens", "completion_tokens", "tbt_ms", doubts=Doubt.ZERO_USAGE),
      sdk="the SDK hands zeros on"),
    c("D", "whole floats", stream(*C_BEGIN, C_END[0], c_usage(100.0, 4.0), DONE), C_OK),
    c("H", "under text/plain", stream(*C_BEGIN, *C_END, headers={"Content-Type": "text/plain"}), C_OK),
    c("H", "CR alone", stream(*(each.replace(b"\n", b"\r") for each in [*C_BEGIN, *C_END])), C_OK),
    c("H", "an empty data: heartbeat", stream(C_BEGIN[0] + b"data:\n\n", *C_BEGIN[1:], *C_END), C_OK, sdk="the SDK raises on it"),
    c("H", "an event twice", stream(*C_BEGIN, C_END[0], *C_END), C_OK),
    c("M", "all in one read", Answer(pieces=((300.0, b"".join([*C_BEGIN, *C_END])),)), {**C_OK, "ttft_ms": 300.0, "tbt_ms": None, "doubts": Doubt.BUFFERED}),
]  # fmt: skip

# Embeddings

TWO_TEXTS = EmbeddingsRequest(texts=["a", "b"])
E_OK = {"outcome": "ok", "error": None, "prompt_tokens": 9, "completion_tokens": None, "ttft_ms": None, "doubts": None}
E_COUNTS = {"prompt_tokens": 9, "total_tokens": 9}


def e_body(vectors: Any = ("AACAPwAAAAA=", "AACAPwAAAAA="), counts: Any = E_COUNTS, **more: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    return {"object": "list", "data": data, "model": "m", "usage": counts, **more}


def e(kind: str, name: str, answer: Answer, right: dict[str, Any], sdk: str | None = None) -> Case:
    return Case(kind, f"embeddings: {name}", answer, right, TWO_TEXTS, sdk, EMBEDDINGS)


_ONE_INDEX = [{"object": "embedding", "index": 0, "embedding": "AACAPwAAAAA="}] * 2
EMBEDDING_CASES = [
    e("A", "a whole answer", body(e_body()), E_OK),
    e("A", "numbers in place of base64", body(e_body(([0.5, 1.0], [0.1, -1.0]))), E_OK),
    e("A", "one vector too few", body(e_body(("AACAPwAAAAA=",))), {**BAD, "error": "1 embeddings for 2 texts"}, DOES_NOT_JUDGE),
    e("A", "one vector too many", body(e_body(("AACAPwAAAAA=",) * 3)), {**BAD, "error": "3 embeddings for 2 texts"}, DOES_NOT_JUDGE),
    e("A", "a vector of nothing", body(e_body(([0.5], []))), {**BAD, "error": "1 embeddings for 2 texts"}, DOES_NOT_JUDGE),
    e("A", "a vector of nulls, as of NaN", body(e_body(([0.5], [None, None]))), {**BAD, "error": "1 embeddings for 2 texts"}, DOES_NOT_JUDGE),
    e("A", "one index twice", body(e_body(data=_ONE_INDEX)), {**BAD, "error": "1 embeddings for 2 texts"}, DOES_NOT_JUDGE),
    e("A", "no data", body(e_body(data=[])), {**BAD, "error": "0 embeddings for 2 texts"}),
    e("A", "an error under 200", body({"error": {"message": "boom", "code": 500}}), told("500: boom")),
    e("A", "429 under 200", body({"error": {"message": "slow", "code": "429"}}), told("429: slow", "throttled")),
    e("A", "object: error", body({"object": "error", "message": "too long", "code": 40303}), told("40303: too long")),
    e("A", "a detail", body({"detail": "engine is dead"}), told("engine is dead")),
    e("A", "a page", body(PAGE, {"Content-Type": "text/html"}), {**BAD, "error": "body is an HTML page: 502 Bad Gateway"}),
    e("A", "a body that was cut", body(json.dumps(e_body()).encode()[:-20]), BAD),
    e("A", "204", body(b"", status=204), {**BAD, "status": 204}),
    e("A", "201", body(e_body(), status=201), {**E_OK, "doubts": Doubt.STATUS}),
    e("B", "closed in the middle", Answer(pieces=((20.0, json.dumps(e_body()).encode()[:-20]),), headers=JSON, framing="chunked", end="closed"), CUT),
    e("B", "until the connection closes", Answer(pieces=((20.0, json.dumps(e_body()).encode()),), headers=JSON, framing="close", end="closed"), E_OK),
    e("B", "open in the middle", Answer(pieces=((20.0, b'{"object"'),), headers=JSON, framing="chunked", end="open"), {"outcome": "timeout"}),
    e("C", "a total alone, as Jina counts", body(e_body(counts={"total_tokens": 9})), E_OK, "the SDK has no prompt tokens then"),
    e("D", "zeros", body(e_body(counts={"prompt_tokens": 0, "total_tokens": 0})), {**E_OK, "prompt_tokens": None, "doubts": Doubt.ZERO_USAGE}, "the SDK hands zeros on"),
    e("D", "no usage", body(e_body(counts=None)), {**E_OK, "prompt_tokens": None}),
    e("D", "counts as text", body(e_body(counts={"prompt_tokens": "9"})), {**E_OK, "prompt_tokens": None, "doubts": Doubt.USAGE}, ON),
    e("D", "whole floats", body(e_body(counts={"prompt_tokens": 9.0, "total_tokens": 9.0})), E_OK),
    e("H", "under text/plain", body(e_body(), {"Content-Type": "text/plain"}), E_OK),
]  # fmt: skip

API_CASES = [*RESPONSE_CASES, *MESSAGE_CASES, *COMPLETION_CASES, *EMBEDDING_CASES]
