"""Answers of which a reader sees nothing, events that clients pass over, ends that come too early, errors in the words
of further services; kinds as in `cases`."""

from __future__ import annotations

import json
from typing import Any

from tests.wire.api_cases import (
    C_OK,
    DOES_NOT_SEE,
    M_ALL,
    M_BLOCK,
    M_OK,
    M_TOKENS,
    R_ALL,
    R_BEGIN,
    R_OK,
    R_TOKENS,
    c,
    c_body,
    c_token,
    c_usage,
    m,
    m_begin,
    m_delta,
    m_end,
    m_error,
    message,
    r,
    r_delta,
    r_end,
    response,
)
from tests.wire.cases import (
    BEGIN,
    DONE,
    END,
    NO_STREAM,
    OK,
    ROLE,
    STOP,
    TOKENS,
    WHOLE_RIGHT,
    Case,
    body,
    delta,
    ev,
    stream,
    token,
    told,
    usage,
    whole,
)
from tests.wire.field_cases import failed
from tokenswarm.record import Doubt

UNSEEN = ["\n", " ", "\u200b\u200c", "\ufeff\u2800"]
"""Line ends, blanks, characters without width, a blank of Braille."""
_NO_TEXT = {"outcome": "ok", "error": None, "doubts": Doubt.NO_TEXT}
_CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_TOOL_USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
_FUNCTION_CALL = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "t"}


def _output(text: str) -> list[dict[str, Any]]:
    return [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]


A = [
    Case("A", "blanks and characters without width alone", stream(ROLE, *map(token, UNSEEN), *END), {**OK, "doubts": Doubt.NO_TEXT}),
    Case("A", "a tab alone and the limit", stream(ROLE, token("\t"), ev(delta(finish="length")), usage(completion=1), DONE), _NO_TEXT),
    Case("A", "blanks alone in parts", stream(ROLE, token([{"type": "text", "text": " "}]), STOP, usage(completion=1), DONE), _NO_TEXT),
    Case("A", "blanks before the text", stream(ROLE, *map(token, UNSEEN[:3]), token("d"), *END), OK),
    Case("A", "a body of blanks", body(whole({"content": " \n\u200b"})), {**WHOLE_RIGHT, **_NO_TEXT}, NO_STREAM),
    Case("A", "a body of blanks that calls a tool", body(whole({"content": "\n", "tool_calls": [_CALL]})), WHOLE_RIGHT, NO_STREAM),
    Case("A", "a refusal of blanks", body(whole({"content": None, "refusal": " "})), {**WHOLE_RIGHT, **_NO_TEXT}, NO_STREAM),
    Case("A", "letters and signs of other scripts alone", stream(ROLE, *map(token, ["\u0301", "\u3002", "\U0001f600", "\u4e2d"]), *END), OK),
    r("A", "blanks alone", stream(R_BEGIN, *map(r_delta, UNSEEN), r_end(output=_output(" "))), {**R_OK, "doubts": Doubt.NO_TEXT}),
    r("A", "blanks before the text", stream(R_BEGIN, *map(r_delta, UNSEEN[:3]), R_TOKENS[0], R_ALL[-1]), R_OK),
    r("A", "a body of blanks", body(response(output=_output("\n"))), _NO_TEXT, NO_STREAM),
    r("A", "a body that calls a tool and says nothing", body(response(output=[_FUNCTION_CALL])), {"outcome": "ok", "doubts": None}, NO_STREAM),
    m("A", "blanks alone", stream(m_begin() + M_BLOCK, *map(m_delta, UNSEEN), *m_end()), {**M_OK, "doubts": Doubt.NO_TEXT}),
    m("A", "blanks before the text", stream(m_begin() + M_BLOCK, *map(m_delta, UNSEEN[:3]), M_TOKENS[0], *m_end()), M_OK),
    m("A", "a body of blanks", body(message(content=[{"type": "text", "text": "\u200b"}])), _NO_TEXT, NO_STREAM),
    m("A", "a body of blanks that calls a tool", body(message("tool_use", content=[{"type": "text", "text": " "}, _TOOL_USE])),
      {"outcome": "ok", "doubts": None}, NO_STREAM),
    c("A", "blanks alone", stream(c_token(""), *map(c_token, UNSEEN), c_token("", "stop"), c_usage(), DONE), {**C_OK, "doubts": Doubt.NO_TEXT}),
    c("A", "a body of blanks", body(c_body(choice={"text": "\n\n"})), _NO_TEXT, NO_STREAM),
]  # fmt: skip

