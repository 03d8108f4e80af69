"""Answers of which a reader sees nothing, and events that clients pass over, of each API; kinds as in `cases`."""

from __future__ import annotations

from typing import Any

from tests.wire.api_cases import (
    C_OK,
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
    usage,
    whole,
)
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

UNSEEN_CASES = [*A, *H]
