"""Streams of typed events: each event's data is a JSON object whose `type` says what it is. No I/O, no clock.

What the Responses API and Anthropic's Messages API have in common: a stream has ended with an event that says so, not
with the connection, and tokens come in events of a few types among many that carry none. As with chat completions, how
the body begins says whether it is a stream or one JSON value, whatever was asked for and whatever its type.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from enum import Enum
from typing import Any, ClassVar

from tokenswarm.apis.api import Found
from tokenswarm.apis.chunk_times import ChunkTimes
from tokenswarm.apis.sse import ErrorEvent, EventDecoder, foreign_text
from tokenswarm.apis.whole_body import WholeBody, begins_whole
from tokenswarm.payload.ends import end_doubts
from tokenswarm.payload.errors import ToldError, find_error, read_object, told_event, unreadable_event
from tokenswarm.payload.json_text import read_json, whole_characters
from tokenswarm.payload.tool_calls import Called
from tokenswarm.payload.usage import Usage, plausible, streamed_tokens
from tokenswarm.record import Doubt, Outcome

_VARYING = re.compile(
    rb'(?P<text>"(?:delta|text)"\s*:\s*")(?:[^"\\\n]|\\.)+(?=")'
    rb'|(?P<number>"sequence_number"\s*:\s*)\d+(?=[,}])'
    rb'|(?P<padding>"obfuscation"\s*:\s*")[^"\\\n]*(?=")'
    rb"|(?P<blanks>) +(?=}\n\n$)"
)
"""What differs between two events with visible text. Unescaped, these keys cannot stand inside a JSON string."""
_ANY: dict[str, Callable[[bytes, int], re.Match[bytes] | None]] = {
    "text": re.compile(rb"[ !#-\[\]-~]+").match,
    "number": re.compile(rb"\d+").match,
    "padding": re.compile(rb"[ !#-\[\]-~]*").match,
    "blanks": re.compile(rb" *").match,
}
"""Characters of a text that stand for themselves: printable ASCII but quote and backslash."""
_LESSONS = 3
"""How often a stream's events are looked at for what they have in common."""


class EventForm:
    """What events with visible text have in common, so that most need but one look: everything but the characters of
    the text, the number and the padding. No pattern is compiled: a form is made for each answer."""

    __slots__ = ("_end", "_parts")

    def __init__(self, event: bytes) -> None:
        """`event`: a whole one with one text, from its first byte to its blank line. Raises `ValueError` for others."""
        self._parts: list[tuple[bytes, Callable[[bytes, int], re.Match[bytes] | None]]] = []
        at, kinds = 0, []
        for found in _VARYING.finditer(event):
            kind = found.lastgroup or ""
            kinds.append(kind)
            self._parts.append((event[at : found.end(kind)], _ANY[kind]))
            at = found.end()
        self._end = event[at:]
        if kinds.count("text") != 1 or not self._end.endswith(b"\n\n"):
            raise ValueError("not one event with one text")

    def count(self, data: bytes) -> int:
        """How many such events `data` consists of; 0 where it has anything else."""
        at, count = 0, 0
        while at < len(data):
            for literal, any_of in self._parts:
                if not data.startswith(literal, at):
                    return 0
                found = any_of(data, at + len(literal))
                if found is None:
                    return 0
                at = found.end()
            if not data.startswith(self._end, at):
                return 0
            at += len(self._end)
            count += 1
        return count


class Carries(Enum):
    """What an event brings of an answer."""

    NOTHING = 0
    HIDDEN = 1
    """A token that nobody is shown: reasoning, the arguments of a tool call."""
    VISIBLE = 2


def body_columns(usage: Usage | None, finish_reason: str | None, model: Any) -> dict[str, Any]:
    """The record's columns of an answer that came as one body."""
    checked, doubts = plausible(usage or Usage(), 1, reasoning_streamed=False)
    return {
        "finish_reason": finish_reason,
        "model": model if isinstance(model, str) else None,
        **checked.columns(),
        "doubts": ";".join(doubts) or None,
    }


