"""Chat completions as named services, engines and gateways answer them: their shapes, by kind as in `cases`."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.wire.cases import (
    BEGIN,
    CUT,
    DOES_NOT_JUDGE,
    DOES_NOT_SEE,
    DONE,
    END,
    JSON,
    NO_STREAM,
    OK,
    RAISES,
    ROLE,
    SSE,
    STOP,
    TOKENS,
    WHOLE_RIGHT,
    Case,
    body,
    delta,
    ev,
    spaced,
    stream,
    token,
    told,
    usage,
    whole,
)
from tests.wire.replay import Answer
from tokenswarm.record import Doubt


def ended(reason: Any, **more: Any) -> Answer:
    return stream(*BEGIN, ev(delta(finish=reason)), usage(), DONE, **more)


def failed(status: int, value: Any, headers: dict[str, str] | None = None) -> Answer:
    return body(value, headers, status)


_GOOD = (
    "eos",
    "eos_token",
    "stop_sequence",
    "end_turn",
    "model_length",
    "MAX_TOKENS",
    "COMPLETE",
    "max_output_tokens",
    "tool_call",
    "toolUse",
    "stop_str",
    "max_length",
)
_FILTERED = (
    "SAFETY",
    "RECITATION",
    "PROHIBITED_CONTENT",
    "refusal",
    "content_filtered",
    "ERROR_TOXIC",
    "content-filter",
    "IMAGE_SAFETY",
    "LANGUAGE",
    "guardrail_intervened",
)
_BROKEN = (
    "aborted",
    "MALFORMED_FUNCTION_CALL",
    "insufficient_system_resource",
    "cancelled",
    "server_error",
    "internal_error",
    "overloaded",
    "interrupted",
    "user_cancelled",
    "ERROR_LIMIT",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "time_out",
)

_FILTER = {"hate": {"filtered": False, "severity": "safe"}, "self_harm": {"filtered": False, "severity": "safe"}}
_AZURE = [
    ev({"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _FILTER}]}),
    ROLE,
    *(token(text, choice={"content_filter_results": _FILTER, "logprobs": None}) for text in "abcd"),
    ev(delta(finish="stop", choice={"content_filter_results": {}})),
]  # fmt: skip
_OFFSETS = {"check_offset": 44, "start_offset": 44, "end_offset": 198}
_ASYNC_FILTER = ev({"id": "", "model": "", "choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": _OFFSETS, "content_filter_results": _FILTER}]})  # fmt: skip
_NOT_FILTERED = {"error": {"code": "content_filter_error", "message": "The contents are not filtered"}}

A = [
    *(Case("A", f"reason {reason!r}", ended(reason), {**OK, "finish_reason": reason}) for reason in _GOOD),
    *(Case("A", f"reason {reason!r}", ended(reason), {"outcome": "content_filter"}, sdk=DOES_NOT_JUDGE) for reason in _FILTERED),
    *(Case("A", f"reason {reason!r}", ended(reason), told(f"finish reason {reason!r}"), sdk=DOES_NOT_JUDGE) for reason in _BROKEN),
    Case("A", "Groq's error beside a good reason", stream(*BEGIN, ev(delta(finish="stop", x_groq={"error": "stopped early"})), usage(), DONE),
         told("stopped early"), sdk=DOES_NOT_SEE),
    Case("A", "Groq's error in the middle", stream(*BEGIN, ev(delta(x_groq={"id": "r", "error": "over capacity"})), DONE), told("over capacity"), sdk=DOES_NOT_SEE),
    Case("A", "an event named timeout", stream(*BEGIN, b'event: timeout\ndata: {"message":"upstream timeout"}\n\n'), told("upstream timeout"), sdk=DOES_NOT_SEE),
    Case("A", "an event named exception", stream(*BEGIN, b"event: exception\ndata: boom\n\n"), told("boom")),
    Case("A", "an event named warning", stream(ROLE, b'event: warning\ndata: {"message":"deprecated"}\n\n' + TOKENS[0], *TOKENS[1:], *END), OK),
    Case("A", "a code and msg in Chinese clouds' way", body({"code": 1301, "msg": "quota", "success": False}), told("1301: quota"), NO_STREAM, DOES_NOT_SEE),
    Case("A", "AWS's Message in capitals", failed(403, {"Message": "User is not authorized"}), told("HTTP 403: User is not authorized", "http_error")),
    Case("A", "Ollama's reason 'load'", ended("load"), {**OK, "finish_reason": "load", "doubts": Doubt.UNKNOWN_END}),
    Case("A", "a reason that is an object, as SGLang's own API has it", ended({"type": "stop", "matched": 128009}), OK),
    Case("A", "an object that says abort", ended({"type": "abort", "message": "out of KV cache"}), told("finish reason 'abort'"), sdk=DOES_NOT_JUDGE),
    Case("A", "error: null on every chunk", stream(ROLE, *(token(t, error=None) for t in "abcd"), ev(delta(finish="stop", error=None)), usage(), DONE), OK),
    Case("A", "an empty error object", stream(*BEGIN, ev(delta(finish="stop", error={})), usage(), DONE), OK),
    Case("A", "error: null in a body", body(whole(error=None)), WHOLE_RIGHT, NO_STREAM),
    Case("A", "OpenRouter's error in the middle",
         stream(*BEGIN, ev({**delta("", "error"), "error": {"code": 502, "message": "Provider disconnected", "metadata": {"error_type": "provider"}}})),
         told("502: Provider disconnected")),
    Case("A", "OpenRouter's reason 'error' beside the provider's own", stream(*BEGIN, ev(delta("", "error", choice={"native_finish_reason": "stop"})), usage(), DONE),
         told("finish reason 'error'"), sdk=DOES_NOT_JUDGE),
    Case("A", "vLLM's error and [DONE]", stream(*BEGIN, ev({"error": {"object": "error", "message": "EngineCore died", "type": "InternalServerError", "code": 500}}), DONE),
         told("500: EngineCore died")),
    Case("A", "LiteLLM's error", stream(*BEGIN, ev({"error": {"message": "litellm.APIConnectionError: gone", "type": None, "param": None, "code": "500"}})),
         told("500: litellm.APIConnectionError: gone")),
    Case("A", "TGI's error", stream(*BEGIN, ev({"error": "Request failed during generation", "error_type": "generation"})),
         told("Request failed during generation")),
    Case("A", "Cloudflare's refusal under 200", body({"success": False, "result": [], "messages": [], "error": [{"code": 2001, "message": "Please configure the gateway"}]}),
         told("2001: Please configure the gateway"), NO_STREAM, DOES_NOT_SEE),
    Case("A", "Gemini's list of one error under 200", body([{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}]),
         told("503: The model is overloaded."), NO_STREAM),
    Case("A", "the same as a stream's body", body([{"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}]),
         told("429: Quota exceeded", "throttled"), sdk=DOES_NOT_JUDGE),
    Case("A", "a message alone, as AWS writes it, under 200", body({"message": "Endpoint request timed out"}), told("Endpoint request timed out"), NO_STREAM, DOES_NOT_SEE),
    Case("A", "a message alone in a stream", stream(*BEGIN, ev({"message": "upstream connect error"}), DONE), told("upstream connect error"), sdk=DOES_NOT_SEE),
    Case("A", "DashScope's throttling", stream(ev({"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded", "request_id": "r"})),
         told("Throttling.RateQuota: Requests rate limit exceeded", "throttled"), sdk=DOES_NOT_SEE),
    Case("A", "Bedrock's throttling through a proxy", stream(*BEGIN, ev({"error": {"type": "TooManyRequestsException", "message": "Too many tokens"}})),
         told("TooManyRequestsException: Too many tokens", "throttled")),
    Case("A", "RateLimitExceeded in one word", stream(*BEGIN, ev({"error": {"code": "RateLimitExceeded", "message": "slow"}})),
         told("RateLimitExceeded: slow", "throttled")),
    Case("A", "RESOURCE_EXHAUSTED", stream(*BEGIN, ev({"error": {"status": "RESOURCE_EXHAUSTED", "message": "quota"}})), told("RESOURCE_EXHAUSTED: quota", "throttled")),
    Case("A", "Azure: the filter's chunk, choices with results", stream(*_AZURE, usage(), DONE), {**OK, "ttft_ms": 25.0}),
    Case("A", "Azure: results of the asynchronous filter after the end", stream(*_AZURE, _ASYNC_FILTER, usage(), DONE), {**OK, "ttft_ms": 25.0}),
    Case("A", "Azure: the filter itself failed", stream(ROLE, *(token(t, choice={"content_filter_results": _NOT_FILTERED}) for t in "abcd"), *END), OK),
    Case("A", "Azure: filtered in the middle", stream(*_AZURE[:-1], ev(delta(finish="content_filter", choice={"content_filter_results": {"hate": {"filtered": True}}})), usage(), DONE),
         {"outcome": "content_filter", "chunks": 4}, sdk=DOES_NOT_JUDGE),
    Case("A", "no choice has an end, usage has come", stream(*BEGIN, ev(delta(finish=None)), usage(), DONE), CUT, sdk=DOES_NOT_JUDGE),
    Case("A", "choices: null, delta: null, no index", stream(ROLE, ev({"choices": None}), *(ev({"choices": [{"delta": {"content": t}, "finish_reason": None}]}) for t in "abcd"),
         ev({"choices": [{"delta": None, "finish_reason": "stop"}]}), usage(), DONE), {**OK, "ttft_ms": 25.0}),
    Case("A", "a body that was cut", body(json.dumps(whole()).encode()[:-40]), {"outcome": "bad_payload"}, NO_STREAM),
    Case("A", "a text/plain sentence under 200", body(b"upstream request timeout", {"Content-Type": "text/plain"}), {"outcome": "bad_payload"}, NO_STREAM),
]  # fmt: skip

_LENGTH = str(len(b"".join([*BEGIN, *END])))
B = [
    Case("B", "usage after [DONE]", stream(*BEGIN, STOP, DONE, usage()), {**OK, "completion_tokens": None, "prompt_tokens": None, "tbt_ms": None}),
    Case("B", "usage after [DONE], in one read", Answer(pieces=(*spaced(BEGIN), (55.0, STOP + DONE + usage()))),
         {**OK, "completion_tokens": None, "prompt_tokens": None, "tbt_ms": None}),
    Case("B", "an error after [DONE]", Answer(pieces=(*spaced(BEGIN), (55.0, STOP + usage() + DONE + ev({"error": {"message": "late"}})))), OK),
    Case("B", "'[DONE]' in quotes", stream(*BEGIN, STOP, usage(), b'data: "[DONE]"\n\n', end="open"), {**OK, "end_note": "body left open"}, sdk=RAISES),
    Case("B", "[DONE] with more behind it", stream(*BEGIN, STOP, usage(), b"data: [DONE]<|eot|>\n\n"), OK),
    Case("B", "event: done", stream(*BEGIN, STOP, usage(), b"event: done\ndata: [DONE]\n\n"), OK),
    Case("B", "HTTP/1.0 until the connection closes", stream(*BEGIN, *END, framing="close", end="closed", version="1.0"), OK),
    Case("B", "HTTP/1.0, closed in the middle", stream(*BEGIN, framing="close", end="closed", version="1.0"), CUT, sdk=DOES_NOT_JUDGE),
    Case("B", "HTTP/1.0 with keep-alive and a length", stream(*BEGIN, *END, framing="length", version="1.0", headers={**SSE, "Connection": "keep-alive"}), OK),
    Case("B", "a length that is longer than the answer, open", stream(*BEGIN, *END, framing="close", end="open", headers={**SSE, "Content-Length": "99999"}),
         {**OK, "end_note": "body left open"}),
    Case("B", "a length that is longer than the answer, closed", stream(*BEGIN, *END, framing="close", end="closed", headers={**SSE, "Content-Length": "99999"}),
         {**OK, "end_note": "connection closed before the end of the body"}),
    Case("B", "a length that ends in the middle", Answer(pieces=spaced([*BEGIN, *END]), framing="close", end="open", headers={**SSE, "Content-Length": "200"}),
         {"outcome": "truncated"}, sdk="the SDK was given all bytes"),
    Case("B", "trailers", stream(*BEGIN, *END, trailers=b"x-request-id: other\r\nx-status: ok\r\n", headers={**SSE, "x-request-id": "r-1"}), {**OK, "request_id": "r-1"}),
]  # fmt: skip

_GROQ = {
    "id": "req_1",
    "usage": {
        "queue_time": 0.01,
        "prompt_tokens": 100,
        "prompt_time": 0.002,
        "completion_tokens": 4,
        "total_tokens": 104,
    },
}
_ROUTER = {
    "total_tokens": 104,
    "cost": 0.00014,
    "is_byok": False,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": None},
    "completion_tokens_details": None,
}
C = [
    Case("C", "usage in x_groq", stream(*BEGIN, ev(delta(finish="stop", x_groq=_GROQ)), DONE), OK, sdk="the SDK does not know x_groq"),
    Case("C", "x_groq with an id alone", stream(ev(delta("", x_groq={"id": "req_1"})), *TOKENS, *END), OK),
    Case("C", "OpenRouter's usage with its cost", stream(*BEGIN, STOP, usage(**_ROUTER), DONE), OK),
    Case("C", "OpenRouter's last chunk repeats the reason", stream(*BEGIN, STOP, ev(delta("", "stop", usage={"prompt_tokens": 100, "completion_tokens": 4})), DONE), OK),
    Case("C", "vLLM's usage on every chunk", stream(*(token(t, usage={"prompt_tokens": 100, "completion_tokens": n, "total_tokens": 100 + n}) for n, t in enumerate("abcd", 1)),
         STOP, usage(total_tokens=104), DONE), {**OK, "ttft_ms": 5.0}),
    Case("C", "usage that is a list, a text, a flag", stream(ev(delta("a", usage=[])), ev(delta("b", usage="none")), ev(delta("c", usage=False)), TOKENS[3], *END), {**OK, "ttft_ms": 5.0}, sdk=RAISES),
    Case("C", "llama.cpp's timings beside usage", stream(*BEGIN, STOP, ev({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 4}, "timings": {"predicted_n": 4}}), DONE), OK),
    Case("C", "usage in both of the last chunks", stream(*BEGIN, ev(delta(finish="stop", usage={"prompt_tokens": 100, "completion_tokens": 3})), usage(), DONE), OK),
]  # fmt: skip

_NOTHING = {**OK, "completion_tokens": None, "tbt_ms": None, "doubts": Doubt.USAGE}
D = [
    Case("D", "NaN for a count", stream(*BEGIN, STOP, b'data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":NaN}}\n\n', DONE), _NOTHING, sdk="the SDK hands on what comes"),
    Case("D", "Infinity for a count", stream(*BEGIN, STOP, b'data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":Infinity}}\n\n', DONE), _NOTHING,
         sdk="the SDK hands on what comes"),
    Case("D", "a count of true", stream(*BEGIN, STOP, usage(100, True), DONE), _NOTHING, sdk="the SDK hands on what comes"),
    Case("D", "counts of null", stream(*BEGIN, STOP, usage(None, None), DONE), {**OK, "completion_tokens": None, "prompt_tokens": None, "tbt_ms": None}),
    Case("D", "details that are lists", stream(*BEGIN, STOP, usage(prompt_tokens_details=[], completion_tokens_details=[1]), DONE), OK),
    Case("D", "tokens of a prediction that was not met", stream(*BEGIN, STOP, usage(100, 40, completion_tokens_details={"rejected_prediction_tokens": 36}), DONE),
         {**OK, "completion_tokens": 40}),
    Case("D", "more of a prediction than was generated", stream(*BEGIN, STOP, usage(completion_tokens_details={"rejected_prediction_tokens": 36}), DONE), OK),
    Case("D", "xAI counts thinking beside", stream(*BEGIN, STOP, usage(100, 4, total_tokens=204, completion_tokens_details={"reasoning_tokens": 100}), DONE),
         {**OK, "completion_tokens": 104, "reasoning_tokens": 100, "doubts": Doubt.REASONING_BESIDE}, sdk="the SDK hands on what comes; the total has more"),
    Case("D", "a total alone", stream(*BEGIN, STOP, ev({"choices": [], "usage": {"total_tokens": 104}}), DONE),
         {**OK, "completion_tokens": None, "prompt_tokens": None, "tbt_ms": None}),
    Case("D", "zeros for all cached tokens", stream(*BEGIN, STOP, usage(prompt_cache_hit_tokens=0, prompt_cache_miss_tokens=100), DONE), {**OK, "cached_tokens": 0}),
    Case("D", "a body with zeros", body(whole(counts={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})),
         {"outcome": "ok", "completion_tokens": None, "prompt_tokens": None, "doubts": Doubt.ZERO_USAGE}, NO_STREAM, "the SDK hands zeros on"),
]  # fmt: skip

_ZSTD = b"\x28\xb5\x2f\xfd\x04\x58" + bytes(range(128, 200))
_MEMBERS = spaced([gzip.compress(event) for event in [*BEGIN, *END]])
_ODD_CHUNKS = (
    *spaced([b"%04X;x=1\r\n%s\r\n" % (len(event), event) for event in [*BEGIN, *END]]),
    (85.0, b"0;last\r\n\r\n"),
)
_HINTS = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nx-request-id: hint\r\n\r\n"
)
H = [
    Case("H", "OpenRouter's comments between tokens", stream(b": OPENROUTER PROCESSING\n\n", ROLE, TOKENS[0], b": OPENROUTER PROCESSING\n\n" + TOKENS[1], *TOKENS[2:], *END),
         {**OK, "ttft_ms": 25.0, "tbt_ms": 10.0}),
    Case("H", "chunks in capitals, with extensions and zeros in front", Answer(pieces=_ODD_CHUNKS, headers={**SSE, "Transfer-Encoding": "chunked"},
         framing="close", end="open"), OK),
    Case("H", "x-gzip in capitals", Answer(pieces=_MEMBERS, headers={**SSE, "Content-Encoding": "X-GZIP"}), OK, sdk="the SDK's HTTP reads no such name"),
    Case("H", "a stream under application/octet-stream", stream(*BEGIN, *END, headers={"Content-Type": "application/octet-stream"}), OK),
    Case("H", "its type twice in one header", stream(*BEGIN, *END, headers={"Content-Type": "text/event-stream, text/event-stream; charset=utf-8"}), OK),
    Case("H", "a retry: alone", stream(b"retry: 3000\n\n" + ROLE, *TOKENS, *END), OK, sdk=RAISES),
    Case("H", "an event that says close in a word", stream(*BEGIN, STOP, usage(), b"event: close\ndata: close\n\n"), OK, sdk=RAISES),
    Case("H", "[DONE] twice", stream(*BEGIN, *END, DONE), OK),
    Case("H", "a second answer behind the first", stream(*BEGIN, *END, *BEGIN, *END), OK),
    Case("H", "a comment in the event", stream(ROLE, *(b": keep\n" + each for each in TOKENS), *END), OK),
    Case("H", "JSON over several data: lines", stream(ROLE, *(each.replace(b',"', b',\ndata: "') for each in TOKENS), *END), OK),
    Case("H", "no blank after data:", stream(*(each.replace(b"data: ", b"data:") for each in [*BEGIN, *END])), OK),
    Case("H", "two blanks after data:", stream(*(each.replace(b"data: ", b"data:  ") for each in [*BEGIN, *END[:-1]]), DONE), OK),
    Case("H", "id, retry and event on every event", stream(*(b"id: 7\nretry: 15000\nevent: message\n" + each for each in [*BEGIN, *END])), OK),
    Case("H", "event: completion", stream(*(b"event: completion\n" + each for each in [*BEGIN, *END])), OK),
    Case("H", "events parted by several blank lines", stream(*(b"\n\n" + each + b"\n\n" for each in [*BEGIN, *END])), OK),
    Case("H", "a heartbeat in words without a name", stream(ROLE, b"data: ping\n\n" + TOKENS[0], b"data: keep-alive\n\n" + TOKENS[1], *TOKENS[2:], *END), OK, sdk=RAISES),
    Case("H", "a heartbeat of null", stream(ROLE, b"data: null\n\n" + TOKENS[0], *TOKENS[1:], *END), OK, sdk=RAISES),
    Case("H", "a heartbeat of an object", stream(ROLE, b'data: {"type":"ping"}\n\n' + TOKENS[0], *TOKENS[1:], *END), OK),
    Case("H", "half of a pair of surrogates in each chunk", stream(ROLE, token("a"), ev(b'{"choices":[{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":null}]}'),
         ev(b'{"choices":[{"index":0,"delta":{"content":"\\ude00"},"finish_reason":null}]}'), token("d"), *END), OK),
    Case("H", "half of a pair in the first chunk", stream(ROLE, ev(b'{"choices":[{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":null}]}'), *TOKENS[1:], *END), OK),
    Case("H", "-Infinity for a log probability", stream(ROLE, ev(b'{"choices":[{"index":0,"delta":{"content":"a"},"logprobs":{"content":[{"logprob":-Infinity}]},"finish_reason":null}]}'),
         *TOKENS[1:], *END), OK),
    Case("H", "gzip in a member for each event", Answer(pieces=_MEMBERS, headers={**SSE, "Content-Encoding": "gzip"}), OK, sdk="the SDK's HTTP reads the first member alone"),
    Case("H", "zstd that was not asked for", Answer(pieces=((5.0, _ZSTD),), headers={**SSE, "Content-Encoding": "zstd"}),
         {"outcome": "bad_payload", "error": "body has content-encoding zstd, which was not asked for and cannot be read"}),
    Case("H", "zstd in one body", body(_ZSTD, {**JSON, "Content-Encoding": "zstd"}),
         {"outcome": "bad_payload", "error": "body has content-encoding zstd, which was not asked for and cannot be read"}, NO_STREAM),
    Case("H", "content-encoding: identity", stream(*BEGIN, *END, headers={**SSE, "Content-Encoding": "identity"}), OK),
    Case("H", "content-encoding: utf-8, which is none", stream(*BEGIN, *END, headers={**SSE, "Content-Encoding": "utf-8"}), OK),
    Case("H", "names and values of headers in capitals", stream(*BEGIN, *END, headers={"CONTENT-TYPE": "TEXT/EVENT-STREAM; CHARSET=UTF-8", "X-REQUEST-ID": "R"}),
         {**OK, "request_id": "R"}),
    Case("H", "a content type twice", stream(*BEGIN, *END, doubled=(("Content-Type", "text/event-stream"),)), OK),
    Case("H", "chunked twice", stream(*BEGIN, *END, doubled=(("Transfer-Encoding", "chunked"),)), OK),
    Case("H", "a length beside chunks", stream(*BEGIN, *END, doubled=(("Content-Length", _LENGTH),)), OK),
    Case("H", "the length twice", stream(*BEGIN, *END, framing="length", doubled=(("Content-Length", _LENGTH),)),
         told("malformed HTTP: Duplicate Content-Length"), sdk="the SDK's HTTP takes it"),
    Case("H", "interim answers", stream(*BEGIN, *END, before=_HINTS, headers={**SSE, "x-request-id": "final"}), {**OK, "request_id": "final"}),
    Case("H", "a header of 60 kB and 300 others", stream(*BEGIN, *END, headers={**SSE, "x-trace": "t" * 60_000, **{f"x-{n}": "v" for n in range(300)}, "x-request-id": "last"}),
         {**OK, "request_id": "last"}),
    Case("H", "lines of JSON, as Ollama's own API streams", body(b'{"message":{"content":"a"},"done":false}\n{"message":{"content":""},"done":true}\n',
         {"Content-Type": "application/x-ndjson"}), {"outcome": "bad_payload"}, sdk=DOES_NOT_JUDGE),
]  # fmt: skip

_LATER = {"Date": "Sat, 28 Nov 2026 08:00:00 GMT", "Retry-After": "Sat, 28 Nov 2026 08:00:07 GMT"}
_SLOW = {"error": {"message": "slow down"}}


def waits(after: dict[str, str], ms: float | None) -> Case:
    said = ", ".join(f"{name} {value}" for name, value in after.items() if name != "Date")
    return Case(
        "M", f"429 with {said}", failed(429, _SLOW, {**JSON, **after}), {"outcome": "throttled", "retry_after_ms": ms}
    )


M = [
    waits({"Retry-After": "1.5"}, 1500.0),
    waits({"retry-after-ms": "250", "Retry-After": "1"}, 250.0),
    waits(_LATER, 7000.0),
    waits({"Retry-After": "-3"}, None),
    waits({"Retry-After": "soon"}, None),
    waits({"Retry-After": "NaN"}, None),
    waits({"Retry-After": "Sat, 28 Nov 2020 08:00:00 GMT"}, 0.0),
    waits({"Retry-After": "5, 5"}, 5000.0),
    waits({"Retry-After": "2s"}, None),
    *(Case("M", f"thinking as {name}", stream(ROLE, *(ev(delta(choice={"delta": {"content": "", name: "t"}})) for _ in "ab"), token("c"), token("d"), *END),
           {**OK, "ttft_visible_ms": 35.0}) for name in ("reasoning", "reasoning_text", "thinking")),
    Case("M", "thinking as text and in details at once", stream(ROLE, *(ev(delta(choice={"delta": {"reasoning": "t", "reasoning_details": [{"text": "t"}]}})) for _ in "ab"),
         token("c"), token("d"), *END), {**OK, "ttft_visible_ms": 35.0}),
    Case("M", "a refusal in a field of its own", stream(ROLE, *(ev(delta(choice={"delta": {"refusal": t}})) for t in "abcd"), *END), OK),
    Case("M", "Cloudflare's 520", body(b"<!DOCTYPE html><html><head><title>api.x | 520: unknown error</title></head></html>", {"Content-Type": "text/html"}, 520),
         told("HTTP 520: api.x | 520: unknown error", "http_error")),
    Case("M", "APIM's error", failed(429, {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 3 seconds."}),
         told("HTTP 429: Rate limit is exceeded. Try again in 3 seconds.", "throttled")),
    Case("M", "APIM's unknown path", failed(404, {"statusCode": 404, "message": "Resource not found"}), {"outcome": "http_error", "status": 404}),
    Case("M", "a problem document", failed(503, {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": "no backend"}),
         told("HTTP 503: no backend", "http_error")),
    Case("M", "Spring's error", failed(500, {"timestamp": "2026", "status": 500, "error": "Internal Server Error", "path": "/v1"}),
         told("HTTP 500: Internal Server Error", "http_error")),
    Case("M", "AWS's error", failed(400, {"__type": "ValidationException", "message": "too long"}), told("HTTP 400: ValidationException: too long", "http_error")),
    Case("M", "Ollama's error", failed(500, {"error": "model runner has stopped"}), told("HTTP 500: model runner has stopped", "http_error")),
    Case("M", "Gemini's list of one error", failed(503, [{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}]),
         told("HTTP 503: overloaded", "http_error")),
    Case("M", "Cloudflare's list of errors", failed(400, {"success": False, "errors": [{"code": 5007, "message": "No such model"}], "result": None}),
         told("HTTP 400: 5007: No such model", "http_error")),
    *(Case("M", f"the request's id as {name}", stream(*BEGIN, *END, headers={**SSE, name: "id-7"}), {**OK, "request_id": "id-7"})
      for name in ("x-ms-request-id", "x-amzn-RequestId", "x-generation-id", "Mistral-Correlation-Id", "NVCF-REQID", "X-Kong-Request-Id", "CF-RAY")),
    Case("M", "Anthropic's remaining tokens and requests",
         stream(*BEGIN, *END, headers={**SSE, "anthropic-ratelimit-tokens-remaining": "900", "anthropic-ratelimit-requests-remaining": "9"}),
         {**OK, "remaining_tokens": 900, "remaining_requests": 9}),
]  # fmt: skip

FIELD = [*A, *B, *C, *D, *H, *M]
