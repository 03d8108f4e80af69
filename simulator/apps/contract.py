"""What a stream format has to offer: reading a question, and writing what becomes of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from simulator.rag.pipeline import Turn
from simulator.wire.dialect import Dialect

FAILURE = "The app encountered an error processing your request."
"""What an injected error says."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question. `conversation_id` None: a new conversation. `extra` is what the format itself needs later."""

    question: str
    conversation_id: str | None = None
    stream: bool = True
    extra: Mapping[str, Any] | None = None


class BadQuestion(ValueError):
    """A request that gets `status` and `body` instead of an answer."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body


class Writer(Protocol):
    """One answer in a format. Everything but `piece` carries no text of the answer, and is empty where a format has
    nothing to say."""

    content_type: str

    def headers(self) -> dict[str, str]:
        return {}

    def begun(self) -> bytes:
        """At once, before any work."""
        return b""

    def searching(self) -> bytes:
        """Progress: the search begins."""
        return b""

    def found(self, turn: Turn) -> bytes:
        """Progress: what was found."""
        return b""

    def piece(self, text: str) -> bytes: ...

    def ended(self, turn: Turn) -> bytes:
        return b""

    def failed(self, message: str) -> bytes:
        """An error after status 200, in place of the rest."""

    def whole(self, turn: Turn) -> bytes:
        """The answer in one body."""


class Format(Protocol):
    """A format, without state."""

    name: str
    dialect: Dialect

    def read(self, body: bytes, headers: Mapping[str, str]) -> Asked:
        """Raises BadQuestion."""

    def writer(self, asked: Asked, turn: Turn) -> Writer: ...

    def error_body(self, status: int, message: str) -> Any:
        """JSON of an error with a status of its own."""


def read_object(body: bytes, refusal: Any) -> dict[str, Any]:
    """The body as a JSON object. Raises BadQuestion (400, `refusal`)."""
    try:
        value = json.loads(body)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadQuestion(400, refusal)
    return value


def last_question(messages: Any) -> str | None:
    """The text of the last message, if the user wrote it."""
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return None
    content = messages[-1].get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) and content and messages[-1].get("role") == "user" else None


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def line(value: Any) -> bytes:
    """One line of newline-delimited JSON."""
    return dump(value) + b"\n"


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + dump(value) + b"\n\n"
