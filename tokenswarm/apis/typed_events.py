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
from functools import lru_cache
from typing import Any, ClassVar

from tokenswarm.apis.api import Found
from tokenswarm.apis.chunk_times import ChunkTimes
from tokenswarm.apis.sse import ErrorEvent, foreign_text
from tokenswarm.apis.whole_body import EventsOrBody, Usual
from tokenswarm.payload.ends import end_doubts
from tokenswarm.payload.errors import ToldError, find_error, read_object, told_event, unreadable_event
from tokenswarm.payload.json_text import read_json, whole_characters
from tokenswarm.payload.message import is_seen
from tokenswarm.payload.tool_calls import Called
from tokenswarm.payload.usage import Usage, plausible, streamed_tokens
from tokenswarm.record import Doubt, Outcome

_VARYING = re.compile(
    rb'(?P<text>"(?:delta|text)"\s*:\s*")(?:[^"\\\n]|\\.)+(?=")'
    rb'|(?P<number>"sequence_number"\s*:\s*)\d+(?=[,}])'
    rb'|(?P<padding>"obfuscation"\s*:\s*")[^"\\\n]*(?=")'
)
_BLANKS = re.compile(rb" *(?=}\n\n\Z)")
"""What differs between two events with visible text. Unescaped, these keys cannot stand inside a JSON string."""
_ANY: dict[str, Callable[[bytes, int], re.Match[bytes] | None]] = {
    "text": re.compile(rb"[ !#-\[\]-~]+").match,
    "number": re.compile(rb"\d+").match,
    "padding": re.compile(rb"[ !#-\[\]-~]*").match,
    "blanks": re.compile(rb" *").match,
}
"""Characters of a text that stand for themselves: printable ASCII but quote and backslash."""
Inside = Callable[[bytes | bytearray, int, int], object]
_MAX_BLANKS = 64
_MAX_COMPILED = 64
"""Bytes of what stands behind the text; more may hold an id."""
_LESSONS = 3
"""How often a stream's events are looked at for what they have in common."""


@lru_cache(maxsize=64)
def _one_text(between: tuple[bytes, ...], kinds: tuple[str, ...]) -> Inside:
    """Matches a text and the padding behind it, with what always stands between them."""
    classes = {"padding": rb"[ !#-\[\]-~]*", "blanks": b" *"}
    behind = b"".join(re.escape(each) + classes[kind] for each, kind in zip(between, kinds, strict=True))
    return re.compile(rb"[ !#-\[\]-~]+" + behind).fullmatch


