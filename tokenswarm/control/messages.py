"""What the master and its workers tell each other: one frozen dataclass a message, under the name it travels by.

`encode` and `decode` are the only way from a message to what Locust sends and back. Whatever is not exactly one of
these messages is refused: it may come from anybody who reaches the master's port.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from tokenswarm.generator.heartbeat import HeartbeatWindow
from tokenswarm.record import RequestRecord
from tokenswarm.results.csv_rows import parse_rows

MAX_TEXT = 4096
"""Of a name, a path or a sentence in a message; a path may be so long."""

MAX_BLOCKS_BYTES = 8_000_000
"""Of what prompts began with in a message: a million blocks, of 128 MB of text."""

MAX_COUNT = 2**53
"""Counts stay exact as a float."""


class IllFormed(ValueError):
    """What was received is not the message that its name says. The text says what was expected."""


class Plain:
    """A message in which every value of its type can be."""

    __slots__ = ()

    def problems(self) -> Iterator[str]:
        """None."""
        return iter(())


class ControlMessage(Protocol):
    """A frozen dataclass with the name it travels by."""

    NAME: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def problems(self) -> Iterator[str]:
        """What cannot be, though each field is of its type: in words."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Worker to master, twice a second: `rows` lines of CSV of the run in directory `run`, and the worker's state after
    them.

    Counters of that run, which only rise: `started` and `finished` calls, `made` rows, and `written` ones in its file
    `journal`; `problem`: why that file lacks some. `health`, `stalls`: of its heartbeat; `offered`, `overtaken`: see
    `Schedule`; `self_check`, `beyond`: see `Overload`; `left_at`: see `Sender`. `clock`: what it takes off its
    instants, how far its clock is ahead of the master's, and the error of that, in s; `None` while it is unknown.
    `done`: nothing will follow.
    """

    NAME: ClassVar[str] = "tokenswarm_rows"

    worker: str
    run: str = ""
    rows: int = 0
    text: str = ""
    started: int = 0
    finished: int = 0
    made: int = 0
    written: int = 0
    journal: str | None = None
    problem: str | None = None
    health: list[list[str | float]] = dataclasses.field(default_factory=list)
    stalls: list[list[float]] = dataclasses.field(default_factory=list)
    offered: int | None = None
    overtaken: int = 0
    self_check: str | None = None
    beyond: str | None = None
    left_at: float | None = None
    clock: list[float] | None = None
    done: bool = False

    def problems(self) -> Iterator[str]:
        for name in ("rows", "started", "finished", "made", "written", "overtaken", "offered"):
            if (getattr(self, name) or 0) < 0:
                yield f"{name}: expected 0 or more, got {getattr(self, name)}"
        if self.finished > self.started:
            yield f"finished: expected at most started ({self.started}), got {self.finished}"
        for name in ("worker", "run", "journal", "problem", "self_check", "beyond"):
            if len(getattr(self, name) or "") > MAX_TEXT:
                yield f"{name}: expected at most {MAX_TEXT} characters, got {len(getattr(self, name))}"
        if self.clock is not None and (len(self.clock) != 3 or self.clock[2] < 0):
            yield f"clock: expected what it took off, how far it is ahead and the error, got {self.clock[:4]}"
        if any(len(stall) != 2 or stall[1] < 0 for stall in self.stalls):
            yield "stalls: expected pairs of an instant and ms, got others"
        if any(window.worker != self.worker for window in self.windows):
            yield f"health: expected windows of {self.worker[:60]!r}, got another's"

    def records(self) -> list[RequestRecord]:
        """Its rows as records, all of them understood before any is used. Raises `IllFormed`."""
        try:
            records = parse_rows(self.text)
        except (ValueError, TypeError, csv.Error) as error:
            raise IllFormed(f"{self.NAME}.text: expected rows, got {error}") from None
        if len(records) != self.rows or (self.text and not self.text.endswith("\n")):
            raise IllFormed(f"{self.NAME}: expected {self.rows} rows of {self.worker}, got {len(records)}")
        return records

    def check_after(self, before: Rows, name: str) -> None:
        """Whether it goes on from the last message of worker `name`. Raises `IllFormed`."""
        if self.worker != name:
            raise IllFormed(f"{self.NAME}.worker: expected {name}, got {self.worker[:60]!r}")
        for counter in ("started", "finished", "made", "written", "overtaken"):
            if getattr(self, counter) < getattr(before, counter):
                raise IllFormed(f"{self.NAME}.{counter}: expected no less than before, got {getattr(self, counter)}")
        if self.journal is not None and Path(self.journal).name != f"journal-{name}.csv":
            raise IllFormed(f"{self.NAME}.journal: expected journal-{name}.csv, got {self.journal[-60:]!r}")

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return self.started - self.finished

    @property
    def windows(self) -> list[HeartbeatWindow]:
        """The heartbeat windows in it. Raises `IllFormed`."""
        try:
            return [HeartbeatWindow.from_message(window) for window in self.health]
        except (TypeError, ValueError) as error:
            raise IllFormed(f"health: expected heartbeat windows, got {error}") from None


@dataclass(frozen=True, slots=True)
class PlanStart:
    """Master to worker: a plan's arrivals count from Unix s `origin`, and this worker's are those of `assignment`
    (from arrival, position, count; no position: none from there on). `level`: rate, first index and duration of a plan
    that the settings do not name."""

    NAME: ClassVar[str] = "tokenswarm_plan"

    origin: float
    assignment: list[int | None]
    level: list[float] | None = None

    def problems(self) -> Iterator[str]:
        begin, position, count = [*self.assignment, None, None, None][:3]
        right = len(self.assignment) == 3 and begin is not None and count is not None and begin >= 0 and count >= 0
        if not right or (position is not None and not 0 <= position < (count or 0)):
            yield f"assignment: expected arrival, position and count, got {self.assignment[:4]}"
        if self.level is not None and (len(self.level) != 3 or min(self.level) < 0 or not self.level[0]):
            yield f"level: expected rate, first index and duration, got {self.level[:4]}"


@dataclass(frozen=True, slots=True)
class Drain(Plain):
    """Master to worker: the run in directory `run` ends; arrivals due before Unix s `until` belong to it."""

    NAME: ClassVar[str] = "tokenswarm_drain"

    until: float
    run: str


@dataclass(frozen=True, slots=True)
class ClockAsked(Plain):
    """Worker to master: what time is it? Asked at Unix s `asked_at` by the worker's clock."""

    NAME: ClassVar[str] = "tokenswarm_clock"

    asked_at: float