_LOST = {"outcome": "ok", "chunks": 3, "completion_tokens": 4, "doubts": Doubt.UNREAD}
H = [
    Case("H", "a NUL byte before an event", stream(ROLE, *TOKENS[:2], b"\0" + TOKENS[2], TOKENS[3], *END), _LOST),
    Case("H", "a mark of byte order before a later event", stream(ROLE, TOKENS[0], b"\xef\xbb\xbf" + TOKENS[1], *TOKENS[2:], *END), _LOST),
    Case("H", "a blank before data:", stream(ROLE, *TOKENS[:3], b" " + TOKENS[3], *END), _LOST),
    Case("H", "Data: in capitals", stream(ROLE, *TOKENS[:3], TOKENS[3].replace(b"data", b"DATA"), *END), _LOST),
    Case("H", "a NUL byte before the first event", stream(b"\0" + ROLE, *TOKENS, *END), {**OK, "doubts": Doubt.UNREAD}),
    Case("H", "a line of a log between events", stream(ROLE, TOKENS[0], b"INFO: worker 3 is alive\n\n" + TOKENS[1], *TOKENS[2:], *END), {**OK, "doubts": Doubt.UNREAD}),
    Case("H", "NUL bytes and blanks as heartbeats", stream(ROLE, TOKENS[0], b"\0\n\n" + TOKENS[1], b" \n\n" + TOKENS[2], b"ping\n\n" + TOKENS[3], *END), OK),
    Case("H", "a field of its own beside data", stream(ROLE, *(b"trace: 7\n" + each for each in TOKENS), *END), OK),
    Case("H", "the end behind a NUL byte", stream(*BEGIN, b"\0" + STOP, DONE), {"outcome": "truncated"}, sdk="the SDK does not judge how an answer ended"),
    r("H", "a NUL byte before an event", stream(R_BEGIN, *R_TOKENS[:3], ev({"type": "response.output_text.delta", "delta": "d"}).replace(b"data", b"\0data"), R_ALL[-1]),
      _LOST),
    m("H", "a line of a log between events", stream(*M_ALL[:3], b"INFO: alive\n\n" + M_ALL[3], *M_ALL[4:]), {**M_OK, "doubts": Doubt.UNREAD}),
]  # fmt: skip

_STOPPED = [token(text, finish="stop") for text in "abcd"]
_OTHER = ev(delta("b", "stop", index=1))
_TEXT_IS_ALL = "the SDK does not judge how an answer ended"
EARLY = [
    Case("A", "a reason with each chunk, and [DONE]", stream(ROLE, *_STOPPED, usage(), DONE), OK),
    Case("A", "a reason with each chunk, and no [DONE]", stream(ROLE, *_STOPPED, usage()), {**OK, "doubts": Doubt.UNKNOWN_END}),
    Case("A", "a reason with the first chunk alone", stream(ROLE, _STOPPED[0], *TOKENS[1:], usage(), DONE), {"outcome": "truncated", "chunks": 4}, sdk=_TEXT_IS_ALL),
    Case("A", "the same in one read", stream(ROLE, TOKENS[0], b"".join([_STOPPED[1], *TOKENS[2:]]), DONE), {"outcome": "truncated", "chunks": 4}, sdk=_TEXT_IS_ALL),
    Case("A", "another choice's end between tokens", stream(ROLE, TOKENS[0], _OTHER, *TOKENS[2:], *END), {**OK, "tbt_ms": 10.0}),
    Case("A", "a reason again with an empty chunk", stream(*BEGIN, STOP, ev(delta("", "stop")), usage(), DONE), OK),
]  # fmt: skip


def _perplexity(text: str, so_far: str, finish: str | None = None) -> bytes:
    counts = {"prompt_tokens": 100, "completion_tokens": len(so_far), "total_tokens": 100 + len(so_far)}
    given = {"delta": {"role": "assistant", "content": text} if text else {}, "finish_reason": finish}
    return ev(
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": so_far}, **given}], "usage": counts}
    )


