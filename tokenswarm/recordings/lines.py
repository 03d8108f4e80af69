"""What one line of a file of recorded requests is. Pure.

    {"custom_id": ..., "method": "POST", "url": "/v1/chat/completions", "body": {...}}   OpenAI's Batch format
    {"body": {...}}                                                                      the same, short
    {"model": ..., "messages": [...], ...}                                               a body by itself
    {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}  ShareGPT's conversations
    {"items": [...]}, {"conversation": [{"role": "user", "content": ...}]}               the same, in other files
    {"steps": [{"id": "a", "parents": [], "tool_s": 0.5, "body": {...}}, ...]}           an agent's session

Any of them may have `timestamp`: seconds (Unix, or from the beginning), Unix ms, us or ns, or ISO 8601, without a zone
as UTC; and the first two `session_id`. Other keys beside `body` are not looked at, but for other names of these two. A
step is like a line of the first form; `parents` are the ids of the steps whose answers it needs (without it: the step
before), `tool_s` the seconds between those and it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any, NamedTuple

import jiter
import msgspec

from tokenswarm.recordings.bodies import BadLine, asks_of, check_body, figure, kind, line_asks
from tokenswarm.recordings.foreign import OTHER_NAMES, check_bare, check_names
from tokenswarm.recordings.graph import read_steps
from tokenswarm.userinput import MAX_DEPTH, is_encodable, parse_json

MAX_INSTANT_S = 1e11
"""In the year 5138."""
_UNITS = ((1e17, 1_000_000_000), (1e14, 1_000_000), (MAX_INSTANT_S, 1_000))
"""A number from the first on is in ns, us or ms: that many make a second."""
_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
MAX_LINE_BYTES = 64_000_000
"""Above what a service takes; a longer line would fill the memory."""
_REQUEST_KEYS = frozenset({"body", "steps", "messages", "input", "prompt"})
"""With any of them, `items` and `conversation` are no conversation."""
_MAX_NUMBER = MAX_INSTANT_S * 1e9
_others = attrgetter(*OTHER_NAMES)
_EXPECTED = "expected seconds, Unix ms, us or ns, or ISO 8601"
_MOST_BRACKETS = 2 * MAX_DEPTH


ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "assistant", "bard", "bing"), "assistant"),
    "system": "system",
}
"""Roles by their names in ShareGPT's conversations."""


class Form(StrEnum):
    """What a line holds."""

    REQUEST = "requests"
    CONVERSATION = "conversations"
    GRAPH = "steps"


class Line(NamedTuple):
    """A line that is a request. `timestamp_s`: NaN without one; `session`: empty without one."""

    asks: str
    timestamp_s: float = math.nan
    session: str = ""
    form: Form = Form.REQUEST


class _Message(msgspec.Struct):
    role: str


class _Body(msgspec.Struct):
    messages: list[_Message]


class _BatchLine(msgspec.Struct):
    body: _Body
    method: str = "POST"
    url: str | None = None
    timestamp: float | str | None = None
    session_id: str | int | None = None
    conversations: msgspec.Raw = msgspec.Raw()
    steps: msgspec.Raw = msgspec.Raw()
    arrival_time: msgspec.Raw = msgspec.Raw()
    created_at: msgspec.Raw = msgspec.Raw()
    request_time: msgspec.Raw = msgspec.Raw()
    start_time: msgspec.Raw = msgspec.Raw()
    startTime: msgspec.Raw = msgspec.Raw()
    time: msgspec.Raw = msgspec.Raw()
    timestamp_ms: msgspec.Raw = msgspec.Raw()
    ts: msgspec.Raw = msgspec.Raw()
    conversation_id: msgspec.Raw = msgspec.Raw()
    sessionId: msgspec.Raw = msgspec.Raw()
    thread_id: msgspec.Raw = msgspec.Raw()


_batch_line = msgspec.json.Decoder(_BatchLine)


def read_line(data: bytes, asks: str) -> Line:
    """What a line's bytes are; `asks`: which API a body goes to whose line has no URL. Raises `BadLine`."""
    check_length(data)
    return _read_plain(data, asks) or _read_any(data, asks)


def check_length(data: bytes) -> None:
    """Raises `BadLine` for a line that is too long, of which the rest has not been read."""
    if len(data) > MAX_LINE_BYTES:
        raise BadLine(f"expected a line of at most {MAX_LINE_BYTES // 1_000_000} MB, got a longer one")


def _read_plain(data: bytes, asks: str) -> Line | None:
    """The most frequent lines, messages within a body, checked without making objects of what they say: four times as
    fast. `None` for all others, wrong ones too."""
    try:
        line = _batch_line.decode(data)
        if not data.isascii():
            data.decode("utf-8")  # what is passed over is not looked at that closely
    except (ValueError, RecursionError):  # of msgspec's errors, too
        return None
    if data.count(b"[") + data.count(b"{") > _MOST_BRACKETS:
        return None  # it may be nested too deep to be read again later
    if any(message.role == "tool" for message in line.body.messages):
        return None
    found = asks if line.url is None else asks_of(line.url)
    if found not in ("chat", "messages") or line.method != "POST" or not line.body.messages:
        return None
    if line.conversations or line.steps:
        return None
    if (line.timestamp is None or line.session_id is None) and any(_others(line)):
        return None
    at_s = math.nan if line.timestamp is None else read_timestamp(line.timestamp)
    return Line(found, at_s, "" if line.session_id is None else str(line.session_id))


