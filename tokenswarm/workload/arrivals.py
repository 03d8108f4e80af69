"""Open load: the instants at which requests are due, fixed in advance by a seed.

A plan does not know how many workers there are: each of them walks through the same plan and takes its share, so that
their number changes nothing in what is offered. Offsets are seconds from the start of the load; rates are requests per
minute.

    constant   arrival i at i x 60 / rate, the first at 0
    poisson    exponential gaps, mean 60 / rate, the first after one gap
    gamma      gamma gaps with the same mean and shape `smoothness`: 1 is Poisson, above is more even, below burstier
    staged     the rate follows `Stages`: arrival i is due when the integral of the rate reaches i (k6's ramping arrival
               rate); Poisson and gamma run through the same integral as processes of rate 1
    trace      the instants and lengths of a recording
    recorded   the instants of recorded requests
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count, repeat
from typing import Protocol

from tokenswarm.userinput import BadInput, read_number
from tokenswarm.workload.distributions import Length
from tokenswarm.workload.prompts import BLOCK_TOKENS
from tokenswarm.workload.stages import Stage, Stages
from tokenswarm.workload.traces import TraceRow

KINDS = ("constant", "poisson", "gamma")
MIN_RATE_RPM = 0.001
MAX_RATE_RPM = 6_000_000.0
"""Rates that are taken seriously: from 1.4 requests per day to 100,000 per second."""

MAX_SPEED = 10_000.0
MIN_SMOOTHNESS, MAX_SMOOTHNESS = 0.01, 1000.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request that is due. Lengths are absent when the plan draws none; blocks, of `block_tokens` each, are of a
    trace's shared prefixes."""

    index: int
    due_offset_s: float
    context_tokens: int | None = None
    max_tokens: int | None = None
    prefix_blocks: tuple[int, ...] | None = None
    block_tokens: int = BLOCK_TOKENS


class Plan(Protocol):
    """What is due when. Walking through a plan twice gives the same arrivals."""

    @property
    def duration_s(self) -> float | None:
        """Seconds after which nothing is due any more; `None` when the plan has no end."""

    def instants(self) -> Iterator[float]:
        """Due offsets of arrivals 0, 1, 2, ..., never falling."""

    def arrival(self, index: int, due_offset_s: float) -> Arrival:
        """The arrival of an index and its instant, with its lengths, whoever asks."""

    def expected_count(self, duration_s: float) -> float:
        """Arrivals to be expected within the first `duration_s`: their mean over all seeds."""

    def count_before(self, t_s: float) -> int:
        """Arrivals of this plan that are due before `t_s`, exactly."""


_NO_CHANCE = random.Random(0)
"""For lengths that do not ask it."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token lengths that a plan draws for its arrivals, by seed and index."""

    seed: int = 0
    context: Length | None = None
    output: Length | None = None

    def draw(self, index: int) -> tuple[int | None, int | None]:
        """Context and output tokens of an arrival: the same for the worker that sends it, whichever that is."""
        if self.context is None and self.output is None:
            return None, None
        is_drawn = any(each is not None and each.is_drawn for each in (self.context, self.output))
        rng = random.Random(f"{self.seed}:{index}") if is_drawn else _NO_CHANCE  # seeding one takes 10 us
        context_tokens = self.context.sample(rng) if self.context is not None else None
        return context_tokens, self.output.sample(rng) if self.output is not None else None


@dataclass(frozen=True, slots=True)
class RatePlan:
    """Arrivals of a process of `kind`; the rate, in requests per minute, is constant or follows stages."""

    kind: str
    rate: float | Stages
    seed: int = 0
    smoothness: float = 1.0
    lengths: Lengths = Lengths()

    @property
    def duration_s(self) -> float | None:
        return self.rate.duration_s if isinstance(self.rate, Stages) else None

    def instants(self) -> Iterator[float]:
        if not isinstance(self.rate, Stages):
            rate = self.rate
            yield from (position * 60 / rate for position in self._positions())
            return
        for position in self._positions():
            instant = self.rate.instant(position * 60)
            if instant is None:
                return
            yield instant

    def arrival(self, index: int, due_offset_s: float) -> Arrival:
        return Arrival(index, due_offset_s, *self.lengths.draw(index))

    def expected_count(self, duration_s: float) -> float:
        if self.kind == "constant":
            return float(self.count_before(duration_s))
        return self._integral(duration_s)

    def count_before(self, t_s: float) -> int:
        if self.kind != "constant":
            return _count_before(self.instants(), t_s)
        # The integral is right but for rounding at an arrival that is due at t_s itself: look at the neighbours.
        guess = max(0, math.floor(self._integral(t_s)) - 1)
        return guess + _count_before(map(self._constant_instant, count(guess)), t_s)

    def _constant_instant(self, index: int) -> float:
        if not isinstance(self.rate, Stages):
            return index * 60 / self.rate
        instant = self.rate.instant(index * 60)
        return math.inf if instant is None else instant

    def _integral(self, t_s: float) -> float:
        area = self.rate.area(t_s) if isinstance(self.rate, Stages) else self.rate * max(t_s, 0.0)
        return area / 60

    def _positions(self) -> Iterator[float]:
        """Instants of the process at rate 1: 0, 1, 2, ... or running sums of random gaps of mean 1."""
        if self.kind == "constant":
            return iter(map(float, count()))
        rng = random.Random(self.seed)
        if self.kind == "poisson":
            return accumulate(-math.log(1.0 - rng.random()) for _ in repeat(None))
        return accumulate(rng.gammavariate(self.smoothness, 1.0 / self.smoothness) for _ in repeat(None))


