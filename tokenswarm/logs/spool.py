"""The requests of a log in the order of time, kept in a file meanwhile: a log may be out of order, and larger than
memory."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from array import array
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from tokenswarm.logs.logged import LoggedRequest

SHORT_BYTES_PER_TOKEN = 3
"""Text with its JSON around it has more."""
_TOGETHER_S = 0.25
"""Between the beginnings of two spans of one call, at most."""
_RECENT = 1000
_NO_TEXT = (b'"image', b'"input_', b'"file')


class Fact(IntEnum):
    """What the log has of a request: what was asked; the lengths; the answer's in bytes only, of a stream; the instant
    of the end only; less text than tokens; another span of the same call."""

    ASKED = 1
    MEASURED = 2
    IN_BYTES = 4
    STREAMED = 8
    ENDS = 16
    SHORT = 32
    TWICE = 64


class Spool:
    """Takes requests as they come and gives them back by their instants: 41 bytes of memory a request, and about 80
    more for a while where they are spans. The file has no name, stands where the result will, and is gone when this is
    closed.

    Of spans within each other, as a client's in that of a framework, one is given: the inner, unless only the outer has
    what was asked. So it is of spans that have one answer and began together; a cache gives an answer again, but later.
    """

    def __init__(self, folder: Path) -> None:
        """Raises `OSError`."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed at the end of the with
        self._instants_s, self._offsets = array("d"), array("Q", [0])
        self._facts, self._spans, self._parents, self._answers = array("B"), array("q"), array("q"), array("q")
        """Spans and answers by the hashes of their ids, 0 for none."""
        self.others = self.alike = 0
        """What is about something else; spans that ask what another did that began together with them."""
        self._recent: dict[int, float] = {}
        """Hash of what was asked -> when."""
        self.sources: set[str] = set()
        self.urls: set[str] = set()
        """Kinds of records, and what was asked where the log says what."""

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._facts) - self.twice

    @property
    def twice(self) -> int:
        """Spans that are left out for another one of the same call."""
        return sum(facts & Fact.TWICE > 0 for facts in self._facts)

    def count(self, fact: Fact) -> int:
        return sum(facts & (fact | Fact.TWICE) == fact for facts in self._facts)

    def add(self, request: LoggedRequest) -> None:
        # Not asdict(): it copies all that is in the body.
        values = {item.name: getattr(request, item.name) for item in dataclasses.fields(request)}
        data = json.dumps(values).encode("ascii")
        self._file.write(data)
        self._offsets.append(self._offsets[-1] + len(data))
        self._instants_s.append(request.at_s)
        self._facts.append(_facts_of(request, data))
        self._spans.append(hash(request.span))
        self._parents.append(hash(request.parent))
        self._answers.append(hash(request.answer))
        self.sources.add(request.source)
        if request.body:
            self.urls.add(request.url)
            self.alike += bool(request.span) and self._is_alike(request.body, request.at_s)

    def _is_alike(self, body: Mapping[str, Any], at_s: float) -> bool:
        asked = hash(json.dumps(body.get("messages", body.get("input")), sort_keys=True))
        before_s = self._recent.pop(asked, -math.inf)
        self._recent[asked] = at_s
        if len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]
        return abs(at_s - before_s) <= _TOGETHER_S

    def leave_out_twice(self) -> None:
        """To be called when all are added."""
        if any(self._parents):
            self._mark(self._spans, (0, Fact.ASKED), self._ids(self._parents, Fact.ASKED))
            self._mark(self._parents, (0,), self._ids(self._spans, Fact.ASKED))
            self._mark(self._spans, (0,), self._ids(self._parents, 0))
        if any(self._answers):
            self._mark_answered_twice()

    def _mark_answered_twice(self) -> None:
        last: dict[int, int] = {}
        for place, answer in enumerate(self._answers):
            if not answer or self._facts[place] & Fact.TWICE:
                continue
            other = last.setdefault(answer, place)
            if other == place or abs(self._instants_s[place] - self._instants_s[other]) > _TOGETHER_S:
                last[answer] = place
                continue
            worse = min(other, place, key=lambda each: (self._facts[each] & Fact.ASKED, -each))
            self._facts[worse] |= Fact.TWICE
            last[answer] = other if worse == place else place

    def _ids(self, ids: array[int], asked: int) -> set[int]:
        relevant = Fact.ASKED | Fact.TWICE
        return {each for each, facts in zip(ids, self._facts, strict=True) if each and facts & relevant == asked}

    def _mark(self, ids: array[int], asked: tuple[int, ...], marked: set[int]) -> None:
        for place, each in enumerate(ids):
            if each in marked and self._facts[place] & Fact.ASKED in asked:
                self._facts[place] |= Fact.TWICE

    def in_order(self) -> Iterator[LoggedRequest]:
        """All of them; those of one instant in the order in which they came. One without a session is of that of the
        span around it that is left out."""
        sessions = self._sessions_around()
        kept = (place for place, facts in enumerate(self._facts) if not facts & Fact.TWICE)
        for place in sorted(kept, key=self._instants_s.__getitem__):
            request = self._read(place)
            if request.session is None:
                request.session = sessions.get(self._parents[place])
            yield request

    def _sessions_around(self) -> dict[int, str]:
        places = (place for place, facts in enumerate(self._facts) if facts & Fact.TWICE and self._spans[place])
        found = ((self._spans[place], self._read(place).session) for place in places)
        return {span: session for span, session in found if session is not None}

    def _read(self, place: int) -> LoggedRequest:
        begin, end = self._offsets[place : place + 2]
        self._file.seek(begin)
        return LoggedRequest(**json.loads(self._file.read(end - begin)))


def _facts_of(request: LoggedRequest, data: bytes) -> int:
    in_bytes = request.is_measured and request.max_tokens is None
    is_short = bool(request.body) and _is_short(data, request.context_tokens or 0)
    said = {
        Fact.ASKED: bool(request.body),
        Fact.MEASURED: request.is_measured,
        Fact.IN_BYTES: in_bytes,
        Fact.STREAMED: in_bytes and request.is_streamed,
        Fact.ENDS: request.is_end,
        Fact.SHORT: is_short,
    }
    return sum(fact for fact, holds in said.items() if holds)


def _is_short(data: bytes, context_tokens: int) -> bool:
    """Whether a prompt of text is shorter than the log counted it, as where the log lacks its tools."""
    return len(data) < context_tokens * SHORT_BYTES_PER_TOKEN and not any(kind in data for kind in _NO_TEXT)