class TypedEventStream:
    """One answer while it arrives, streamed or whole. Subclasses say what the events and the body mean.

    `keep_text` collects the visible answer (for conversations that feed it back), `keep_calls` what an answer that
    calls tools has said.
    """

    TOKEN: ClassVar[bytes] = b""
    """Stands unescaped in every event with visible text, and in no other: such an event need not be parsed."""
    EMPTY: ClassVar[bytes] = b""
    """Stands in such an event when its text is empty."""

    def __init__(self, keep_text: bool = False, status: int = 200, keep_calls: bool = False) -> None:
        self._decoder = EventDecoder()
        self._keep_text = keep_text
        self._keep_calls = keep_calls
        self._status = status
        self._started = False
        self._whole: WholeBody | None = None
        self._tail_ms = 0.0
        self._tail = b""
        self._text: list[str] = []
        self._form: EventForm | None = None
        self._lessons = 0 if keep_text or keep_calls else _LESSONS
        self.times = ChunkTimes()
        self.visible_ms: float | None = None
        self.usage: Usage | None = None
        self.model: str | None = None
        self.finish_reason: str | None = None
        self.failure: tuple[Outcome, str | None] | None = None
        self.undecodable: str | None = None
        self.reasoning_streamed = False
        self.summarised = False
        self.has_output = False
        """Whether there is an answer, though its tokens did not come as such."""
        self.answer_id: str | None = None
        """By which a later request may refer to the answer."""
        self.tool_calls: list[tuple[str, str]] = []
        self.refused = False
        self.called: Called | None = None
        """The tools that the answer calls, where they are kept."""
        self.ended = False

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Take bytes that arrived not later than `at_ms` and not before `since_ms`; true at the closing event.

        Raises `EventTooLarge`, `BodyTooLarge`.
        """
        if self._form is not None and self._decoder.at_boundary and not self.ended and (n := self._form.count(data)):
            self.times.add(n, at_ms, since_ms)
            return False
        if not self._started:
            self._begin(data)
        if self._whole is not None:
            self._whole.add(data)
            return False
        self._take_events(self._decoder.feed(data), at_ms, since_ms)
        if not self._decoder.at_boundary:
            self._tail_ms = at_ms
        elif self._lessons and self.visible_ms is not None:
            self._learn(data)
        return self.ended

    def _learn(self, data: bytes) -> None:
        """Remember the form of the last event of a read, if it is one with visible text."""
        begin = data.rfind(b"\n\n", 0, -2)
        event = data[begin + 2 :] if begin >= 0 else data
        if self.TOKEN in event and self.EMPTY not in event and event.startswith((b"event:", b"data:")):
            self._lessons -= 1
            with contextlib.suppress(ValueError):
                self._form = EventForm(event)

    def take(self, kind: str, event: dict[str, Any]) -> Carries:
        """Read one event, whose type is `kind` (empty where it has none); sets what it says of the answer."""
        raise NotImplementedError

    def read_body(self, body: dict[str, Any]) -> Found:
        """What an answer that is one JSON object came to."""
        raise NotImplementedError

    def keep(self, text: Any) -> None:
        """A piece of the visible answer."""
        if self._keep_text and isinstance(text, str):
            self._text.append(text)

    def fail(self, error: ToldError) -> None:
        """The service says that the answer failed, which ends it."""
        self.ended = True
        self.failure = (error.outcome, error.text)

    @property
    def text(self) -> str:
        """The visible answer so far; empty unless `keep_text`."""
        return whole_characters("".join(self._text))

    def finish(self) -> Found:
        """What the answer came to."""
        if self._whole is not None:
            return self._read_whole(self._whole.data)
        if not self.ended:
            self._take_tail()
        return self.found(self.outcome(), self.text, self.columns(), self.visible_ms is not None)

    def columns(self) -> dict[str, Any]:
        """The record's columns of the answer."""
        usage, doubts = plausible(self.usage or Usage(), len(self.times.at_ms), self.reasoning_streamed)
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
        if not self._started and self._status != 200:
            return Outcome.BAD_PAYLOAD, "answer without a body"
        empty = not self.times.at_ms
        if empty and not self.ended and (foreign := foreign_text(self._tail)) is not None:
            return Outcome.BAD_PAYLOAD, f"body is neither JSON nor events: {foreign:.200}"
        if not self.ended and not (empty and self.undecodable):
            return Outcome.TRUNCATED, "stream ended before the answer was finished"
        if self.undecodable is not None:
            return Outcome.BAD_PAYLOAD, self.undecodable
        if empty and not self.has_output and not (self.usage and self.usage.completion_tokens):
            return Outcome.BAD_PAYLOAD, "stream without tokens"
        return Outcome.OK, None

    def _begin(self, data: bytes) -> None:
        is_whole = begins_whole(data)
        self._started = is_whole is not None
        if is_whole:
            self._whole = WholeBody()

    def _take_events(self, events: list[bytes], at_ms: float, since_ms: float) -> None:
        tokens, seen_visible = 0, self.visible_ms is not None
        for event in events:
            if self.ended:
                break
            if (
                seen_visible
                and not (self._keep_text or self._keep_calls)
                and self.TOKEN in event
                and self.EMPTY not in event
            ):
                tokens += event.endswith(b"}")
                continue
            carried = self._parse(event)
            tokens += carried is not Carries.NOTHING
            seen_visible |= carried is Carries.VISIBLE
        if tokens:
            self.times.add(tokens, at_ms, since_ms)
            if seen_visible and self.visible_ms is None:
                self.visible_ms = self.times.latest_first_ms

    def _take_tail(self) -> None:
        """The last event may lack its blank line. One that is no JSON was cut, and stays so."""
        self._tail, undecodable = self._decoder.tail, self.undecodable
        self._take_events(self._decoder.finish(), self._tail_ms, self._tail_ms)
        self.undecodable = undecodable

    def _read_whole(self, data: bytes) -> Found:
        body = read_object(data)
        error = body if isinstance(body, ToldError) else find_error(body, message_alone=True)
        if error is not None:
            return Found(error.outcome, error.text)
        assert isinstance(body, dict)
        return self.read_body(body)

    def found(
        self, came_to: tuple[Outcome, str | None], text: str, columns: dict[str, Any], has_visible: bool
    ) -> Found:
        """What an answer came to, with what is doubtful about it if it is one: that nothing of it is to
        be read is as it should be where tools are called and answered."""
        outcome, error = came_to
        if outcome is Outcome.OK:
            reasons = [columns["finish_reason"]] if columns["finish_reason"] else []
            doubts = [columns["doubts"]] if columns["doubts"] else []
            doubts += end_doubts(reasons, self._status, has_visible or self.called is not None)
            doubts += [Doubt.BUFFERED] if self.times.buffered else []
            columns["doubts"] = ";".join(doubts) or None
        calls = tuple(self.tool_calls)
        return Found(outcome, error, text, columns, self.answer_id, calls, self.refused, self.called)

    def _parse(self, event: bytes) -> Carries:
        if isinstance(event, ErrorEvent):
            self.fail(told_event(event))
            return Carries.NOTHING
        if event.strip() in (b"", b"[DONE]", b"null"):
            return Carries.NOTHING
        try:
            found = read_json(event)
        except ValueError as error:
            self.undecodable = self.undecodable or unreadable_event(event, error)
            return Carries.NOTHING
        if not isinstance(found, dict):
            self.undecodable = self.undecodable or f"event is not a JSON object: {type(found).__name__}"
            return Carries.NOTHING
        kind = found.get("type")
        kind = kind if isinstance(kind, str) else ""
        if kind in ("", "error") and (told := find_error(found, message_alone=True)) is not None:
            self.fail(told)
            return Carries.NOTHING
        return self.take(kind, found)