@dataclass(frozen=True, slots=True)
class RecordedPlan:
    """Arrivals at given offsets, never falling, at least one; what is asked is known elsewhere, by index."""

    offsets_s: Sequence[float]

    @property
    def duration_s(self) -> float | None:
        return self.offsets_s[-1]

    def instants(self) -> Iterator[float]:
        return iter(self.offsets_s)

    def arrival(self, index: int, due_offset_s: float) -> Arrival:
        return Arrival(index, due_offset_s)

    def expected_count(self, duration_s: float) -> float:
        return float(self.count_before(duration_s))

    def count_before(self, t_s: float) -> int:
        return bisect_left(self.offsets_s, t_s)


@dataclass(frozen=True, slots=True)
class TracePlan(RecordedPlan):
    """The arrivals of a recording. `lengths` win over the recorded ones where they draw any."""

    rows: tuple[TraceRow, ...]
    end_s: float
    lengths: Lengths = Lengths()

    @property
    def duration_s(self) -> float | None:
        return self.end_s

    def arrival(self, index: int, due_offset_s: float) -> Arrival:
        row = self.rows[index]
        context_tokens, max_tokens = self.lengths.draw(index)
        if context_tokens is not None:
            # Another prompt length than the recorded one has no recorded blocks.
            return Arrival(index, due_offset_s, context_tokens, max_tokens or row.max_tokens)
        max_tokens = max_tokens or row.max_tokens
        return Arrival(index, due_offset_s, row.context_tokens, max_tokens, row.hash_ids, row.block_tokens)

    def tokens_before(self, t_s: float) -> tuple[int, int]:
        """Context and output tokens of the arrivals that are due before `t_s`."""
        arrivals = [self.arrival(index, offset_s) for index, offset_s in enumerate(self.offsets_s) if offset_s < t_s]
        return sum(each.context_tokens or 0 for each in arrivals), sum(each.max_tokens or 0 for each in arrivals)


def staged(
    rate_rpm: Stages, kind: str = "constant", seed: int = 0, smoothness: float = 1.0, lengths: Lengths = Lengths()
) -> RatePlan:
    """A rate that changes over time."""
    return _checked(RatePlan(kind, rate_rpm, seed, smoothness, lengths))


def trace(
    rows: Sequence[TraceRow],
    speed: float = 1.0,
    window: tuple[float, float] | None = None,
    lengths: Lengths = Lengths(),
) -> TracePlan:
    """Recorded traffic, `speed` times as fast; of `window` ([from, to), s of the recording) only, when given.

    The plan starts where the window does, and lasts as long; without one it ends with the last arrival.
    """
    if not 0 < speed <= MAX_SPEED:
        raise BadInput([f"trace-speed: expected a number above 0 up to {MAX_SPEED:.0f}, got {speed}"])
    begin_s, end_s = window if window is not None else (0.0, math.inf)
    kept = tuple(row for row in sorted(rows, key=lambda row: row.offset_s) if begin_s <= row.offset_s < end_s)
    if not kept:
        last_s = max((row.offset_s for row in rows), default=0.0)
        raise BadInput([f"trace-window: expected a part of the trace, which lasts {last_s:.0f} s, got {window}"])
    offsets_s = tuple((row.offset_s - begin_s) / speed for row in kept)
    until_s = offsets_s[-1] if window is None else (min(end_s, max(row.offset_s for row in rows)) - begin_s) / speed
    return TracePlan(offsets_s, kept, until_s, lengths)


def parse_rate(text: str, where: str = "rate") -> float:
    """Requests per minute of "50", "50/min" or "5/s". Raises `BadInput`."""
    stripped = text.strip()
    per_minute = 60.0 if stripped.endswith("/s") else 1.0
    number = read_number(stripped.removesuffix("/s").removesuffix("/min"))
    if number is None or not MIN_RATE_RPM <= number * per_minute <= MAX_RATE_RPM:
        expected = f"requests per minute from {MIN_RATE_RPM} to {MAX_RATE_RPM:.0f}, as 50 or 5/s"
        raise BadInput([f"{where}: expected {expected}, got {stripped!r}"])
    return number * per_minute


