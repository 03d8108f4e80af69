"""Load over time, as pure functions of the seconds since the start: rates for arrivals, users for load shapes.

`Stages` is k6's notion: each stage goes in a straight line from the value before it to its target. `spike`, `step`
and `soak` are stages, too. `ThreadGroup` is JMeter's.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple, Protocol

from tokenswarm.userinput import BadInput, parse_duration, read_duration, read_number

__all__ = ["Shape", "Stage", "Stages", "ThreadGroup", "parse_duration", "parse_shape", "parse_stages"]

MAX_VALUE = 1e7
"""Highest target that is taken seriously, users or requests per minute."""

MAX_STAGES = 10_000


class Stage(NamedTuple):
    """Goes to `target` in a straight line within `duration_s`; a duration of 0 is a jump."""

    duration_s: float
    target: float


class Shape(Protocol):
    """Users over time."""

    @property
    def duration_s(self) -> float:
        """Seconds after which the shape is over; inf when it has no end of its own."""

    def users(self, t_s: float) -> int | None:
        """Users that should be there `t_s` after the start; `None` once the shape is over."""


@dataclass(frozen=True)
class Stages:
    """A value over time, piecewise linear from `start` at 0 s."""

    stages: tuple[Stage, ...]
    start: float = 0.0

    @property
    def duration_s(self) -> float:
        """Seconds from the start to the end of the last stage."""
        return self._ends[-1]

    @property
    def peak(self) -> float:
        """The highest value."""
        return max(self.start, *(stage.target for stage in self.stages))

    def value(self, t_s: float) -> float:
        """The value at `t_s`; at a jump the one after it. The first before the start, the last after the end."""
        if t_s < 0:
            return self.start
        if t_s >= self.duration_s:
            return self.stages[-1].target
        stage = bisect_right(self._ends, t_s)
        duration_s, target = self.stages[stage]
        before = self._values[stage]
        return before + (target - before) * (t_s - self._begins[stage]) / duration_s

    def position(self, t_s: float) -> int:
        """The stage at `t_s`, counted from 1; the first before the start, the last after the end."""
        return min(bisect_right(self._ends, max(0.0, t_s)) + 1, len(self.stages))

    def users(self, t_s: float) -> int | None:
        """The value as a number of users, halves rounded up; `None` once the last stage is over."""
        return None if t_s >= self.duration_s else math.floor(self.value(t_s) + 0.5)

    def area(self, t_s: float) -> float:
        """Integral of the value from 0 to `t_s`, in value x s; nothing is added after the end."""
        if t_s <= 0:
            return 0.0
        if t_s >= self.duration_s:
            return self._areas[-1]
        stage = bisect_right(self._ends, t_s)
        into_s = t_s - self._begins[stage]
        return self._areas[stage] + self._values[stage] * into_s + self._slope(stage) * into_s * into_s / 2

    def instant(self, area: float) -> float | None:
        """When the integral grows beyond `area` (value x s); `None` when it never does.

        Where the value is 0 the integral stands still, and the answer is the end of that time, not its beginning.
        """
        if area >= self._areas[-1] * (1 - 1e-12):
            return None
        stage = bisect_right(self._areas, area) - 1
        duration_s, _ = self.stages[stage]
        rest, before = area - self._areas[stage], self._values[stage]
        if rest <= 0:
            return self._begins[stage]
        # The root of slope/2 x^2 + before x = rest in the form that also holds for slope 0. The square is that of the
        # value at the instant; rounding must not make it negative where a stage ends at 0.
        sum_of_values = before + math.sqrt(max(0.0, before * before + 2 * self._slope(stage) * rest))
        into_s = 2 * rest / sum_of_values if sum_of_values else 0.0  # 0: an area too small for a square root
        return self._begins[stage] + min(into_s, duration_s)

    def _slope(self, stage: int) -> float:
        duration_s, target = self.stages[stage]
        return (target - self._values[stage]) / duration_s if duration_s else 0.0

    @cached_property
    def _ends(self) -> list[float]:
        return list(accumulate(stage.duration_s for stage in self.stages))

    @cached_property
    def _begins(self) -> list[float]:
        return [0.0, *self._ends[:-1]]

    @cached_property
    def _values(self) -> list[float]:
        """Values at the boundaries: before each stage, and at last after all."""
        return [self.start, *(stage.target for stage in self.stages)]

    @cached_property
    def _areas(self) -> list[float]:
        """Integrals at the boundaries: before each stage, and at last after all."""
        means = ((before + after) / 2 for before, after in pairwise(self._values))
        areas = (stage.duration_s * mean for stage, mean in zip(self.stages, means, strict=True))
        return [0.0, *accumulate(areas)]


@dataclass(frozen=True)
class ThreadGroup:
    """JMeter's thread group with its scheduler on: thread k of n starts at delay + k x ramp / n.

    All threads end at delay + duration. With `loops` above 0 a thread ends earlier, after that many iterations: a
    group with 1 loop sends one request per thread, whatever its duration. -1 loops until the end.
    """

    threads: int
    delay_s: float = 0.0
    ramp_s: float = 0.0
    duration_s_after_delay: float = math.inf
    loops: int = -1

    @property
    def duration_s(self) -> float:
        """Seconds from the start of the test to the end of the group, the delay included."""
        return self.delay_s + self.duration_s_after_delay

    def start_instant(self, thread: int) -> float:
        """Seconds from the start of the test to the start of a thread, counted from 0."""
        return self.delay_s + thread * self.ramp_s / self.threads

    def users(self, t_s: float) -> int | None:
        """Threads started by `t_s` (those that ended by their loops included); `None` once the group is over."""
        if t_s >= self.duration_s:
            return None
        return bisect_right(self._start_instants, t_s)

    @cached_property
    def _start_instants(self) -> list[float]:
        return [self.start_instant(thread) for thread in range(self.threads)]


def parse_stages(text: str, start: float = 0.0, where: str = "stages") -> Stages:
    """Parse "2m:10, 5m:50, 1m:0" (duration:target). Raises `BadInput` with every problem."""
    problems: list[str] = []
    parts = [part.strip() for part in re.split(r"[,;\n]", text) if part.strip()]
    stages = [_parse_stage(part, where, problems) for part in parts[:MAX_STAGES]]
    if len(parts) > MAX_STAGES:
        problems.append(f"{where}: expected at most {MAX_STAGES} stages, got {len(parts)}")
    if not problems and sum(stage.duration_s for stage in stages) <= 0:
        problems.append(f"{where}: expected stages as 2m:10, 5m:50 that last longer than 0 s, got {text.strip()!r}")
    if not 0 <= start <= MAX_VALUE:
        problems.append(f"{where}: expected a start value from 0 to {MAX_VALUE:.0f}, got {start}")
    if problems:
        raise BadInput(problems)
    return Stages(tuple(stages), start)


def parse_shape(kind: str, text: str, where: str = "stages") -> Shape:
    """Users over time. Raises `BadInput` with every problem. `kind` and examples of `text`:

    stages        2m:10, 5m:50, 1m:0
    spike         base=5, peak=50, at=2m, hold=30s, duration=6m
    step          by=10, every=1m, to=50
    soak          users=20, ramp=2m, duration=4h
    thread-group  threads=10, delay=10s, ramp=30s, duration=360s, loops=-1
    """
    if kind == "stages":
        return parse_stages(text, where=where)
    if kind not in _SHAPES:
        raise BadInput([f"shape: expected one of {', '.join(['stages', *_SHAPES])}, got {kind!r}"])
    defaults, build = _SHAPES[kind]
    problems: list[str] = []
    fields = _parse_fields(text, defaults, f"{where} ({kind})", problems)
    if problems:
        raise BadInput(problems)
    shape = build(fields, problems)
    if problems:
        raise BadInput(f"{where} ({kind}): {problem}" for problem in problems)
    return shape


def _parse_stage(part: str, where: str, problems: list[str]) -> Stage:
    duration_text, colon, target_text = part.partition(":")
    duration_s, target = read_duration(duration_text), read_number(target_text)
    if not colon or duration_s is None:
        problems.append(f"{where}: expected duration:target as 2m:10, got {part!r}")
    elif target is None or not 0 <= target <= MAX_VALUE:
        problems.append(
            f"{where}: expected a target from 0 to {MAX_VALUE:.0f}, got {target_text.strip()!r} in {part!r}"
        )
    return Stage(duration_s or 0.0, target or 0.0)


_Fields = dict[str, float]
_COUNTS = frozenset({"base", "peak", "by", "to", "users", "threads", "loops"})
_REQUIRED = math.nan


def _parse_fields(text: str, defaults: _Fields, where: str, problems: list[str]) -> _Fields:
    given: _Fields = {}
    for part in filter(None, (part.strip() for part in re.split(r"[,;\n]", text))):
        key, equals, value_text = (piece.strip() for piece in part.partition("="))
        if not equals or key not in defaults or key in given:
            problems.append(
                f"{where}: expected {', '.join(f'{name}=...' for name in defaults)} once each, got {part!r}"
            )
            continue
        value = _read_count(value_text) if key in _COUNTS else read_duration(value_text)
        if value is None:
            kind = "a whole number" if key in _COUNTS else "a duration"
            problems.append(f"{where}: expected {kind} for {key}, got {value_text!r}")
        given[key] = value or 0.0
    fields = {**defaults, **given}
    missing = [key for key, value in fields.items() if math.isnan(value)]
    if missing:
        problems.append(f"{where}: expected {' and '.join(missing)} as well, got {text.strip()!r}")
    return fields


def _read_count(text: str) -> float | None:
    number = read_number(text)
    return number if number is not None and number.is_integer() and -1 <= number <= MAX_VALUE else None


def _require(holds: bool, problem: str, problems: list[str]) -> None:
    if not holds:
        problems.append(problem)


def _build_spike(fields: _Fields, problems: list[str]) -> Shape:
    base, peak, at_s, hold_s = fields["base"], fields["peak"], fields["at"], fields["hold"]
    after_s = fields["duration"] - at_s - hold_s
    _require(base >= 0, f"expected base of 0 or more, got {base:.0f}", problems)
    _require(peak > base, f"expected peak above base, got {peak:.0f}", problems)
    _require(hold_s > 0 and after_s >= 0, "expected hold above 0 and at + hold within duration", problems)
    return Stages((Stage(at_s, base), Stage(0, peak), Stage(hold_s, peak), Stage(0, base), Stage(after_s, base)), base)


def _build_step(fields: _Fields, problems: list[str]) -> Shape:
    by, to, every_s = fields["by"], fields["to"], fields["every"]
    _require(by >= 1, f"expected by of 1 or more, got {by:.0f}", problems)
    _require(to >= by, f"expected to of by or more, got {to:.0f}", problems)
    _require(every_s > 0, "expected every above 0 s", problems)
    steps = math.ceil(to / by) if not problems else 0
    _require(steps <= MAX_STAGES, f"expected at most {MAX_STAGES} steps, got {steps}", problems)
    if problems:
        return Stages((Stage(0, 0),))
    targets = [min(by * (step + 1), to) for step in range(steps)]
    return Stages(tuple(stage for target in targets for stage in (Stage(0, target), Stage(every_s, target))))


def _build_soak(fields: _Fields, problems: list[str]) -> Shape:
    users, ramp_s, duration_s = fields["users"], fields["ramp"], fields["duration"]
    _require(users >= 1, f"expected users of 1 or more, got {users:.0f}", problems)
    _require(duration_s > ramp_s, "expected duration above ramp", problems)
    return Stages((Stage(ramp_s, users), Stage(duration_s - ramp_s, users)))


def _build_thread_group(fields: _Fields, problems: list[str]) -> Shape:
    threads, loops, duration_s = int(fields["threads"]), int(fields["loops"]), fields["duration"]
    _require(1 <= threads <= 100_000, f"expected threads from 1 to 100000, got {threads}", problems)
    _require(loops != 0, "expected loops of 1 or more, or -1 for endless, got 0", problems)
    _require(duration_s > 0, "expected duration above 0 s", problems)
    _require(loops > 0 or math.isfinite(duration_s), "expected a duration or loops above 0: it would not end", problems)
    return ThreadGroup(max(threads, 1), fields["delay"], fields["ramp"], duration_s, loops)


_SHAPES: dict[str, tuple[_Fields, Callable[[_Fields, list[str]], Shape]]] = {
    "spike": (dict.fromkeys(("base", "peak", "at", "hold", "duration"), _REQUIRED), _build_spike),
    "step": (dict.fromkeys(("by", "every", "to"), _REQUIRED), _build_step),
    "soak": ({"users": _REQUIRED, "ramp": 0.0, "duration": _REQUIRED}, _build_soak),
    "thread-group": (
        {"threads": _REQUIRED, "delay": 0.0, "ramp": 0.0, "duration": math.inf, "loops": -1.0},
        _build_thread_group,
    ),
}
