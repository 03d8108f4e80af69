"""What the generator's own lag can have done to what it measured: which latencies, and which timeouts.

A loop that is late reads late, sends late, and gives up requests whose answer lies unread. Whether that matters is a
question of magnitude: 60 ms beside a first token after 2 s are nothing, beside one after 100 ms they are the figure. So
each request is held against the longest stall of its own process that fell into it.
"""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenswarm.metrics.verdict import Reason, ReasonKind
from tokenswarm.record import Outcome, RequestRecord

STALL_MS = 5.0
"""A heartbeat that is later than this is kept: it bends the shortest latencies there are."""

MATTERS_PCT = 10.0
"""A stall of this share of a latency, or of the time a request was given, can explain it."""

TOUCHED_PCT = 5.0
"""Requests with such a latency, in percent of all, from which the run's percentiles are in doubt."""

LOOKED_AT = 20_000
"""Latencies that are looked at, evenly over the run, where there are more."""

LOOKED_AT_LIVE = 2_000
"""The same while the run is on, of timeouts too: looking takes the loop's time."""

Stall = tuple[float, float]
"""Unix s at which the loop went on, and the ms for which it had not."""


@dataclass(frozen=True, slots=True)
class Influence:
    """Answered requests that were looked at and those whose TTFT (E2E where there is none) a stall can explain;
    timeouts and those that it can explain; the longest stall, ms, `None` without one."""

    answered: int
    touched: int
    timeouts: int
    timeouts_touched: int
    longest_ms: float | None

    @property
    def touched_pct(self) -> float:
        return 100.0 * self.touched / self.answered if self.answered else 0.0

    @property
    def matters(self) -> bool:
        """Whether the run's figures are in doubt."""
        return self.timeouts_touched > 0 or self.touched_pct > TOUCHED_PCT

    def describe(self) -> str | None:
        """In a sentence; `None` when there was no stall worth a word."""
        if self.longest_ms is None or not (self.touched or self.timeouts_touched):
            return None
        parts = []
        if self.touched:
            parts.append(f"{MATTERS_PCT:g} % or more of {self.touched_pct:.1f} % of the latencies")
        if self.timeouts_touched:
            parts.append(f"{self.timeouts_touched} of {self.timeouts} timeouts")
        return f"its event loop stood still for up to {self.longest_ms:.0f} ms, which can explain {' and '.join(parts)}"

    def reasons(self) -> list[Reason]:
        """Why the run cannot be trusted, while it is on and at its end; empty where nothing is in doubt."""
        return [Reason(ReasonKind.SATURATED, f"load generator saturated: {self.describe()}")] if self.matters else []

    def facts(self) -> dict[str, Any]:
        """For run.json, beside the heartbeat's figures."""
        return {
            "stall_longest_ms": self.longest_ms,
            "latencies_touched_pct": self.touched_pct,
            "timeouts": self.timeouts,
            "timeouts_touched": self.timeouts_touched,
            "saturated": self.matters,
        }


class Stalls:
    """Stalls and requests of a run, by process. A request costs 12 bytes."""

    def __init__(self) -> None:
        self._stalls: defaultdict[str, list[Stall]] = defaultdict(list)
        self._answers: defaultdict[str, _Requests] = defaultdict(_Requests)
        self._timeouts: defaultdict[str, _Requests] = defaultdict(_Requests)

    def add_stalls(self, worker: str, stalls: Iterable[Stall]) -> None:
        """What a process's heartbeat saw."""
        if known := list(stalls):
            self._stalls[worker] += known

    def add(self, record: RequestRecord) -> None:
        """One request has ended; only answers and timeouts have a latency that could be bent."""
        timeout = record.outcome is Outcome.TIMEOUT
        latency_ms = record.e2e_ms if timeout or record.ttft_ms is None else record.ttft_ms
        if record.started_at is None or latency_ms is None or not (timeout or record.outcome is Outcome.OK):
            return
        (self._timeouts if timeout else self._answers)[record.worker].add(record.started_at, latency_ms)

    def influence(self) -> Influence:
        """What it comes to, over every timeout."""
        return self._influence(LOOKED_AT, None)

    def so_far(self) -> Influence:
        """What it comes to while the run is on: the same, of fewer requests."""
        return self._influence(LOOKED_AT_LIVE, LOOKED_AT_LIVE)

    def _influence(self, answers: int, timeouts: int | None) -> Influence:
        stalls = {worker: _Course(found) for worker, found in self._stalls.items()}
        longest = max((ms for found in self._stalls.values() for _, ms in found), default=None)
        return Influence(*_count(stalls, self._answers, answers), *_count(stalls, self._timeouts, timeouts), longest)


class _Requests:
    """When requests began, in Unix s, and how long they took, in ms."""

    def __init__(self) -> None:
        self.begins = array("d")
        self.latencies_ms = array("f")

    def __len__(self) -> int:
        return len(self.begins)

    def add(self, begin: float, latency_ms: float) -> None:
        self.begins.append(begin)
        self.latencies_ms.append(latency_ms)

    def one_of(self, step: int) -> Iterable[tuple[float, float]]:
        """Every `step`th of them."""
        return zip(self.begins[::step], self.latencies_ms[::step], strict=True)


class _Course:
    """The stalls of one process in order."""

    def __init__(self, stalls: Sequence[Stall]) -> None:
        self._stalls = sorted(stalls)
        self._ends = [at for at, _ in self._stalls]
        self._longest_s = max(ms for _, ms in stalls) / 1000.0

    def explains(self, begin: float, latency_ms: float) -> bool:
        """Whether one of them can have made the latency."""
        end = begin + latency_ms / 1000.0
        first, last = bisect_left(self._ends, begin), bisect_right(self._ends, end + self._longest_s)
        inside = itertools.islice(self._stalls, first, last)
        found = max((_overlap_ms(at, ms, begin, end) for at, ms in inside), default=0.0)
        return found >= latency_ms * MATTERS_PCT / 100.0 and found > 0.0


def _count(stalls: Mapping[str, _Course], of: Mapping[str, _Requests], looked_at: int | None) -> tuple[int, int]:
    """Requests that were looked at, evenly (`None`: each), and those that a stall of their process can explain."""
    step = 1 if looked_at is None else max(1, sum(map(len, of.values())) // looked_at)
    count = touched = 0
    for worker, requests in of.items():
        count += -(-len(requests) // step)
        if (course := stalls.get(worker)) is not None:
            touched += sum(course.explains(begin, latency_ms) for begin, latency_ms in requests.one_of(step))
    return count, touched


def _overlap_ms(at: float, ms: float, begin: float, end: float) -> float:
    """How much of a stall fell into a request: what is read after it has waited, up to the stall's whole length."""
    return max(0.0, min(at, end) - max(at - ms / 1000.0, begin)) * 1000.0