class EventForm:
    """What events with visible text have in common, so that most need but one look: everything but the characters of
    the text, the number and the padding. What differs from answer to answer is compared and not compiled."""

    __slots__ = ("_middle", "_parts", "_text", "_width", "before", "end", "is_inside")

    def __init__(self, event: bytes) -> None:
        """`event`: a whole one with one text, from its first byte to its blank line. Raises `ValueError` for others."""
        self._parts: list[tuple[bytes, Callable[[bytes, int], re.Match[bytes] | None]]] = []
        at, width, kinds = 0, 0, []
        for found in _VARYING.finditer(event):
            kind = found.lastgroup or ""
            kinds.append(kind)
            self._parts.append((event[at : found.end(kind)], _ANY[kind]))
            at = found.end()
            width += at - found.end(kind) if kind == "number" else 0
        blanks = _BLANKS.search(event, max(at, len(event) - _MAX_BLANKS))
        if blanks is not None and (blanks[0] or kinds == ["text"]):
            kinds.append("blanks")
            self._parts.append((event[at : blanks.start()], _ANY["blanks"]))
            at = blanks.end()
        self.end = event[at:]
        if kinds.count("text") != 1 or not self.end.endswith(b"\n\n"):
            raise ValueError("not one event with one text")
        self.before, self._middle, self._width = self._parts[0][0], b"", 0
        self.is_inside: Inside | None = None
        """Whether what stands between two places of some bytes is what varies in such an event; `None` where an event
        by itself is not known at a glance."""
        if kinds.count("number") < 2:
            self._learn_one(kinds, width)

    def _learn_one(self, kinds: list[str], width: int) -> None:
        """How an event by itself is known: by what stands around a number before the text or behind all, and by one
        match of text and padding. `width`: digits of the number."""
        literals, text = [literal for literal, _ in self._parts], kinds.index("text")
        padding = [kind for kind in kinds[text + 1 :] if kind != "number"]
        behind = text + 1 + len(padding)
        between = literals[text + 1 : behind]
        if kinds[:text] not in ([], ["number"]) or kinds[text + 1 : behind] != padding:
            return
        if sum(map(len, between)) > _MAX_COMPILED:
            return
        self._text, self._width = _one_text(tuple(between), tuple(padding)), width
        if not width:
            self.is_inside = self._text
        elif kinds[0] == "number":
            self._middle, self.is_inside = literals[text], self._is_numbered
        else:
            self._middle, self.is_inside = literals[behind], self._is_numbered_behind

    def is_one(self, data: bytes) -> bool:
        """Whether `data` is one such event, as most reads are. It may also be one where this says no."""
        before, end = self.before, self.end
        return (
            self.is_inside is not None
            and data.startswith(before)
            and data.endswith(end)
            and bool(self.is_inside(data, len(before), len(data) - len(end)))
        )

    def _is_numbered(self, data: bytes | bytearray, begin: int, end: int) -> object:
        middle, at = self._middle, begin + self._width
        if not data.startswith(middle, at):
            at += 1  # the number may have one digit more
            if not data.startswith(middle, at):
                return False
            self._width += 1
        return data[begin:at].isdigit() and self._text(data, at + len(middle), end)

    def _is_numbered_behind(self, data: bytes | bytearray, begin: int, end: int) -> object:
        middle, stop = self._middle, end - self._width - len(self._middle)
        if not data.startswith(middle, stop):
            stop -= 1
            if not data.startswith(middle, stop):
                return False
            self._width += 1
        return data[stop + len(middle) : end].isdigit() and self._text(data, begin, stop)

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
            if not data.startswith(self.end, at):
                return 0
            at += len(self.end)
            count += 1
        return count


class Carries(Enum):
    """What an event brings of an answer."""

    NOTHING = 0
    HIDDEN = 1
    """A token that nobody is shown: reasoning, the arguments of a tool call."""
    VISIBLE = 2


def body_columns(usage: Usage | None, finish_reason: str | None, model: Any, tier: Any) -> dict[str, Any]:
    """The record's columns of an answer that came as one body."""
    checked, doubts = plausible(usage or Usage(), 1, reasoning_streamed=False)
    return {
        "finish_reason": finish_reason,
        "model": model if isinstance(model, str) else None,
        "service_tier": tier if isinstance(tier, str) else None,
        **checked.columns(),
        "doubts": ";".join(doubts) or None,
    }


