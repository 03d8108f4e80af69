"""Streams of typed events: each event's data is a JSON object whose `type` says what it is. No I/O, no clock.

What the Responses API and Anthropic's Messages API have in common: a stream has ended with an event that says so, not
with the connection, and tokens come in events of a few types among many that carry none.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar

import jiter

from tokenswarm.apis.chunk_times import ChunkTimes
from tokenswarm.apis.sse import EventDecoder
from tokenswarm.payload.usage import Usage, plausible, streamed_tokens
from tokenswarm.record import Doubt, Outcome


class Carries(Enum):
    """What an event brings of an answer."""

    NOTHING = 0
    HIDDEN = 1
    """A token that nobody is shown: reasoning, the arguments of a tool call."""
    VISIBLE = 2


class TypedEventStream:
    """One streamed answer while it arrives. Subclasses say what the events mean.

    `keep_text` collects the visible answer (for conversations that feed it back).
    """

    TOKEN: ClassVar[bytes] = b""
    """Stands unescaped in every event with visible text, and in no other: such an event need not be parsed."""
    EMPTY: ClassVar[bytes] = b""
    """Stands in such an event when its text is empty."""

    def __init__(self, keep_text: bool = False) -> None:
        self._decoder = EventDecoder()
        self._keep_text = keep_text
        self._text: list[str] = []
        self.times = ChunkTimes()
        self.visible_ms: float | None = None
        self.usage: Usage | None = None
        self.model: str | None = None
        self.finish_reason: str | None = None
        self.failure: tuple[Outcome, str] | None = None
        self.undecodable: str | None = None
        self.reasoning_streamed = False
        self.summarised = False
        self.ended = False

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Take bytes that arrived not later than `at_ms` and not before `since_ms`; true at the closing event.

        Raises `EventTooLarge`.
        """
        tokens, seen_visible = 0, self.visible_ms is not None
        for event in self._decoder.feed(data):
            if seen_visible and not self._keep_text and self.TOKEN in event and self.EMPTY not in event:
                tokens += event.endswith(b"}")
                continue
            carried = self._parse(event)
            tokens += carried is not Carries.NOTHING
            seen_visible |= carried is Carries.VISIBLE
        if tokens:
            self.times.add(tokens, at_ms, since_ms)
            if seen_visible and self.visible_ms is None:
                self.visible_ms = self.times.latest_first_ms
        if self._decoder.error is not None and not self.ended:
            self._parse(self._decoder.error)
        return self.ended

    def take(self, event: dict[str, Any]) -> Carries:
        """Read one event; sets what it says of the answer."""
        raise NotImplementedError

    def keep(self, text: Any) -> None:
        """A piece of the visible answer."""
        if self._keep_text and isinstance(text, str):
            self._text.append(text)

    @property
    def text(self) -> str:
        """The visible answer so far; empty unless `keep_text`."""
        return "".join(self._text)

    def columns(self) -> dict[str, Any]:
        """The record's columns of the answer."""
        usage, doubts = plausible(self.usage or Usage(), len(self.times.at_ms), self.reasoning_streamed)
        doubts += [Doubt.BUFFERED] if self.times.buffered else []
        streamed = None if self.summarised else streamed_tokens(usage, self.reasoning_streamed)
        return {
            **self.times.columns(streamed),
            "ttft_visible_ms": self.visible_ms,
            "finish_reason": self.finish_reason,
            "model": self.model,
            **usage.columns(),
            "doubts": ";".join(doubts) or None,
        }

    def outcome(self) -> tuple[Outcome, str | None]:
        """What the answer came to. Success is a closing event after at least one token."""
        if self.failure is not None:
            return self.failure
        if not self.ended:
            return Outcome.TRUNCATED, "stream ended before the answer was finished"
        if self.undecodable is not None:
            return Outcome.BAD_PAYLOAD, self.undecodable
        if not self.times.at_ms and not (self.usage and self.usage.completion_tokens):
            return Outcome.BAD_PAYLOAD, "stream without tokens"
        return Outcome.OK, None

    def _parse(self, event: bytes) -> Carries:
        if not event.strip() or event.strip() == b"[DONE]":
            return Carries.NOTHING
        try:
            found = jiter.from_json(event)
        except ValueError as error:
            self.undecodable = self.undecodable or f"event is not JSON: {error}"
            return Carries.NOTHING
        if not isinstance(found, dict):
            self.undecodable = self.undecodable or f"event is not a JSON object: {type(found).__name__}"
            return Carries.NOTHING
        return self.take(found)
