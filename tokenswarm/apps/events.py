"""One answer of an application as a stream of events: JSON in server-sent events, in lines, in messages. No I/O.

Most events of an answer differ from the one before in a few letters of its text. What stands around the text is
remembered, and a read that is nothing else is not parsed: it can only mean what the last one meant. Where events are
numbered, or have a time, that number may be another one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jiter

from tokenswarm.apis.api import Found
from tokenswarm.apis.chunk_times import ChunkTimes
from tokenswarm.apis.gpt_rag import stages_of
from tokenswarm.apis.request import ChatRequest
from tokenswarm.apis.sse import ErrorEvent, EventDecoder
from tokenswarm.apps.held import Held
from tokenswarm.apps.paths import Paths
from tokenswarm.apps.records import RecordDecoder
from tokenswarm.payload.errors import ToldError, page_title, told
from tokenswarm.payload.message import is_seen
from tokenswarm.payload.usage import Usage, parse_usage, plausible, streamed_tokens
from tokenswarm.record import Doubt, Outcome

_PLAIN = re.compile(rb"[ !#-\[\]-~]+")
"""Characters that stand for themselves inside a JSON string: printable ASCII but quote and backslash."""
_KEY = re.compile(rb'"(\w+)"\s*:\s*"$')
_NUMBER = re.compile(rb'"(\w+)"\s*:\s*(\d+)(?=[\s,}])')
_MAX_DIGITS = 20
_MAX_MISSES = 8
"""Of what was remembered and did not come again, so often that events are never alike."""
_DONE = b"[DONE]"


class AppEvents:
    """One answer while it arrives."""

    __slots__ = (
        "_after",
        "_before",
        "_decoder",
        "_keep_text",
        "_known",
        "_middle",
        "_misses",
        "_paths",
        "_shown",
        "_stages",
        "_tail_ms",
        "_text",
        "conversation_id",
        "done",
        "ended",
        "failure",
        "first_progress_ms",
        "held",
        "times",
        "undecodable",
        "usage",
    )

    def __init__(
        self, paths: Paths, decoder: EventDecoder | RecordDecoder, request: ChatRequest, headers: Mapping[str, str]
    ) -> None:
        self._paths = paths
        self._decoder = decoder
        self._keep_text = request.keep_text
        self._text: list[str] = []
        self._before = self._middle = self._after = self._known = b""
        self._misses = 0
        self._shown = False
        """Whether a reader has seen anything of the answer; until then each event is parsed."""
        self._tail_ms = 0.0
        self.conversation_id = paths.in_headers(headers)
        self._stages = stages_of(headers)
        self.held = Held()
        self.times = ChunkTimes()
        self.first_progress_ms: float | None = None
        self.usage: Usage | None = None
        self.failure: ToldError | None = None
        self.undecodable: str | None = None
        self.ended = False
        """Whether the application has said that its answer is whole."""
        self.done = False

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Take bytes that arrived not later than `at_ms` and not before `since_ms`. True: the answer has ended.

        Raises `EventTooLarge`.
        """
        before, after, decoder = self._before, self._after, self._decoder
        if before and data.startswith(before) and data.endswith(after) and decoder.at_boundary:
            begin = len(before) if not self._middle else self._behind_number(data)
            if _PLAIN.fullmatch(data, begin, len(data) - len(after)) is not None:
                self.times.add(1, at_ms, since_ms)
                if self._keep_text:
                    self._text.append(data[begin : len(data) - len(after)].decode("ascii"))
                return False
        begins = decoder.at_boundary
        self._take_all(decoder.feed(data), at_ms, since_ms, data if begins and decoder.at_boundary else b"")
        self._tail_ms = at_ms
        return self.done

    def _take_all(self, events: list[bytes], at_ms: float, since_ms: float, read: bytes) -> None:
        """Read the events of one read; `read` are its bytes where it holds whole events only."""
        tokens = 0
        for event in events:
            if text := self._take(event, at_ms):
                tokens += 1
                self._shown = self._shown or is_seen(text)
                if self._keep_text:
                    self._text.append(text)
                if read and self._shown and len(events) == 1 and self._misses < _MAX_MISSES:
                    self._learn(read, text)
        if tokens:
            self.times.add(tokens, at_ms, since_ms)

    def _learn(self, read: bytes, text: str) -> None:
        """Remember what stands around the text of a read of one event, where only the text's own expression looks at
        the field that it is in."""
        self._misses += 1
        quoted = b'"' + text.encode() + b'"'
        if not _PLAIN.fullmatch(quoted, 1, len(quoted) - 1) or read.count(quoted) != 1:
            return
        at = read.find(quoted) + 1
        key = _KEY.search(read, 0, at)
        if key is None or key[1] not in self._paths.text_keys:
            return
        known, self._known = self._known, read[:at]
        self._before, self._middle, self._after = read[:at], b"", read[at + len(quoted) - 2 :]
        if span := self._number_between(known, read[:at]):
            self._before, self._middle = read[: span[0]], read[span[1] : at]

    def _number_between(self, known: bytes, now: bytes) -> tuple[int, int] | None:
        """Where two events of one form differ in a number first, as where they are counted, and nobody looks at it."""
        at = next((at for at, (one, other) in enumerate(zip(known, now, strict=False)) if one != other), -1)
        for found in _NUMBER.finditer(now):
            if found.start(2) <= at <= found.end(2) and found[1] not in self._paths.words:
                return found.span(2)
        return None

    def _behind_number(self, data: bytes) -> int:
        """Where the text begins behind a number that is another one in each event; the end of `data` where it does
        not."""
        begin = len(self._before)
        end = data.find(self._middle, begin, begin + _MAX_DIGITS + len(self._middle))
        return end + len(self._middle) if end > begin and data[begin:end].isdigit() else len(data)

    def _take(self, event: bytes, at_ms: float) -> str:
        """Read one event; the answer's text in it."""
        paths = self._paths
        if self.done or not event.strip():
            return ""
        if isinstance(event, ErrorEvent):
            self._fail(_value(event))
            return ""
        if event.strip() == _DONE:
            self.done = True
            return ""
        self.held.add(event)
        if paths.takes_text:
            return event.decode("utf-8", "replace")
        try:
            value = jiter.from_json(event)
        except ValueError as cause:
            self._note_undecodable(event, cause)
            return ""
        if (error := paths.error.finds(value)) is not None:
            self._fail(value if error is True else error)
            return ""
        return self._take_value(value, at_ms)

    def _take_value(self, value: Any, at_ms: float) -> str:
        paths = self._paths
        if self.conversation_id is None and paths.conversation is not None:
            self.conversation_id = paths.id_in(value)
        if paths.progress is not None and self.first_progress_ms is None and paths.progress.finds(value) is not None:
            self.first_progress_ms = at_ms
        if paths.usage is not None and isinstance(found := paths.usage.evaluate(value), dict):
            self.usage = self.usage or Usage()
            self.usage.take(parse_usage(found))
        if paths.end is not None and not self.ended and paths.end.finds(value) is not None:
            self.ended = True
        if self.ended and (paths.usage is None or self.usage is not None):
            self.done = True
        return paths.text.text_in(value)

    def _note_undecodable(self, event: bytes, error: ValueError) -> None:
        title = page_title(event.decode("utf-8", "replace"))
        said = f"event is not JSON: {error}" if title is None else f"event is an HTML page: {title}"
        self.undecodable = self.undecodable or said

    def _fail(self, error: Any) -> None:
        self.failure = told(error)
        self.done = True

    def finish(self) -> Found:
        """What the answer came to. The last event may lack its end; one that is no JSON was cut."""
        undecodable, cut = self.undecodable, False
        if not self.done and (last := self._decoder.finish()):
            self._take_all(last, self._tail_ms, self._tail_ms, b"")
            cut = self.undecodable != undecodable and len(self.times.at_ms) > 0
        usage, doubts = plausible(self.usage or Usage(), len(self.times.at_ms), False)
        outcome, error = self._outcome(cut)
        streamed = streamed_tokens(usage, False)
        if outcome is Outcome.OK:
            doubts += [Doubt.UNREAD] if self._decoder.unread else []
            doubts += [Doubt.BUFFERED] if self.times.buffered(streamed) else []
        columns = self.times.columns(streamed) | usage.columns()
        columns |= {"ttft_visible_ms": self.times.first_ms, "first_progress_ms": self.first_progress_ms}
        columns["stages"] = self._stages
        if self.conversation_id is not None:
            columns["conversation_id"] = self.conversation_id
        return Found(outcome, error, "".join(self._text), columns | {"doubts": ";".join(doubts) or None})

    def _outcome(self, cut: bool) -> tuple[Outcome, str | None]:
        if self.failure is not None:
            return self.failure.outcome, self.failure.text
        if cut:
            return Outcome.TRUNCATED, "stream ended inside an event"
        if self.undecodable is not None:
            return Outcome.BAD_PAYLOAD, self.undecodable
        if not self._shown:
            return Outcome.BAD_PAYLOAD, f"no text at app-text {self._paths.text.text!r}: {self.held.describe()}"
        if self._paths.end is not None and not self.ended:
            return Outcome.TRUNCATED, f"ended without app-end {self._paths.end.text!r}: {self.held.describe(last=True)}"
        return Outcome.OK, None


def _value(data: bytes) -> Any:
    """What an event that is named an error says: JSON, or a text."""
    try:
        return jiter.from_json(data)
    except ValueError:
        return data.decode("utf-8", "replace") or "error without message"
