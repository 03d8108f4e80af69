"""How far a worker's clock is ahead of its master's, by round trips of timestamped messages.

A worker places its rows, and the plan it is given, by the master's clock. What it takes for the difference is fixed
once it is known; that it changed afterwards is said, not followed: no row is bent by it unnoticed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.event import Event

from tokenswarm.control.mailbox import Mailbox
from tokenswarm.control.messages import ClockAsked, ClockTold

ASK_S = 1.0
FIRST_ASKS, FIRST_ASK_S = 5, 0.02
"""The first questions follow each other closely: one that finds nobody busy is what is wanted."""

KEPT = 8
BOUND_S = 1.0
"""A difference beyond this is named: no machine with a time service has it."""

MOVED_S = 0.25
"""A change of the difference in a run beyond this is a clock that was set."""


@dataclass(frozen=True, slots=True)
class Offset:
    """`ahead_s`: the worker's clock less the master's; off by at most `error_s`, half the round trip."""

    ahead_s: float
    error_s: float


def offset_of(asked_at: float, master_at: float, heard_at: float) -> Offset:
    """From one round trip: `asked_at` and `heard_at` by the worker's clock, `master_at` between them by the other."""
    return Offset((asked_at + heard_at) / 2 - master_at, abs(heard_at - asked_at) / 2)


def shift_of(offset: Offset) -> float:
    """What is taken off the worker's instants: nothing, where the clocks may well be one."""
    return offset.ahead_s if abs(offset.ahead_s) > offset.error_s else 0.0


class MasterClock:
    """Of one worker, run after run. `shift_s`: what is taken off its instants, `None` before there are
    answers; then `known` is set and `on_known` called."""

    def __init__(
        self, mailbox: Mailbox, now: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._mailbox = mailbox
        self._now = now
        self._monotonic = monotonic
        self._offsets: deque[Offset] = deque(maxlen=KEPT)
        self._moved: Offset | None = None
        self._set_at = self._apart()
        self._greenlet: Any = None
        self.shift_s: float | None = None
        self.known = Event()
        self.on_known: Callable[[], None] = lambda: None
        mailbox.listen(ClockTold, self._hear)

    def start(self) -> None:
        """A run begins: ask from now on. What was found in an earlier run may have changed since."""
        if self._moved is not None or self._step_s:
            self.shift_s, self._moved = None, None
            self._offsets.clear()
            self.known.clear()
            if self._greenlet is not None:
                self._greenlet.kill(block=False)
                self._greenlet = None
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._ask_regularly)

    @property
    def offset(self) -> Offset | None:
        """How far it is ahead now: by a step that this process saw itself, by a measurement that shows one, or by the
        best of the last measurements."""
        best = self._moved or min(self._offsets, key=lambda offset: offset.error_s, default=None)
        if best is None or self.shift_s is None or self._moved is not None or not self._step_s:
            return best
        return Offset(self.shift_s + self._step_s, best.error_s)

    @property
    def _step_s(self) -> float:
        """By how much this process's clock was set since the difference was fixed; 0 for what any clock is corrected
        by."""
        step_s = self._apart() - self._set_at
        return step_s if abs(step_s) > MOVED_S else 0.0

    def _apart(self) -> float:
        return self._now() - self._monotonic()

    def local(self, at: float) -> float:
        """An instant of the master's by this clock."""
        return at + (self.shift_s or 0.0)

    def _hear(self, message: ClockTold, _master: str) -> None:
        offset = offset_of(message.asked_at, message.master_at, self._now())
        self._offsets.append(offset)
        if self.shift_s is not None and abs(offset.ahead_s - self.shift_s) > MOVED_S + offset.error_s:
            self._moved = offset
        if self.shift_s is None and len(self._offsets) >= FIRST_ASKS and (best := self.offset) is not None:
            self.shift_s, self._set_at = shift_of(best), self._apart()
            self.known.set()
            self.on_known()

    def _ask_regularly(self) -> None:
        asked = 0
        while True:
            self._mailbox.send(ClockAsked(self._now()))
            asked += 1
            gevent.sleep(FIRST_ASK_S if asked < FIRST_ASKS else ASK_S)