@dataclass(frozen=True, slots=True)
class ClockTold(Plain):
    """Master to worker: it was Unix s `master_at` by the master's clock when the question came."""

    NAME: ClassVar[str] = "tokenswarm_clock"

    asked_at: float
    master_at: float


@dataclass(frozen=True, slots=True)
class SeenBlocks:
    """Worker to master, and from it to all: what prompts of the run in directory `run` began with, in `blocks` of
    `SeenPrefixes`, eight bytes each. `is_elsewhere`: the worker does not share what is remembered on the master's
    machine."""

    NAME: ClassVar[str] = "tokenswarm_seen"

    run: str
    blocks: bytes
    is_elsewhere: bool = False

    def problems(self) -> Iterator[str]:
        if len(self.run) > MAX_TEXT:
            yield f"run: expected at most {MAX_TEXT} characters, got {len(self.run)}"
        if len(self.blocks) > MAX_BLOCKS_BYTES or len(self.blocks) % 8:
            yield f"blocks: expected eight bytes each, up to {MAX_BLOCKS_BYTES}, got {len(self.blocks)}"


@dataclass(frozen=True, slots=True)
class ThreadWanted(Plain):
    """Worker to master: a user asks for the next thread of the thread group."""

    NAME: ClassVar[str] = "tokenswarm_thread"


@dataclass(frozen=True, slots=True)
class ThreadGiven:
    """Master to worker: the thread that was asked for, see `Thread`; `ends_at` is `None` where it is infinite."""

    NAME: ClassVar[str] = "tokenswarm_thread"

    start_at: float
    ends_at: float | None
    loops: int

    def problems(self) -> Iterator[str]:
        if self.loops < -1 or (self.ends_at is not None and self.ends_at < self.start_at):
            yield f"expected a thread that ends after its start, got {self.start_at} to {self.ends_at}"


@dataclass(frozen=True, slots=True)
class ThreadParked(Plain):
    """Worker to master: a thread has done its loops."""

    NAME: ClassVar[str] = "tokenswarm_parked"


M = TypeVar("M", bound=ControlMessage)


def encode(message: ControlMessage) -> dict[str, Any]:
    """The message as plain data."""
    return {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}


def decode(kind: type[M], data: object) -> M:
    """The message of a kind in plain data. Raises `IllFormed`."""
    if not isinstance(data, dict):
        raise IllFormed(f"{kind.NAME}: expected an object, got {type(data).__name__}")
    hints = _types(kind)
    if unknown := [str(name) for name in data if name not in hints]:
        raise IllFormed(f"{kind.NAME}: expected {', '.join(hints)}, got {', '.join(unknown)[:100]}")
    for name, value in data.items():
        if not _fits(value, hints[name]):
            raise IllFormed(f"{kind.NAME}.{name}: expected {hints[name]}, got {type(value).__name__}")
    try:
        message = kind(**data)
    except TypeError:
        raise IllFormed(f"{kind.NAME}: expected {', '.join(hints)}, got {', '.join(data)}") from None
    for problem in message.problems():
        raise IllFormed(f"{kind.NAME}.{problem}")
    return message


@functools.cache
def _types(kind: type[ControlMessage]) -> dict[str, Any]:
    """The type of each field of a message."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type of the fields above; numbers have to be finite and may be whole where not needed."""
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(each, get_args(hint)[0]) for each in value)
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_COUNT
    return isinstance(value, type(None) if hint is None else hint)
