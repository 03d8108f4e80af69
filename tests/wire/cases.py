"""Answers as services, gateways and proxies send them, and the row that is right.

`kind`: A success is proven; B the answer's end counts, not the body's; C usage is read wherever it stands; D counts are
plausible; H headers and stream rules; M small truths. `sdk` says why the openai SDK reads the same bytes otherwise.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import brotli

from tests.wire.replay import Answer
from tokenswarm.apis.api import Api
from tokenswarm.apis.chat_completions import ChatCompletions
from tokenswarm.apis.request import ChatRequest, Request
from tokenswarm.record import Doubt

DONE = b"data: [DONE]\n\n"
JSON = {"Content-Type": "application/json"}
STEP_MS = 10.0
RAISES = "the SDK raises on it"
DOES_NOT_JUDGE = "the SDK does not judge how an answer ended"
DOES_NOT_SEE = "the SDK does not look for errors of this form"


STREAMED = ChatRequest(messages=[])


@dataclass(frozen=True)
class Case:
    """`right`: columns of the row; `asked`: what was asked for besides a stream; `api`: whom."""

    kind: str
    name: str
    answer: Answer
    right: dict[str, Any]
    asked: Request = STREAMED
    sdk: str | None = None
    api: Api[Any] = field(default_factory=lambda: ChatCompletions("m"))


def ev(body: Any) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return b"data: " + data + b"\n\n"


def delta(
    text: Any = None, finish: Any = None, index: int = 0, choice: dict[str, Any] | None = None, **top: Any
) -> Any:
    inner = {} if text is None else {"content": text}
    one = {"index": index, "delta": inner, "finish_reason": finish, **(choice or {})}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [one], **top}


def token(text: Any = "tok", **more: Any) -> bytes:
    return ev(delta(text, **more))


def usage(prompt: Any = 100, completion: Any = 4, **more: Any) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, **more}
    return ev({"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": counts})


def details(reasoning: Any) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": reasoning}}


ROLE = ev(
    {"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
)
STOP = ev(delta(finish="stop"))
TOKENS = [token("a"), token("b"), token("c"), token("d")]
BEGIN = [ROLE, *TOKENS]
END = [STOP, usage(), DONE]


def spaced(events: Sequence[bytes], step_ms: float = STEP_MS) -> tuple[tuple[float, bytes], ...]:
    return tuple((5.0 + step_ms * number, data) for number, data in enumerate(events))


def stream(*events: bytes, **more: Any) -> Answer:
    return Answer(pieces=spaced(events), **more)


def body(value: Any, headers: dict[str, str] | None = None, status: int = 200) -> Answer:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Answer(pieces=((20.0, data),), headers=headers or JSON, status=status, framing="length")


def whole(message: Any = None, finish: Any = "stop", counts: Any = None, **top: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi", **(message or {})}, "finish_reason": finish}
    found = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **top}
    return found | {"usage": counts or {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}}


def packed(compress: Any, *events: bytes) -> tuple[tuple[float, bytes], ...]:
    return spaced([compress(event) for event in events])


def _gzipped(events: Sequence[bytes]) -> tuple[tuple[float, bytes], ...]:
    packer = zlib.compressobj(wbits=31)
    return spaced([packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in events])


def _brotlied(events: Sequence[bytes]) -> tuple[tuple[float, bytes], ...]:
    packer = brotli.Compressor()
    return spaced([packer.process(event) + packer.flush() for event in events])


SSE = {"Content-Type": "text/event-stream"}
OK = {"outcome": "ok", "chunks": 4, "completion_tokens": 4, "prompt_tokens": 100, "tbt_ms": 10.0, "doubts": None}
OK |= {"finish_reason": "stop", "error": None, "ttft_ms": 15.0, "end_note": None}
CUT = {"outcome": "truncated"}
PAGE = b"<!DOCTYPE html>\n<html><head><title>502 Bad\n Gateway</title></head><body><h1>x</h1></body></html>"
WHOLE_RIGHT = {"outcome": "ok", "error": None, "completion_tokens": 2, "ttft_ms": None, "doubts": None}
NO_STREAM = ChatRequest(messages=[], stream=False)


def told(text: str, outcome: str = "stream_error") -> dict[str, Any]:
    return {"outcome": outcome, "error": text}


A = [
    Case("A", "finish reason '' and a cut", stream(ROLE, *(token(t, finish="") for t in "abcd")), CUT, sdk=DOES_NOT_JUDGE),
    Case("A", "finish reason 'null' and a cut", stream(*(token(t, finish="null") for t in "abcd")), CUT, sdk=DOES_NOT_JUDGE),
    Case("A", "finish reason '' until the last", stream(*(token(t, finish="") for t in "abcd"), *END), {**OK, "ttft_ms": 5.0}),
    Case("A", "[DONE] alone", stream(*BEGIN, DONE), {**CUT, "error": "[DONE] came without a finish reason"}, sdk=DOES_NOT_JUDGE),
    Case("A", "usage and [DONE] alone", stream(*BEGIN, usage(), DONE), CUT, sdk=DOES_NOT_JUDGE),
    Case("A", "well framed end in the middle", stream(*BEGIN), CUT, sdk=DOES_NOT_JUDGE),
    Case("A", "no event at all", stream(), CUT, sdk=DOES_NOT_JUDGE),
    Case("A", "reason 'error'", stream(*BEGIN, ev(delta(finish="error")), DONE), told("finish reason 'error'"), sdk=DOES_NOT_JUDGE),
    Case("A", "reason 'abort'", stream(*BEGIN, ev(delta(finish="abort")), DONE), told("finish reason 'abort'"), sdk=DOES_NOT_JUDGE),
    Case("A", "reason 'network_error'", stream(*BEGIN, ev(delta(finish="network_error")), usage(), DONE),
         {"outcome": "stream_error"}, sdk=DOES_NOT_JUDGE),
    Case("A", "reason 'sensitive'", stream(*BEGIN, ev(delta(finish="sensitive")), DONE), {"outcome": "content_filter"}, sdk=DOES_NOT_JUDGE),
    Case("A", "reason 'content_filter'", stream(*BEGIN, ev(delta(finish="content_filter")), DONE),
         {"outcome": "content_filter"}, sdk=DOES_NOT_JUDGE),
    Case("A", "a reason nobody knows", stream(*BEGIN, ev(delta(finish="whim")), usage(), DONE),
         {**OK, "finish_reason": "whim", "doubts": Doubt.UNKNOWN_END}),
    Case("A", "a reason of Anthropic's through a gateway", stream(*BEGIN, ev(delta(finish="end_turn")), usage(), DONE),
         {**OK, "finish_reason": "end_turn"}),
    Case("A", "a reason in capitals", stream(*BEGIN, ev(delta(finish="STOP")), usage(), DONE), {**OK, "finish_reason": "STOP"}),
    Case("A", "one of two choices without an end",
         stream(token("a"), token("b", index=1), STOP, usage(), DONE), CUT, ChatRequest(messages=[], body={"n": 2}), DOES_NOT_JUDGE),
    Case("A", "two choices with their ends",
         stream(token("a"), token("b", index=1), token("c"), token("d", index=1), STOP, ev(delta(finish="length", index=1)), usage(), DONE),
         {"outcome": "ok", "chunks": 4, "finish_reason": "stop;length", "doubts": None}, ChatRequest(messages=[], body={"n": 2})),
    Case("A", "one choice where two were asked for", stream(*BEGIN, *END), {**OK, "doubts": Doubt.FEWER_CHOICES},
         ChatRequest(messages=[], body={"n": 2})),
    Case("A", "the end of one choice beside a token of another in one event",
         stream(*BEGIN, ev({"choices": [{"index": 0, "delta": {"content": "e"}, "finish_reason": None},
                                        {"index": 1, "delta": {}, "finish_reason": "stop"}]}), usage(completion=5), DONE),
         {**CUT, "chunks": 5}, sdk=DOES_NOT_JUDGE),
    Case("A", "event: error with a message", stream(*BEGIN, b'event: error\ndata: {"message":"worker died","code":502}\n\n', DONE),
         told("502: worker died"), sdk=DOES_NOT_SEE),
    Case("A", "event: error with text", stream(*BEGIN, b"event: error\ndata: upstream gone\n\n"), told("upstream gone")),
    Case("A", "event: error after the answer's end", stream(*BEGIN, STOP, b"event: error\ndata: {}\n\n", DONE),
         {"outcome": "stream_error"}, sdk=DOES_NOT_SEE),
    Case("A", "object: error", stream(*BEGIN, ev({"object": "error", "message": "CUDA error", "type": "InternalServerError", "code": 500}), DONE),
         told("500: CUDA error"), sdk=DOES_NOT_SEE),
    Case("A", "an error inside a choice", stream(*BEGIN, ev(delta(finish="stop", choice={"error": {"code": 502, "message": "lost"}})), DONE),
         told("502: lost"), sdk=DOES_NOT_SEE),
    Case("A", "an error beside a token", stream(*BEGIN, ev({**delta("e"), "error": {"message": "boom"}}), STOP, DONE), told("boom")),
    Case("A", "bare JSON in an event stream", stream(b'{"error":{"message":"The model is overloaded","code":"overloaded"}}'),
         told("overloaded: The model is overloaded"), sdk=DOES_NOT_SEE),
    Case("A", "bare JSON after tokens", stream(*BEGIN, b'{"error": {"message": "out of memory"}}\n\n'), told("out of memory"), sdk=DOES_NOT_SEE),
    Case("A", "bare JSON over several lines, no end", stream(*BEGIN, b'{\n "error": "gone"\n}'), told("gone"), sdk=DOES_NOT_SEE),
    Case("A", "an error with a code of its own", stream(ev({"error_code": 50001, "text": "NETWORK ERROR"}), DONE), told("50001: NETWORK ERROR"),
         sdk=DOES_NOT_SEE),
    Case("A", "base_resp", stream(ev({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}), DONE),
         told("1008: insufficient balance"), sdk=DOES_NOT_SEE),
    Case("A", "a detail in place of choices", stream(ev({"detail": "engine is dead"}), DONE), told("engine is dead"), sdk=DOES_NOT_SEE),
    Case("A", "an error under 200 in a body", body({"error": {"code": "x", "message": "hidden"}}), told("x: hidden"), NO_STREAM, DOES_NOT_SEE),
    Case("A", "204", body(b"", status=204), {"outcome": "bad_payload", "status": 204}, sdk=DOES_NOT_JUDGE),
    Case("A", "a login page under 203", body(PAGE, {"Content-Type": "text/html"}, 203),
         {"outcome": "bad_payload", "status": 203}, sdk=DOES_NOT_JUDGE),
    Case("A", "206 and an empty object", body({}, status=206), {"outcome": "bad_payload", "status": 206}, sdk=DOES_NOT_JUDGE),
    Case("A", "207 and a list", body([], status=207), {"outcome": "bad_payload", "status": 207}, sdk=DOES_NOT_JUDGE),
    Case("A", "202 and queued", body({"status": "queued"}, status=202), {"outcome": "bad_payload", "status": 202}, sdk=DOES_NOT_JUDGE),
    Case("A", "201 and a whole stream", stream(*BEGIN, *END, status=201), {**OK, "status": 201, "doubts": Doubt.STATUS}),
    Case("A", "200 without a body", body(b""), {"outcome": "bad_payload"}, NO_STREAM),
    Case("A", "a page under 200", body(PAGE, {"Content-Type": "text/html"}),
         {"outcome": "bad_payload", "error": "body is an HTML page: 502 Bad Gateway"}, sdk=DOES_NOT_JUDGE),
    Case("A", "a page as an event stream", stream(PAGE), {"outcome": "bad_payload", "error": "body is an HTML page: 502 Bad Gateway"},
         sdk=DOES_NOT_JUDGE),
    Case("A", "a page in the middle of a stream", stream(*BEGIN, PAGE), CUT, sdk=DOES_NOT_JUDGE),
    Case("A", "a body without text", body(whole({"content": None}, counts={"prompt_tokens": 9})), {"outcome": "bad_payload"}, NO_STREAM,
         DOES_NOT_JUDGE),
    Case("A", "a body without a finish reason", body(whole(finish=None)), {**WHOLE_RIGHT, "doubts": Doubt.UNKNOWN_END}, NO_STREAM),
    Case("A", "a body that calls a tool", body(whole({"content": None, "tool_calls": [{"id": "t", "type": "function",
         "function": {"name": "f", "arguments": "{}"}}]}, "tool_calls")), {**WHOLE_RIGHT, "finish_reason": "tool_calls"}, NO_STREAM),
    Case("A", "a list for a body", body([1]), {"outcome": "bad_payload"}, NO_STREAM),
    Case("A", "an end without a token", stream(ROLE, STOP, DONE), {"outcome": "bad_payload"}, sdk=DOES_NOT_JUDGE),
    Case("A", "429 inside a stream", stream(*BEGIN, ev({**delta("", "error"), "error": {"code": 429, "message": "limit"}}), DONE),
         told("429: limit", "throttled")),
    Case("A", "a rate limit by its type", stream(ev({"error": {"type": "rate_limit_error", "message": "slow"}})),
         told("rate_limit_error: slow", "throttled")),
    Case("A", "429 under 200 in a body", body({"error": {"code": "429", "message": "slow"}}), told("429: slow", "throttled"), NO_STREAM,
         DOES_NOT_SEE),
]  # fmt: skip

B = [
    Case("B", "open after [DONE]", stream(*BEGIN, *END, end="open"), {**OK, "end_note": "body left open", "e2e_ms": 75.0}),
    Case("B", "comments after [DONE]", stream(*BEGIN, *END, b": ping\n\n", b": ping\n\n", end="open"),
         {**OK, "end_note": "body left open", "e2e_ms": 75.0}),
    Case("B", "closed after [DONE]", stream(*BEGIN, *END, end="closed"),
         {**OK, "end_note": "connection closed before the end of the body", "e2e_ms": 75.0}),
    Case("B", "reset after [DONE]", stream(*BEGIN, *END, end="reset"),
         {**OK, "end_note": "ConnectionResetError: Connection reset by peer", "e2e_ms": 75.0}),
    Case("B", "the end of the body long after [DONE]", Answer(pieces=(*spaced([*BEGIN, *END]), (2_000.0, b": bye\n\n"))), {**OK, "e2e_ms": 75.0}),
    Case("B", "open after an error", stream(*BEGIN, ev({"error": {"message": "boom"}}), end="open"), {**told("boom"), "e2e_ms": 55.0}),
    Case("B", "no blank line after usage", stream(*BEGIN, STOP, usage()[:-1]), OK, sdk="the SDK drops an event without its blank line"),
    Case("B", "no line end after usage", stream(*BEGIN, STOP, usage()[:-2]), OK, sdk="the SDK drops an event without its blank line"),
    Case("B", "no blank line after [DONE]", stream(*BEGIN, STOP, usage(), b"data: [DONE]\n"), OK),
    Case("B", "no blank line after [DONE], and open", stream(*BEGIN, STOP, usage(), b"data: [DONE]\n", end="open"),
         {**OK, "end_note": "body left open"}, sdk="the SDK waits for the blank line"),
    Case("B", "[DONE] with a blank", stream(*BEGIN, STOP, usage(), b"data: [DONE] \n\n"), OK),
    Case("B", "[DONE] without a blank, CRLF", stream(*BEGIN, STOP, usage(), b"data:[DONE]\r\n\r\n"), OK),
    Case("B", "[DONE] with blanks before and after", stream(*BEGIN, STOP, usage(), b"data:   [DONE]  \n\n"), OK, sdk=RAISES),
    Case("B", "no [DONE] at all", stream(*BEGIN, STOP, usage()), OK),
    Case("B", "until the connection closes", stream(*BEGIN, *END, framing="close", end="closed"), OK),
    Case("B", "closed in the middle", stream(*BEGIN, end="closed"), CUT),
    Case("B", "closed after the finish reason, before [DONE]", stream(*BEGIN, STOP, end="closed"), CUT),
    Case("B", "reset in the middle", stream(*BEGIN, end="reset"), {"outcome": "stream_error"}),
    Case("B", "open in the middle", stream(*BEGIN, end="open"), {"outcome": "timeout"}),
    Case("B", "last event cut inside", stream(*BEGIN, STOP[:-30]), CUT, sdk=DOES_NOT_JUDGE),
]  # fmt: skip

_TEN = [
    token("t", usage={"prompt_tokens": 100, "completion_tokens": n + 1, "total_tokens": 101 + n}) for n in range(10)
]
TEN = {**OK, "chunks": 10, "completion_tokens": 10}
C = [
    Case("C", "usage on every chunk, none at the end", stream(ROLE, *_TEN, STOP, DONE), TEN),
    Case("C", "usage on every chunk, null at the end", stream(ROLE, *_TEN, ev(delta(finish="stop", usage=None)), DONE), TEN),
    Case("C", "usage on every chunk, zeros at the end", stream(ROLE, *_TEN, STOP, usage(0, 0), DONE), TEN,
         sdk="the SDK hands every usage on; the last one is zeros"),
    Case("C", "usage before the last token", stream(ROLE, *TOKENS[:3], token("d", usage={"prompt_tokens": 100, "completion_tokens": 4}), STOP, DONE), OK),
    Case("C", "usage in the finish chunk",
         stream(*BEGIN, ev(delta(finish="stop", usage={"prompt_tokens": 100, "completion_tokens": 4})), DONE), OK),
    Case("C", "usage in a choice", stream(*BEGIN, ev(delta(finish="stop", choice={"usage": {"prompt_tokens": 100, "completion_tokens": 4}})), DONE),
         OK, sdk="the SDK does not look for usage in a choice"),
    Case("C", "usage null on every chunk", stream(ROLE, *(token(t, usage=None) for t in "abcd"), *END), OK),
    Case("C", "all tokens of usage in one read with others",
         Answer(pieces=((5.0, ROLE), (15.0, TOKENS[0]), (25.0, b"".join(_TEN[1:4])), (45.0, STOP + DONE))),
         {"outcome": "ok", "chunks": 4, "completion_tokens": 4}),
    Case("C", "usage with blanks in the JSON", stream(*BEGIN, STOP, b'data: {"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 4}}\n\n', DONE), OK),
]  # fmt: skip

D = [
    Case("D", "zeros beside text", stream(*BEGIN, STOP, usage(0, 0, total_tokens=0), DONE),
         {**OK, "completion_tokens": None, "prompt_tokens": None, "tbt_ms": None, "token_source": "none", "doubts": Doubt.ZERO_USAGE},
         sdk="the SDK hands zeros on"),
    Case("D", "a zero for the completion only", stream(*BEGIN, STOP, usage(100, 0), DONE),
         {**OK, "completion_tokens": None, "tbt_ms": None, "token_source": "usage", "doubts": Doubt.ZERO_USAGE}, sdk="the SDK hands zeros on"),
    Case("D", "floats that are whole", stream(*BEGIN, STOP, usage(100.0, 4.0), DONE), OK),
    Case("D", "floats that are not", stream(*BEGIN, STOP, usage(100, 4.5), DONE),
         {**OK, "completion_tokens": None, "tbt_ms": None, "doubts": Doubt.USAGE}, sdk="the SDK hands on what comes"),
    Case("D", "negative counts", stream(*BEGIN, STOP, usage(100, -1), DONE),
         {**OK, "completion_tokens": None, "tbt_ms": None, "doubts": Doubt.USAGE}, sdk="the SDK hands on what comes"),
    Case("D", "counts as text", stream(*BEGIN, STOP, usage("100", "4"), DONE),
         {**OK, "completion_tokens": None, "prompt_tokens": None, "tbt_ms": None, "token_source": "none", "doubts": Doubt.USAGE},
         sdk="the SDK hands on what comes"),
    Case("D", "counts beyond any bound", stream(*BEGIN, STOP, usage(100, 10**12), DONE),
         {**OK, "completion_tokens": None, "tbt_ms": None, "doubts": Doubt.USAGE}, sdk="the SDK hands on what comes"),
    Case("D", "an empty usage object", stream(*BEGIN, STOP, ev({"choices": [], "usage": {}}), DONE),
         {**OK, "completion_tokens": None, "prompt_tokens": None, "tbt_ms": None, "token_source": "none"}),
    Case("D", "reasoning beside the completion", stream(*BEGIN, STOP, usage(100, 4, total_tokens=404, **details(300)), DONE),
         {**OK, "completion_tokens": 304, "reasoning_tokens": 300, "doubts": Doubt.REASONING_BESIDE},
         sdk="the SDK hands on what comes; reasoning is added here, so that prompt and completion are the total"),
    Case("D", "less reasoning beside the completion, seen by the total", stream(*BEGIN, STOP, usage(100, 4, total_tokens=106, **details(2)), DONE),
         {**OK, "completion_tokens": 6, "reasoning_tokens": 2, "doubts": Doubt.REASONING_BESIDE}, sdk="the SDK hands on what comes; the total has more"),
    Case("D", "reasoning beside, without a total", stream(*BEGIN, STOP, usage(100, 4, **details(50)), DONE),
         {**OK, "completion_tokens": 54, "reasoning_tokens": 50, "doubts": Doubt.REASONING_BESIDE}, sdk="the SDK hands on what comes; the total has more"),
    Case("D", "reasoning in the total only", stream(*BEGIN, STOP, usage(100, 4, total_tokens=150), DONE),
         {**OK, "completion_tokens": 50, "reasoning_tokens": 46, "doubts": Doubt.REASONING_BESIDE}, sdk="the SDK hands on what comes; the total has more"),
    Case("D", "reasoning in the completion, not streamed", stream(*BEGIN, STOP, usage(100, 24, total_tokens=124, **details(20)), DONE),
         {**OK, "completion_tokens": 24, "reasoning_tokens": 20}),
    Case("D", "a total that contradicts reasoning", stream(*BEGIN, STOP, usage(100, 4, total_tokens=104, **details(300)), DONE),
         {**OK, "reasoning_tokens": None, "doubts": Doubt.USAGE}),
    Case("D", "all of the limit is reasoning", stream(ROLE, ev(delta(finish="length")), usage(100, 50, **details(50)), DONE),
         {"outcome": "ok", "completion_tokens": 50, "reasoning_tokens": 50, "ttft_ms": None, "doubts": Doubt.NO_TEXT}),
    Case("D", "far fewer tokens than chunks", stream(ROLE, *(token() for _ in range(12)), STOP, usage(100, 1), DONE),
         {"outcome": "ok", "chunks": 12, "completion_tokens": 1, "doubts": Doubt.FEW_TOKENS}),
    Case("D", "cached tokens as OpenAI has them", stream(*BEGIN, STOP, usage(prompt_tokens_details={"cached_tokens": 64}), DONE),
         {**OK, "cached_tokens": 64}),
    Case("D", "cached tokens as DeepSeek has them", stream(*BEGIN, STOP, usage(prompt_cache_hit_tokens=64, prompt_cache_miss_tokens=36), DONE),
         {**OK, "cached_tokens": 64}),
    Case("D", "cached tokens as Anthropic has them", stream(*BEGIN, STOP, usage(cache_read_input_tokens=64), DONE), {**OK, "cached_tokens": 64}),
    Case("D", "cached tokens as Moonshot has them", stream(*BEGIN, STOP, usage(cached_tokens=64), DONE), {**OK, "cached_tokens": 64}),
    Case("D", "more cached than asked", stream(*BEGIN, STOP, usage(prompt_tokens_details={"cached_tokens": 640}), DONE),
         {**OK, "cached_tokens": None, "doubts": Doubt.USAGE}),
    Case("D", "cached beside the prompt", stream(*BEGIN, STOP, usage(cache_read_input_tokens=400, total_tokens=504), DONE),
         {**OK, "prompt_tokens": 500, "cached_tokens": 400, "doubts": Doubt.USAGE}),
    Case("D", "input and output for prompt and completion", stream(*BEGIN, STOP, ev({"choices": [], "usage": {"input_tokens": 100, "output_tokens": 4}}), DONE),
         OK, sdk="the SDK does not know these names"),
]  # fmt: skip

_CRLF = [
    b"id: 7\r\nretry: 100\r\nevent: message\r\n" + e.replace(b"data: ", b"data:").replace(b"\n", b"\r\n")
    for e in [*BEGIN, *END]
]
_CUT_UTF8 = ["a\u2028b", "\x85", "€ürö", "漢字"]
_CACHED = {**OK, "doubts": Doubt.CACHED}
H = [
    Case("H", "a stream under application/json", stream(*BEGIN, *END, headers=JSON), OK),
    Case("H", "a stream under text/plain", stream(*BEGIN, *END, headers={"Content-Type": "text/plain"}), OK),
    Case("H", "a stream under text/html", stream(*BEGIN, *END, headers={"Content-Type": "text/html"}),
         {**OK, "doubts": Doubt.CONTENT_TYPE}),
    Case("H", "a whole answer under text/html", body(whole(), {"Content-Type": "text/html; charset=utf-8"}),
         {**WHOLE_RIGHT, "doubts": Doubt.CONTENT_TYPE}, NO_STREAM),
    Case("H", "a stream without a type", stream(*BEGIN, *END, headers={}), OK),
    Case("H", "a stream that was not asked for", stream(*BEGIN, *END), OK, NO_STREAM, "the SDK was told to expect one body"),
    Case("H", "one body where a stream was asked for", body(whole()), {**WHOLE_RIGHT, "doubts": Doubt.WHOLE}, sdk="the SDK finds no event in it"),
    Case("H", "a cache's answer: Age", stream(*BEGIN, *END, headers={**SSE, "Age": "12"}), _CACHED),
    Case("H", "a cache's answer: the RFC's header", stream(*BEGIN, *END, headers={**SSE, "Cache-Status": "edge; fwd=stale, shield; hit"}), _CACHED),
    Case("H", "a cache's answer: Cloudflare's AI gateway", stream(*BEGIN, *END, headers={**SSE, "cf-aig-cache-status": "HIT"}), _CACHED),
    Case("H", "a cache's answer: Portkey", stream(*BEGIN, *END, headers={**SSE, "x-portkey-cache-status": "SEMANTIC HIT"}), _CACHED),
    Case("H", "a cache's answer: LiteLLM", stream(*BEGIN, *END, headers={**SSE, "x-litellm-cache-key": "c2adb5"}), _CACHED),
    Case("H", "a cache's answer: the inner one of two", stream(*BEGIN, *END, headers={**SSE, "X-Cache-Status": "HIT"}, doubled=(("X-Cache-Status", "MISS"),)), _CACHED),
    Case("H", "a cache's answer in one body", body(whole(), {**JSON, "X-Cache": "Hit from cloudfront"}), {**WHOLE_RIGHT, "doubts": Doubt.CACHED}, NO_STREAM),
    Case("H", "caches that did not answer",
         stream(*BEGIN, *END, headers={**SSE, "Age": "0", "X-Cache": "MISS", "CF-Cache-Status": "DYNAMIC", "X-Cache-Status": "EXPIRED", "Helicone-Cache": "MISS"}), OK),
    Case("H", "one body, as an event stream", body(whole(), SSE), {**WHOLE_RIGHT, "doubts": Doubt.WHOLE}, sdk="the SDK finds no event in it"),
    Case("H", "CRLF, fields, no blank after data:", stream(*_CRLF), OK),
    Case("H", "CR alone", stream(*(e.replace(b"\n", b"\r") for e in [*BEGIN, *END])), OK),
    Case("H", "a byte order mark", stream(b"\xef\xbb\xbf" + ROLE, *TOKENS, *END), OK),
    Case("H", "comments between", stream(b": OPENROUTER PROCESSING\n\n" + ROLE, *TOKENS, *END), OK),
    Case("H", "separators of lines in text, UTF-8 cut inside",
         Answer(pieces=((5.0, ROLE), *((15.0 + 10 * n + at, part) for n, text in enumerate(_CUT_UTF8)
                for at, part in ((-5.0, token(text)[:90]), (0.0, token(text)[90:]))), *((60.0 + n, e) for n, e in enumerate(END)))), OK),
    Case("H", "an empty data: heartbeat", stream(b"data:\n\n" + ROLE, TOKENS[0], b"data: \n\n" + TOKENS[1], b"data\n\n" + TOKENS[2], TOKENS[3], *END),
         OK, sdk=RAISES),
    Case("H", "a heartbeat that is named", stream(ROLE, b"event: ping\ndata: ping\n\n" + TOKENS[0], *TOKENS[1:], *END), OK, sdk=RAISES),
    Case("H", "gzip that was not asked for", Answer(pieces=_gzipped([*BEGIN, *END]), headers={**SSE, "Content-Encoding": "gzip"}), OK),
    Case("H", "brotli that was not asked for", Answer(pieces=_brotlied([*BEGIN, *END]), headers={**SSE, "Content-Encoding": "br"}), OK),
    Case("H", "deflate in one body", body(zlib.compress(json.dumps(whole()).encode()), {**JSON, "Content-Encoding": "deflate"}), WHOLE_RIGHT, NO_STREAM),
    Case("H", "gzip in one body", body(gzip.compress(json.dumps(whole()).encode()), {**JSON, "Content-Encoding": "gzip"}), WHOLE_RIGHT, NO_STREAM),
    Case("H", "gzip in an error", body(gzip.compress(b'{"error":{"code":"rate_limit_exceeded","message":"slow down"}}'),
         {**JSON, "Content-Encoding": "gzip"}, 429), told("HTTP 429: rate_limit_exceeded: slow down", "throttled")),
    Case("H", "an error in an encoding nobody knows", body(b"\x28\xb5\x2f\xfd\x00\xff", {**JSON, "Content-Encoding": "zstd"}, 500),
         told("HTTP 500: a body of 6 bytes that is no text (content-encoding zstd)", "http_error")),
    Case("H", "gzip that is none", Answer(pieces=spaced([*BEGIN, *END]), headers={**SSE, "Content-Encoding": "gzip"}), {"outcome": "stream_error"}),
]  # fmt: skip

_ESC = {"error": {"code": "x", "message": "\x1b]0;owned\x07\x1b[31mred\x1b[2K \u202eevil\u0085"}}
_THINKING = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
_LONE = {"outcome": "ok", "chunks": 1, "ttft_ms": 15.0, "tbt_ms": None}
_CALL = [{"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": '{"place":"Oslo"}'}}]
M = [
    Case("M", "the whole text in one chunk", stream(ROLE, token("tok " * 40), STOP, usage(100, 40), DONE), {**_LONE, "completion_tokens": 40, "doubts": Doubt.BUFFERED}),
    Case("M", "a short answer in one chunk", stream(ROLE, token("Yes."), STOP, usage(100, 2), DONE), {**_LONE, "completion_tokens": 2, "doubts": None}),
    Case("M", "one chunk behind hidden reasoning", stream(ROLE, token("Yes."), STOP, usage(100, 40, **details(38)), DONE), {**_LONE, "doubts": None}),
    Case("M", "a whole tool call in one chunk", stream(ROLE, ev(delta(choice={"delta": {"tool_calls": _CALL}})), ev(delta(finish="tool_calls")), usage(100, 40), DONE),
         {**_LONE, "doubts": None}),
    Case("M", "all in one read", Answer(pieces=((300.0, b"".join([*BEGIN, *END])),)),
         {**OK, "ttft_ms": 300.0, "tbt_ms": None, "gap_max_ms": None, "doubts": Doubt.BUFFERED, "e2e_ms": 300.0}),
    Case("M", "all at once in several reads", Answer(pieces=tuple((300.0 + 0.1 * n, e) for n, e in enumerate([*BEGIN, token("e"), STOP, usage(completion=5), DONE]))),
         {"outcome": "ok", "chunks": 5, "tbt_ms": None, "gap_max_ms": None, "doubts": Doubt.BUFFERED}),
    Case("M", "one chunk is no piece with others", stream(ROLE, token(), STOP, usage(completion=1), DONE),
         {"outcome": "ok", "chunks": 1, "tbt_ms": None, "doubts": None}),
    Case("M", "two in the first read, others later", Answer(pieces=((5.0, ROLE), (15.0, TOKENS[0] + TOKENS[1]), (25.0, TOKENS[2]), (35.0, TOKENS[3]), (45.0, b"".join(END)))),
         {"outcome": "ok", "chunks": 4, "doubts": None}),
    Case("M", "a page for an error", body(PAGE, {"Content-Type": "text/html"}, 502), told("HTTP 502: 502 Bad Gateway".replace("502: 502 ", "502: "), "http_error")),
    Case("M", "a status said twice", body({"error": {"code": "429", "message": "Requests exceed the limit"}}, status=429),
         told("HTTP 429: Requests exceed the limit", "throttled")),
    Case("M", "sequences for a terminal", body(_ESC, status=500), told("HTTP 500: x:   red   evil ", "http_error")),
    Case("M", "sequences in an event", stream(*BEGIN, ev(_ESC)), told("x:   red   evil ", "stream_error")),
    Case("M", "LiteLLM's call id", stream(*BEGIN, *END, headers={**SSE, "x-litellm-call-id": "call-7"}), {**OK, "request_id": "call-7"}),
    Case("M", "content as parts in one body", body(whole({"content": [*_THINKING, {"type": "text", "text": "Hi"}]})), WHOLE_RIGHT, NO_STREAM),
    Case("M", "thinking parts in a stream", stream(token(_THINKING), token([{"type": "text", "text": "a"}]), STOP, usage(completion=2), DONE),
         {"outcome": "ok", "ttft_ms": 5.0, "ttft_visible_ms": 15.0, "doubts": None}),
    Case("M", "a binary body of an error", body(b"\x00\x01\x02\xff" * 50, status=503), told("HTTP 503: a body of 200 bytes that is no text", "http_error")),
]  # fmt: skip

SHAPES = [*A, *B, *C, *D, *H, *M]