@dataclass(frozen=True, slots=True)
class Assignment:
    """From arrival `effective_from_index` on, those with index % `worker_count` = `worker_position` are one worker's.

    A `worker_position` of `None` says that the worker gets nothing from there on.
    """

    effective_from_index: int
    worker_position: int | None
    worker_count: int

    def __post_init__(self) -> None:
        if self.worker_position is not None and not 0 <= self.worker_position < self.worker_count:
            raise ValueError(f"expected a position below {self.worker_count} workers, got {self.worker_position}")

    def owns(self, index: int) -> bool:
        """Whether an arrival at or after `effective_from_index` is this worker's."""
        return self.worker_position is not None and index % self.worker_count == self.worker_position

    def count_owned(self, begin: int, end: int) -> int:
        """Arrivals of this worker with begin <= index < end: what is lost when it dies in between."""
        if self.worker_position is None or end <= begin:
            return 0
        first = begin + (self.worker_position - begin) % self.worker_count
        return max(0, -(-(end - first) // self.worker_count))


class WorkerShare(Iterator[Arrival]):
    """One worker's part of a plan; its assignment may change while it walks through it."""

    def __init__(self, plan: Plan, assignments: Iterable[Assignment] = ()) -> None:
        self._plan = plan
        self._instants = enumerate(plan.instants())
        self._ahead = next(self._instants, None)
        self._assignments = sorted(assignments, key=lambda assignment: assignment.effective_from_index)

    @property
    def next_due_offset_s(self) -> float | None:
        """When the first arrival, anybody's, that has not been passed is due; `None` when the plan is over."""
        return None if self._ahead is None else self._ahead[1]

    def assign(self, assignment: Assignment) -> int:
        """Change the share. Returns the index from which it holds: a later one than asked when the share is past it.

        Exactly once holds over all workers when each of them gets the change in time.
        """
        begin = max(assignment.effective_from_index, self._ahead[0] if self._ahead is not None else 0)
        earlier = [kept for kept in self._assignments if kept.effective_from_index < begin]
        self._assignments = [*earlier, Assignment(begin, assignment.worker_position, assignment.worker_count)]
        return begin

    def take_due(self, until_s: float) -> Arrival | None:
        """This worker's next arrival if it is due at or before `until_s`. Looks no further, so that a later change of
        the assignment finds all later arrivals untouched."""
        while self._ahead is not None and self._ahead[1] <= until_s:
            index, due_offset_s = self._ahead
            self._ahead = next(self._instants, None)
            if self._owns(index):
                return self._plan.arrival(index, due_offset_s)
        return None

    def __next__(self) -> Arrival:
        while self._ahead is not None and not self._is_over(self._ahead[0]):
            arrival = self.take_due(self._ahead[1])
            if arrival is not None:
                return arrival
        raise StopIteration

    def _owns(self, index: int) -> bool:
        while len(self._assignments) > 1 and self._assignments[1].effective_from_index <= index:
            del self._assignments[0]
        current = self._assignments[0] if self._assignments else None
        return current is not None and current.effective_from_index <= index and current.owns(index)

    def _is_over(self, index: int) -> bool:
        """Nothing will be this worker's any more: an endless plan must not be searched for ever."""
        last = self._assignments[-1] if self._assignments else None
        return last is None or (last.effective_from_index <= index and last.worker_position is None)


def _count_before(instants: Iterator[float], t_s: float) -> int:
    total = 0
    for instant in instants:
        if instant >= t_s:
            break
        total += 1
    return total


def _checked(plan: RatePlan) -> RatePlan:
    problems = []
    if plan.kind not in KINDS:
        problems.append(f"arrival: expected one of {', '.join(KINDS)}, got {plan.kind!r}")
    peak = plan.rate.peak if isinstance(plan.rate, Stages) else plan.rate
    if not MIN_RATE_RPM <= peak <= MAX_RATE_RPM:
        problems.append(f"rate: expected requests per minute from {MIN_RATE_RPM} to {MAX_RATE_RPM:.0f}, got {peak}")
    if not MIN_SMOOTHNESS <= plan.smoothness <= MAX_SMOOTHNESS:
        expected = f"a number from {MIN_SMOOTHNESS} to {MAX_SMOOTHNESS:.0f}"
        problems.append(f"arrival-smoothness: expected {expected}, got {plan.smoothness}")
    if problems:
        raise BadInput(problems)
    return plan


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """The arrivals of one level. Their indices go on where the level before ended, so that no prompt comes twice."""

    kind: str
    rate_rpm: float
    duration: float
    first_index: int
    seed: int = 0
    smoothness: float = 1.0
    lengths: Lengths = field(default_factory=Lengths)

    @property
    def duration_s(self) -> float | None:
        return self.duration

    def instants(self) -> Iterator[float]:
        return self._plan.instants()

    def arrival(self, index: int, due_offset_s: float) -> Arrival:
        return self._plan.arrival(self.first_index + index, due_offset_s)

    def expected_count(self, duration_s: float) -> float:
        return self._plan.expected_count(duration_s)

    def count_before(self, t_s: float) -> int:
        return self._plan.count_before(t_s)

    @property
    def _plan(self) -> RatePlan:
        rate = Stages((Stage(self.duration, self.rate_rpm),), self.rate_rpm)
        # A seed of its own for each level: the same gaps again would repeat the same luck.
        return RatePlan(self.kind, rate, self.seed + self.first_index, self.smoothness, self.lengths)
