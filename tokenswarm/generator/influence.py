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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenswarm.record import Outcome, RequestRecord

STALL_MS = 5.0
"""A heartbeat that is later than this is kept: it bends the shortest latencies there are."""

MATTERS_PCT = 10.0
"""A stall of this share of a latency, or of the time a request was given, can explain it."""

TOUCHED_PCT = 5.0
"""Requests with such a latency, in percent of all, from which the run's percentiles are in doubt."""

LOOKED_AT = 20_000
"""Latencies that are looked at, evenly over the run, where there are more."""

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
    """Stalls and requests of a run, by process. A request costs 13 bytes."""

    def __init__(self) -> None:
        self._stalls: defaultdict[str, list[Stall]] = defaultdict(list)
        self._begins: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._latencies: defaultdict[str, array[float]] = defaultdict(lambda: array("f"))
        self._is_timeout: defaultdict[str, array[int]] = defaultdict(lambda: array("b"))

    def add_stalls(self, worker: str, stalls: Iterable[Stall]) -> None:
        """What a process's heartbeat saw."""
        self._stalls[worker] += stalls

    def add(self, record: RequestRecord) -> None:
        """One request has ended; only answers and timeouts have a latency that could be bent."""
        timeout = record.outcome is Outcome.TIMEOUT
        latency_ms = record.e2e_ms if timeout or record.ttft_ms is None else record.ttft_ms
        if record.started_at is None or latency_ms is None or not (timeout or record.outcome is Outcome.OK):
            return
        self._begins[record.worker].append(record.started_at)
        self._latencies[record.worker].append(latency_ms)
        self._is_timeout[record.worker].append(timeout)

    def influence(self) -> Influence:
        """What it comes to."""
        counts = [0, 0, 0, 0]
        step = max(1, sum(map(len, self._begins.values())) // LOOKED_AT)
        for worker in self._begins:
            _count(counts, self._stalls[worker], step, self._requests(worker))
        longest = max((ms for stalls in self._stalls.values() for _, ms in stalls), default=None)
        answered, touched, timeouts, timeouts_touched = counts
        return Influence(answered, touched, timeouts, timeouts_touched, longest)

    def _requests(self, worker: str) -> Iterable[tuple[float, float, int]]:
        return zip(self._begins[worker], self._latencies[worker], self._is_timeout[worker], strict=True)


def _count(
    counts: list[int], unsorted: Sequence[Stall], step: int, requests: Iterable[tuple[float, float, int]]
) -> None:
    """Count one process's requests, and those that a stall can explain: answers in the first two places of `counts`,
    one of `step`, timeouts in the others, every one."""
    stalls = sorted(unsorted)
    ends = [at for at, _ in stalls]
    longest_s = max((ms for _, ms in stalls), default=0.0) / 1000.0
    for number, (begin, latency_ms, timeout) in enumerate(requests):
        if number % step and not timeout:
            continue
        end = begin + latency_ms / 1000.0
        first, last = bisect_left(ends, begin), bisect_right(ends, end + longest_s)
        found = max(
            (_overlap_ms(at, ms, begin, end) for at, ms in itertools.islice(stalls, first, last)),
            default=0.0,
        )
        place = 2 if timeout else 0
        counts[place] += 1
        counts[place + 1] += found >= latency_ms * MATTERS_PCT / 100.0 and found > 0.0


def _overlap_ms(at: float, ms: float, begin: float, end: float) -> float:
    """How much of a stall fell into a request: what is read after it has waited, up to the stall's whole length."""
    return max(0.0, min(at, end) - max(at - ms / 1000.0, begin)) * 1000.0