class TypedEventStream(EventsOrBody):
    """One answer while it arrives, streamed or whole. Subclasses say what the events and the body mean.

    `keep_text` collects the visible answer (for conversations that feed it back), `keep_calls` what an answer that
    calls tools has said.
    """

    TOKEN: ClassVar[bytes] = b""
    """Stands unescaped in every event with visible text, and in no other: such an event need not be parsed."""
    EMPTY: ClassVar[bytes] = b""
    """Stands in such an event when its text is empty."""

    def __init__(self, keep_text: bool = False, status: int = 200, keep_calls: bool = False) -> None:
        super().__init__()
        self._keep_text = keep_text
        self._keep_calls = keep_calls
        self._status = status
        self._text: list[str] = []
        self._form: EventForm | None = None
        self._usual: Usual | None = None
        self._ready = False
        """Whether the next byte may begin an event whose form is known."""
        self._lessons = 0 if keep_text or keep_calls else _LESSONS
        self.times = ChunkTimes()
        self.visible_ms: float | None = None
        self.usage: Usage | None = None
        self.model: str | None = None
        self.service_tier: str | None = None
        self.finish_reason: str | None = None
        self.failure: tuple[Outcome, str | None] | None = None
        self.undecodable: str | None = None
        self.shown = False
        """Whether a reader has seen anything of the answer; until then each event is parsed."""
        self.reasoning_streamed = False
        self.summarised = False
        self.streamed: int | None = None
        """How many tokens came as such; known at the end, where usage says so."""
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
        if self._ready:
            if self._usual is not None:
                before, end, is_inside, times = self._usual
                if (
                    data.startswith(before)
                    and data.endswith(end)
                    and is_inside(data, len(before), len(data) - len(end))
                ):
                    times.append(at_ms)
                    return False
            if self._form is not None and (n := self._form.count(data)):
                self.times.add(n, at_ms, since_ms)
                return False
        self._take_events(self._events_in(data), at_ms, since_ms)
        if not self._decoder.at_boundary:
            self._tail_ms = at_ms
        elif self._lessons and self.shown:
            self._learn(data)
        self._ready = self._form is not None and self._decoder.at_boundary and not self.ended
        return self.ended

    def usual(self) -> Usual | None:
        """What the next event may be without being given to `feed`; `None` where it has to be."""
        return self._usual if self._ready else None

    def _learn(self, data: bytes) -> None:
        """Remember the form of the last event of a read, if it is one with visible text."""
        begin = data.rfind(b"\n\n", 0, -2)
        event = data[begin + 2 :] if begin >= 0 else data
        if self.TOKEN in event and self.EMPTY not in event and event.startswith((b"event:", b"data:")):
            self._lessons -= 1
            with contextlib.suppress(ValueError):
                form = self._form = EventForm(event)
                inside = form.is_inside
                self._usual = None if inside is None else (form.before, form.end, inside, self.times.at_ms)

    def take(self, kind: str, event: dict[str, Any]) -> Carries:
        """Read one event, whose type is `kind` (empty where it has none); sets what it says of the answer."""
        raise NotImplementedError

    def read_body(self, body: dict[str, Any]) -> Found:
        """What an answer that is one JSON object came to."""
        raise NotImplementedError

    def keep(self, text: Any) -> None:
        """A piece of the visible answer."""
        if isinstance(text, str):
            self.shown = self.shown or is_seen(text)
            self._text += [text] if self._keep_text else []

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
        return self.found(self.outcome(), self.text, self.columns(), self.shown)

    def columns(self) -> dict[str, Any]:
        """The record's columns of the answer."""
        usage, doubts = plausible(self.usage or Usage(), len(self.times.at_ms), self.reasoning_streamed)
        self.streamed = None if self.summarised else streamed_tokens(usage, self.reasoning_streamed)
        return {
            **self.times.columns(self.streamed),
            "ttft_visible_ms": self.visible_ms,
            "finish_reason": self.finish_reason,
            "model": self.model,
            "service_tier": self.service_tier,
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

    def _take_events(self, events: list[bytes], at_ms: float, since_ms: float) -> None:
        tokens, visible, shown = 0, self.visible_ms is not None, self.shown
        for event in events:
            if self.ended:
                break
            if shown and not (self._keep_text or self._keep_calls) and self.TOKEN in event and self.EMPTY not in event:
                tokens += event.endswith(b"}")
                continue
            carried = self._parse(event)
            tokens += carried is not Carries.NOTHING
            visible |= carried is Carries.VISIBLE
            shown = self.shown
        if tokens:
            self.times.add(tokens, at_ms, since_ms)
            if visible and self.visible_ms is None:
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
        found = self.read_body(body)
        found.whole = True
        return found

    def found(
        self, came_to: tuple[Outcome, str | None], text: str, columns: dict[str, Any], has_visible: bool
    ) -> Found:
        """What an answer came to, with what is doubtful about it if it is one: that nothing of it is to
        be read is as it should be where tools are called."""
        outcome, error = came_to
        if outcome is Outcome.OK:
            reasons = [columns["finish_reason"]] if columns["finish_reason"] else []
            doubts = [columns["doubts"]] if columns["doubts"] else []
            doubts += end_doubts(reasons, self._status, has_visible or bool(self.tool_calls))
            doubts += [Doubt.UNREAD] if self._decoder.unread else []
            is_text = has_visible and not self.tool_calls
            doubts += [Doubt.BUFFERED] if self.times.buffered(self.streamed if is_text else None) else []
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