def _read_any(data: bytes, asks: str) -> Line:
    entry = _object(data)
    timestamp = entry.get("timestamp")
    timestamp_s = math.nan if timestamp is None else read_timestamp(timestamp)
    if len(both := [name for name in ("body", "steps", "conversations") if name in entry]) > 1:
        raise BadLine(f"{both[1]}: expected no {both[0]} beside it, got both")
    if "conversations" in entry or (entry.keys() & {"conversation", "items"} and not entry.keys() & _REQUEST_KEYS):
        if not all(is_encodable(text) for _, text in turns_of(conversation_of(entry))):
            raise BadLine("conversations: expected whole characters, got half of a surrogate pair")
        return Line("chat", timestamp_s, form=Form.CONVERSATION)
    if "steps" in entry:
        check_names(entry)
        read_steps(entry["steps"], asks)
        return Line(line_asks(entry["steps"][0], asks), timestamp_s, form=Form.GRAPH)
    body = entry
    if "body" in entry:
        check_names(entry)
        body = entry["body"]
        asks = line_asks(entry, asks)
        if not isinstance(body, dict):
            raise BadLine(f"body: expected an object, got {kind(body)}")
    else:
        check_bare(entry, asks)
    check_body(body, asks)
    session = entry.get("session_id") if body is not entry else None
    if isinstance(session, bool) or not isinstance(session, str | int | None):
        raise BadLine(f"session_id: expected text or a whole number, got {kind(session)}")
    return Line(asks, timestamp_s, "" if session is None else str(session))


def _object(data: bytes) -> dict[str, Any]:
    """Raises `BadLine`."""
    try:
        entry = jiter.from_json(data, allow_inf_nan=False)
    except ValueError as error:
        entry = _with_half_pairs(data)
        if entry is None:
            raise BadLine(f"expected a JSON object, got text that is none ({_reason(data, error)})") from None
    if not isinstance(entry, dict):
        raise BadLine(f"expected a JSON object, got {kind(entry)}")
    return entry


def _with_half_pairs(data: bytes) -> Any:
    """A value with escapes of halves of surrogate pairs, as where a log has cut a text: they are sent as they are.
    `None` for all else that is no JSON."""
    if b"\\ud" not in data.lower():
        return None
    try:
        value = parse_json(data.decode("utf-8"))
        json.dumps(value, allow_nan=False)
    except ValueError:
        return None
    return value


def conversation_of(entry: Mapping[str, Any]) -> Any:
    """The messages of a line in ShareGPT's form."""
    return next((entry[name] for name in ("conversations", "conversation", "items") if name in entry), None)


def turns_of(conversation: Any) -> list[tuple[str, str]]:
    """Role and text of each message of a conversation in ShareGPT's form. Raises `BadLine`."""
    if not isinstance(conversation, list) or not conversation:
        raise BadLine(f"conversations: expected a list of messages, got {kind(conversation)}")
    turns = []
    for number, message in enumerate(conversation, start=1):
        text = message.get("value", message.get("content")) if isinstance(message, dict) else None
        role = ROLES.get(str(message.get("from", message.get("role")))) if isinstance(message, dict) else None
        if role is None or not isinstance(text, str):
            raise BadLine(f"message {number}: expected from (human, gpt or system) and value, got others")
        turns.append((role, text))
    if not any(role == "user" and text.strip() for role, text in turns):
        raise BadLine("conversations: expected at least one message of a human, got none")
    return turns


def read_timestamp(value: Any) -> float:
    """Seconds of a timestamp, see above; a number may be a text. Raises `BadLine`."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value) if "." in value else int(value[:400])  # not all of a million
    elif isinstance(value, str):
        value = _iso_s(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadLine(f"timestamp: {_EXPECTED}, got {kind(value)}")
    if not 0 <= value < _MAX_NUMBER:
        raise BadLine(f"timestamp: {_EXPECTED} from 1970 to the year 5138, got {figure(value)}")
    return next((value / unit for least, unit in _UNITS if value >= least), float(value))


def _iso_s(text: str) -> float:
    try:
        instant = datetime.fromisoformat(text)
        found_s = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadLine(f"timestamp: {_EXPECTED}, got other text") from None
    if not 0 <= found_s < MAX_INSTANT_S:
        raise BadLine(f"timestamp: {_EXPECTED} from 1970 to the year 5138, got another")
    return found_s


def _reason(data: bytes, error: ValueError) -> str:
    if data.strip() in (b"{", b"["):
        return "JSON over several lines: jq -c . makes a line of each object"
    text = str(error)
    return f"nested deeper than {MAX_DEPTH} levels" if "recursion" in text.lower() else text
