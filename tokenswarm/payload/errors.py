"""Errors in the bodies of answers: JSON in the forms that services use, a gateway's page, text. No I/O, no clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any

from tokenswarm.payload.json_text import read_json
from tokenswarm.payload.message import is_seen
from tokenswarm.record import Outcome

MAX_ERROR_CHARACTERS = 500

_PAGE = re.compile(
    r"^\ufeff?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*"
    r"<(?:!doctype html|html|head|body|h1|center|title|script|meta|error)\b",
    re.I | re.S,
)
_EVENTS = re.compile(r"(?:(?:data|event|id|retry)?:[^\r\n]*(?:[\r\n]+|\Z))+")
"""Nothing but lines of server-sent events."""
_TITLES = (re.compile(r"<title[^>]*>(.*?)</title", re.I | re.S), re.compile(r"<h1[^>]*>(.*?)</h1", re.I | re.S))
_THROTTLED = re.compile(
    r"^429$|rate[ ._-]?limit|too[ ._-]?many[ ._-]?requests|^throttl|resource[ _]?exhausted"
    r"|request[ _]?limit[ _]?exceeded",
    re.I,
)
_GOOD_CODES = frozenset({"0", "200", "ok", "success"})
_STATUS = re.compile(r"[1-5]\d\d")
_TEXT_SAYS_429 = re.compile(
    r"^429\b|(?:error code|http(?:/1\.1)?|status(?: ?code)?)\W{0,3}429\b|\btoo many requests\b"
    r"|\brate[ -]?limited\b|\b(?:rate|qps|rpm|tpm|requests?) limit (?:is |was |has been )?(?:exceeded|reached)",
    re.I,
)
HEARTBEATS = frozenset({b"ping", b"pong", b"heartbeat", b"keepalive", b"keep-alive", b"keep_alive"})
"""Names of events, and data of unnamed ones, that gateways send so that a connection is not taken for idle."""

_WORDS = HEARTBEATS | {b"close", b"end", b"done", b"eof", b"finished"}
"""Data in plain words, that says nothing of the answer."""

_CODES = ("code", "error_code", "status", "status_code", "statusCode", "type", "__type", "error_type")
_MESSAGES = ("message", "Message", "msg", "error_msg", "status_msg", "detail", "error", "reason", "text", "title")


@dataclass(frozen=True, slots=True)
class ToldError:
    """What a service says is wrong, under a status that does not say it."""

    outcome: Outcome
    text: str


def find_error(body: Mapping[str, Any], message_alone: bool = False) -> ToldError | None:
    """The error in a JSON object that came where an answer should be; `None` when it tells of none. `message_alone`:
    whether nothing but a message is an error, as AWS and Envoy write it; an app's answer may be that."""
    for key in ("error", "errors"):
        if value := body.get(key):
            return told(value)
    if body.get("object") == "error" or body.get("type") == "error" or body.get("error_code") or body.get("error_msg"):
        return told(body)
    state = body.get("base_resp")
    if isinstance(state, Mapping) and state.get("status_code"):
        return told(state)
    if body.get("choices") or str(body.get("code")).lower() in _GOOD_CODES:
        return None
    if body.get("detail") or body.get("status") == "error" or body.get("success") is False:
        return told(body)
    message = body.get("message") or body.get("Message")
    if not message:
        return told(body) if body.get("title") and _is_failure(body.get("status")) else None
    is_alone = message_alone and isinstance(message, str) and "object" not in body
    return told(body) if is_alone or "code" in body or "status" in body else None


def _is_failure(status: Any) -> bool:
    return isinstance(status, int) and 400 <= status <= 599


def error_of(value: Any) -> ToldError | None:
    """As `find_error`, of any JSON value: Gemini's errors come as a list of one."""
    first = value[0] if isinstance(value, list) and value else value
    return find_error(first, message_alone=True) if isinstance(first, Mapping) else None


def told(error: Any) -> ToldError:
    """How an error counts, and its text: throttling and the content filter are told apart from failures."""
    first = error[0] if isinstance(error, list) and error else error
    codes = [str(first[key]) for key in _CODES if first.get(key)] if isinstance(first, Mapping) else []
    text = error_text(first)
    if any(_THROTTLED.search(code) for code in codes) or (
        not any(map(_STATUS.fullmatch, codes)) and _TEXT_SAYS_429.search(text)
    ):
        return ToldError(Outcome.THROTTLED, text)
    if "content_filter" in codes:
        return ToldError(Outcome.CONTENT_FILTER, text)
    return ToldError(Outcome.STREAM_ERROR, text)


