"""A worker's clock against its master's, in a world whose clocks are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tokenswarm.control import clock as clock_module
from tokenswarm.control.clock import FIRST_ASKS, MOVED_S, MasterClock
from tokenswarm.control.messages import ClockTold


class World:
    """True time, a worker's clock that is `ahead_s` of it, and the worker's ear."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.ahead_s = 0.5
        self.hear: Callable[[Any, str], None] = lambda _message, _sender: None

    def listen(self, _kind: Any, take: Callable[[Any, str], None]) -> None:
        self.hear = take

    def clock(self) -> MasterClock:
        return MasterClock(self, lambda: self.at + self.ahead_s, lambda: self.at)  # type: ignore[arg-type]

    def ask(self, there_s: float = 0.002, back_s: float = 0.002) -> None:
        """One round trip."""
        asked_at = self.at + self.ahead_s
        self.at += there_s
        told = ClockTold(asked_at, self.at)
        self.at += back_s
        self.hear(told, "")

    def known(self) -> MasterClock:
        clock = self.clock()
        for _ in range(FIRST_ASKS):
            self.ask()
        return clock


@pytest.mark.parametrize("ahead_s", [0.5, -0.5, 5.0, -300.0])
def test_the_difference_is_what_it_is(ahead_s: float) -> None:
    world = World()
    world.ahead_s = ahead_s
    clock = world.known()
    assert clock.shift_s == pytest.approx(ahead_s, abs=0.001)


@pytest.mark.parametrize("step_s", [1.0, -0.4, 30.0])
def test_a_step_is_seen_at_once_and_stays_seen(step_s: float) -> None:
    world = World()
    clock = world.known()
    world.at += 0.3
    world.ahead_s += step_s
    assert clock.offset is not None and clock.shift_s is not None
    assert clock.offset.ahead_s - clock.shift_s == pytest.approx(step_s, abs=0.001)
    world.ask(0.004, 0.002)  # worse than those before the step
    world.ahead_s -= step_s
    world.ask()
    moved_s = clock.offset.ahead_s - clock.shift_s
    assert abs(moved_s) > MOVED_S + clock.offset.error_s


def test_a_masters_step_is_seen_with_the_first_answer_after_it() -> None:
    world = World()
    clock = world.known()
    world.hear(ClockTold(world.at + world.ahead_s, world.at - 30.0), "")
    assert clock.offset is not None and clock.shift_s is not None
    assert clock.offset.ahead_s - clock.shift_s == pytest.approx(30.0, abs=0.01)


def test_a_slow_answer_is_no_step() -> None:
    world = World()
    clock = world.known()
    world.ask(3.0, 0.001)
    assert clock.offset is not None and clock.offset.ahead_s == pytest.approx(0.5, abs=0.001)


def test_the_next_run_measures_a_clock_that_was_set_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_module.gevent, "spawn", lambda _function: None)
    world = World()
    clock = world.known()
    world.ahead_s += 60.0
    clock.start()
    assert clock.shift_s is None and not clock.known.is_set()
    for _ in range(FIRST_ASKS):
        world.ask()
    assert clock.shift_s == pytest.approx(60.5, abs=0.001)