_TOGETHER = [
    ev({"choices": [{"index": 0, "text": text, "finish_reason": None, "delta": {"token_id": 9, "content": text, "tool_calls": None}}], "usage": None})
    for text in "abcd"
]  # fmt: skip
_SERVERS = [ev({"choices": [{"index": 0, "delta": {"content": text}}]}) for text in "abcd"]
_COUNTS = {"prompt_tokens": 100, "completion_tokens": 4, "total_tokens": 104}
_FILTERED = {"message": "The response was filtered", "code": "content_filter", "status": 400}
_OVERLOADED = {
    "type": "service_unavailable_error",
    "code": "server_is_overloaded",
    "message": "Our servers are overloaded",
}
_RESOLVED = {"type": "https://httpstatuses.io/503", "title": "Service Unavailable", "status": 503, "instance": "/v1"}
SERVICES = [
    Case("C", "Perplexity: delta and message so far in each chunk",
         stream(ROLE, _perplexity("a", "a"), _perplexity("b", "ab"), _perplexity("c", "abc"), _perplexity("d", "abcd"), _perplexity("", "abcd", "stop"), DONE), OK),
    Case("C", "Together: text beside delta", stream(ROLE, *_TOGETHER, *END), OK),
    Case("C", "transformers serve: no reason until the last, usage beside it",
         stream(ROLE, *_SERVERS, ev({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 100, "completion_tokens": 4}})), OK),
    Case("H", "OpenRouter: blank lines before a body", body(b"\n         \n\n" + json.dumps(whole()).encode()), WHOLE_RIGHT, NO_STREAM),
    Case("A", "Azure: the filter in mid-stream", stream(*BEGIN, ev({"error": _FILTERED})), told("content_filter: The response was filtered", "content_filter")),
    Case("A", "Databricks: over its limit", stream(*BEGIN, ev({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "REQUEST_LIMIT_EXCEEDED: too fast"})),
         told("REQUEST_LIMIT_EXCEEDED: too fast", "throttled"), sdk=DOES_NOT_SEE),
    Case("A", "MiniMax: over its limit", stream(ev({"base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"}})),
         told("1002: rate limit exceeded(RPM)", "throttled"), sdk=DOES_NOT_SEE),
    Case("A", "Baidu: over its limit", body({"error_code": 18, "error_msg": "Open api qps request limit reached"}),
         told("18: Open api qps request limit reached", "throttled"), NO_STREAM, DOES_NOT_SEE),
    Case("A", "a code that is no status, and a text about limits", stream(ev({"error": {"code": "bad_request", "message": "rate limit tier is unknown"}})),
         told("bad_request: rate limit tier is unknown")),
    Case("A", "a status that says otherwise than the text", stream(ev({"error": {"code": 502, "message": "HTTP 429 upstream"}})), told("502: HTTP 429 upstream")),
    r("A", "overloaded before the first token", stream(R_BEGIN, b"event: error\n" + ev({"type": "error", "error": _OVERLOADED, "sequence_number": 2})),
      told("server_is_overloaded: Our servers are overloaded")),
    m("A", "over the limit in mid-stream", stream(m_begin() + M_BLOCK, M_TOKENS[0], m_error("rate_limit_error", "slow")), told("rate_limit_error: slow", "throttled")),
    Case("A", "a code of 0 and success beside the usage", stream(*BEGIN, STOP, ev({"choices": [], "code": 0, "message": "success", "usage": _COUNTS}), DONE), OK),
    Case("A", "an error inside a delta", stream(*BEGIN, ev({"choices": [{"delta": {"error": {"message": "parser died"}}, "finish_reason": "stop"}]}), DONE),
         told("parser died"), sdk=DOES_NOT_SEE),
    Case("C", "MiniMax: all of it once more at the end", stream(*BEGIN, STOP, ev({**whole({"content": "abcd"}), "usage": _COUNTS}), DONE), {**OK, "tbt_ms": 10.0}),
    Case("C", "the same without an end before", stream(*BEGIN, ev({**whole({"content": "abcd"}), "usage": _COUNTS})), OK),
    Case("A", "Gemini's reason in two words", stream(*BEGIN, ev(delta(finish="content_filter: PROHIBITED_CONTENT")), DONE), {"outcome": "content_filter"}, sdk=_TEXT_IS_ALL),
    Case("A", "a reason with its enumeration", stream(*BEGIN, ev(delta(finish="FINISH_REASON_STOP")), usage(), DONE), {**OK, "finish_reason": "FINISH_REASON_STOP"}),
    Case("A", "SAFETY with its enumeration and a blank", stream(*BEGIN, ev(delta(finish="FinishReason.SAFETY ")), DONE), {"outcome": "content_filter"}, sdk=_TEXT_IS_ALL),
    Case("A", "a worker that crashed", stream(*BEGIN, ev(delta(finish="worker_crashed")), DONE), told("finish reason 'worker_crashed'"), sdk=_TEXT_IS_ALL),
    Case("M", "a problem without detail", failed(503, _RESOLVED), told("HTTP 503: Service Unavailable", "http_error")),
    Case("M", "a problem with detail", failed(429, {**_RESOLVED, "status": 429, "detail": "10 per second"}), told("HTTP 429: 10 per second", "throttled")),
    Case("M", "Spring's error", failed(503, {"timestamp": "t", "status": 503, "error": "Service Unavailable", "path": "/v1"}),
         told("HTTP 503: Service Unavailable", "http_error")),
    Case("M", "API Management's error", failed(429, {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 12 seconds."}),
         told("HTTP 429: Rate limit is exceeded. Try again in 12 seconds.", "throttled")),
    Case("M", "Kong's error", failed(502, {"message": "An invalid response was received from the upstream server", "request_id": "0a"}),
         told("HTTP 502: An invalid response was received from the upstream server", "http_error")),
    Case("M", "Mistral's list of what is wrong", failed(422, {"object": "error", "message": {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs"}]}}),
         told("HTTP 422: body.x: Extra inputs", "http_error")),
    Case("M", "Cloudflare's error in words", failed(429, b"error code: 1015", {"Content-Type": "text/plain"}), told("HTTP 429: error code: 1015", "throttled")),
]  # fmt: skip

FURTHER = [*A, *H, *EARLY, *SERVICES]