def error_text(error: Any) -> str:
    """`code: message`, as much of it as there is; before it the field that it is about, where a list says so."""
    if not isinstance(error, Mapping):
        return str(error)[:MAX_ERROR_CHARACTERS]
    code = next((error[key] for key in _CODES if error.get(key) and error[key] != "error"), None)
    message = next((error[key] for key in _MESSAGES if error.get(key)), None)
    if isinstance(message, Mapping | list):
        message = error_text(message[0] if isinstance(message, list) else message)
    if isinstance(message, str) and code and message.startswith(f"{code}:"):
        code = None
    field = ".".join(map(str, error["loc"])) if isinstance(error.get("loc"), list) else None
    return ": ".join(str(part) for part in (field, code, message) if part)[:MAX_ERROR_CHARACTERS] or (
        "error without code or message"
    )


def body_text(body: bytes) -> str:
    """What an error body says, in one line: its JSON's code and message, its page's title, its text."""
    try:
        value = read_json(body)
    except ValueError:
        value = None
    if isinstance(value, Mapping | list):
        error = error_of(value)
        return error.text if error is not None else body[:MAX_ERROR_CHARACTERS].decode("utf-8", "replace")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if (not text and body) or "\x00" in text:
        return f"a body of {len(body)} bytes that is no text"
    return " ".join((page_title(text) or text).split())[:MAX_ERROR_CHARACTERS]


def page_title(text: str) -> str | None:
    """The title of an HTML page, else its first heading or the start of its text; `None` when it is none."""
    if not _PAGE.match(text):
        return None
    found = next((match for pattern in _TITLES if (match := pattern.search(text))), None)
    title = found.group(1) if found else re.sub(r"<(script|style)\b.*?</\1>", " ", text, flags=re.I | re.S)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", title)).split())[:200] or "no title"


def not_text(text: str, content_type: str) -> ToldError | None:
    """Why an answer that should be text is none: a page, events, nothing, an error in JSON, or JSON by its type too."""
    if (title := page_title(text)) is not None:
        return ToldError(Outcome.BAD_PAYLOAD, f"answer is an HTML page: {title}")
    bare = text.strip("\ufeff\0 \t\r\n")
    if not is_seen(text):
        return ToldError(Outcome.BAD_PAYLOAD, "answer without text")
    if _EVENTS.fullmatch(bare):
        return ToldError(Outcome.BAD_PAYLOAD, f"answer is server-sent events, not text: {bare[:100]!r}")
    if bare[0] not in '{["nf':
        return None
    try:
        value = read_json(bare.encode("utf-8", "replace"))
    except ValueError:
        return None
    if not value:
        return ToldError(Outcome.BAD_PAYLOAD, f"answer without text: it is {bare}")
    is_json = isinstance(value, Mapping | list) and "json" in content_type.lower()
    return error_of(value) or (ToldError(Outcome.BAD_PAYLOAD, "answer is JSON, not text") if is_json else None)


def unreadable(body: bytes, cause: ValueError) -> str:
    """Why a body that should be JSON is none: a page is named by its title."""
    title = page_title(body[:65536].decode("utf-8", "replace"))
    return f"body is an HTML page: {title}" if title is not None else f"body is not JSON: {cause}"


def read_object(body: bytes) -> dict[str, Any] | ToldError:
    """The JSON object that a body should be; else what it is, by an error of the service's or its page's title."""
    try:
        value = read_json(body)
    except ValueError as cause:
        return ToldError(Outcome.BAD_PAYLOAD, unreadable(body, cause))
    if isinstance(value, dict):
        return value
    return error_of(value) or ToldError(Outcome.BAD_PAYLOAD, f"body is not a JSON object: {type(value).__name__}")


def unreadable_event(event: bytes, cause: ValueError) -> str | None:
    """Why an event that should be JSON is none; `None` for a heartbeat in words."""
    if event.strip().lower() in _WORDS:
        return None
    title = page_title(event.decode("utf-8", "replace"))
    return f"event is not JSON: {cause}" if title is None else f"event is an HTML page: {title}"


def told_event(data: bytes) -> ToldError:
    """An event that is named an error: its data is JSON of any form, or text."""
    try:
        value = read_json(data)
    except ValueError:
        return told(data.decode("utf-8", "replace").strip() or "error without code or message")
    found = find_error(value) if isinstance(value, dict) else None
    return found if found is not None else told(value)


def is_content_filter(body: bytes) -> bool:
    """Whether an error body is the content filter's refusal (HTTP 400, error code `content_filter`)."""
    try:
        answer = read_json(body)
    except ValueError:
        return False
    error = answer.get("error") if isinstance(answer, dict) else None
    return isinstance(error, dict) and error.get("code") == "content_filter"
