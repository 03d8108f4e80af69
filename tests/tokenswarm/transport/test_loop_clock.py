"""What is taken from a kernel's stamp: `LoopClock.offset_ns`, on clocks and a loop of the test's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tokenswarm.transport import loop_clock
from tokenswarm.transport.loop_clock import LoopClock

AHEAD_NS = 1_790_000_000_000_000_000


class _Clocks:
    """Two clocks that go on by 40 ns at each look; `late_ns`: how long the process is interrupted before some looks."""

    def __init__(self) -> None:
        self._now_ns = 5_000_000_000
        self.ahead_ns = AHEAD_NS
        self.late_ns: list[int] = []

    def monotonic_ns(self) -> int:
        self._now_ns += 40 + (self.late_ns.pop(0) if self.late_ns else 0)
        return self._now_ns

    def time_ns(self) -> int:
        return self.monotonic_ns() + self.ahead_ns


class _Loop:
    """Watchers of one loop, called back by `turn`."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []

    def prepare(self, ref: bool, priority: int) -> _Loop:
        return self

    check = prepare

    def start(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def turn(self) -> None:
        for callback in self._callbacks:
            callback()


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> _Clocks:
    clocks = _Clocks()
    monkeypatch.setattr(loop_clock, "time", clocks)
    return clocks


def test_the_offset_is_what_the_wall_clock_is_ahead(clocks: _Clocks) -> None:
    loop = _Loop()
    clock = LoopClock(loop)
    for _ in range(3):
        assert abs(clock.offset_ns - AHEAD_NS) <= 100
        loop.turn()


@pytest.mark.parametrize("step_ns", [-3_600_000_000_000, -1_000_000, 1_000_000, 3_600_000_000_000])
def test_no_stamp_is_taken_in_the_turn_in_which_the_clock_is_seen_to_be_set(clocks: _Clocks, step_ns: int) -> None:
    loop = _Loop()
    clock = LoopClock(loop)
    clocks.ahead_ns += step_ns
    loop.turn()
    assert clock.offset_ns == 0
    loop.turn()
    assert abs(clock.offset_ns - AHEAD_NS - step_ns) <= 100


def test_a_process_that_is_interrupted_between_two_looks_sees_no_step(clocks: _Clocks) -> None:
    loop = _Loop()
    clock = LoopClock(loop)
    clocks.late_ns = [0, 0, 7_000_000, 7_000_000, 7_000_000, 7_000_000]
    loop.turn()
    assert abs(clock.offset_ns - AHEAD_NS) <= 100
    assert not clocks.late_ns
