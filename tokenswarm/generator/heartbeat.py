"""The load generator's own condition: how late its event loop is, how old data was when read, how busy the CPU.

A generator that is late adds to what it reports. A window is late when the loop's lag has p95 >= 5 ms, or p98 >= 20 ms;
whether that matters is a question of the latencies beside it: see `influence`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import gevent
import psutil

from tokenswarm.generator.influence import STALL_MS, Stall
from tokenswarm.metrics.samples import percentile

BEAT_S = 0.05
WINDOW_S = 5.0
LATE_P95_MS = 5.0
LATE_P98_MS = 20.0


@dataclass(frozen=True, slots=True)
class HeartbeatWindow:
    """One window of one process. Lags in ms over its heartbeats, CPU in percent of one core."""

    worker: str
    ended_at: float
    lag_p95_ms: float
    lag_p98_ms: float
    lag_max_ms: float
    cpu_pct: float

    @property
    def is_late(self) -> bool:
        return self.lag_p95_ms >= LATE_P95_MS or self.lag_p98_ms >= LATE_P98_MS

    def to_message(self) -> list[str | float]:
        return [self.worker, self.ended_at, self.lag_p95_ms, self.lag_p98_ms, self.lag_max_ms, self.cpu_pct]

    @classmethod
    def from_message(cls, cells: Sequence[str | float]) -> HeartbeatWindow:
        """Raises `ValueError` or `TypeError` for what is no window."""
        worker, *figures = cells
        if not isinstance(worker, str):
            raise TypeError(f"a worker called {worker!r}")
        numbers = [float(figure) for figure in figures]
        if not all(map(math.isfinite, numbers)):
            raise ValueError("figures that are none")
        return cls(worker, *numbers)


def make_window(worker: str, ended_at: float, lags_ms: Sequence[float], cpu_pct: float) -> HeartbeatWindow:
    """A window from its heartbeats' lags."""
    p95, p98 = (percentile(lags_ms, p) or 0.0 for p in (95, 98))
    return HeartbeatWindow(worker, ended_at, p95, p98, max(lags_ms, default=0.0), cpu_pct)


def summarise(windows: Sequence[HeartbeatWindow], read_lags_ms: Iterable[float]) -> dict[str, Any]:
    """The `generator` part of run.json; figures are `None` when nothing was observed."""
    return {
        "loop_lag_p95_ms": max((window.lag_p95_ms for window in windows), default=None),
        "loop_lag_max_ms": max((window.lag_max_ms for window in windows), default=None),
        "read_lag_p99_ms": percentile(list(read_lags_ms), 99),
        "cpu_max_pct": max((window.cpu_pct for window in windows), default=None),
        "windows": len(windows),
        "windows_late": sum(window.is_late for window in windows),
    }


class Heartbeat:
    """Measures the loop's lag of this process: sleeps `BEAT_S` again and again and notes how much longer it took."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._lags_ms: list[float] = []
        self._process = psutil.Process()
        self._greenlet: Any = None
        self.windows: list[HeartbeatWindow] = []
        self._stalls: list[Stall] = []

    def start(self) -> None:
        self.windows = []
        self._lags_ms = []
        self._process.cpu_percent()  # the first call has nothing to compare with and says 0
        self._greenlet = gevent.spawn(self._beat)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
            self._greenlet = None

    def take(self) -> list[HeartbeatWindow]:
        """The windows that ended since the last call."""
        windows, self.windows = self.windows, []
        return windows

    def take_stalls(self) -> list[Stall]:
        """The stalls that were seen since the last call."""
        stalls, self._stalls = self._stalls, []
        return stalls

    def _beat(self) -> None:
        window_ends = time.monotonic() + WINDOW_S
        while True:
            before = time.monotonic()
            gevent.sleep(BEAT_S)
            after = time.monotonic()
            lag_ms = (after - before - BEAT_S) * 1000.0
            self._lags_ms.append(lag_ms)
            if lag_ms >= STALL_MS:
                self._stalls.append((time.time(), lag_ms))
            if after >= window_ends:
                cpu_pct = self._process.cpu_percent()
                self.windows.append(make_window(self._worker, time.time(), self._lags_ms, cpu_pct))
                self._lags_ms = []
                window_ends = after + WINDOW_S
