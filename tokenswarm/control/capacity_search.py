"""The capacity search: which load is the highest that holds the criteria. Pure: it is told what each level came to.

The load (a rate, or users) doubles until a level breaks; then the middle (geometric) of the highest level that held and
the lowest that broke is tried, until the two are within the precision, or neighbouring numbers of users. The level that
is left has to hold once more: the answer is a load that held twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenswarm.metrics.criteria import Criterion, CriterionResult
from tokenswarm.metrics.verdict import not_delivered
from tokenswarm.userinput import format_number
from tokenswarm.workload.levels import RPM, USERS, load_text

GROWTH = 2.0
MAX_CONFIRMATIONS = 4
"""Levels, each a precision lower, that may fail to hold a second time before the search gives up."""

RUNAWAY_LEVELS = 20
MIN_POINTS = 20
MIN_ERRORS = 4.0


@dataclass(frozen=True, slots=True)
class Step:
    """What to try next: a load, why (rise, bisect or confirm), and what it is of. `begins_at`: Unix s from which it is
    offered, once that is known."""

    load: float
    purpose: str
    unit: str = RPM
    begins_at: float | None = None

    def __str__(self) -> str:
        return load_text(self.load, self.unit)


@dataclass(frozen=True, slots=True)
class SearchLevel:
    """What a load came to. `begin` and `end`: Unix s of its offer; `n`: requests offered; `breaks`: why it does not
    hold, empty when it does; rates as measured, `None` when unknown."""

    step: Step
    begin: float
    end: float
    n: int
    breaks: tuple[str, ...]
    results: tuple[CriterionResult, ...] = ()
    completed_rpm: float | None = None
    tpm: float | None = None
    utilization_pct: float | None = None

    @property
    def holds(self) -> bool:
        return not self.breaks


@dataclass(slots=True)
class Search:
    """From `lowest` to `highest`; ends with two levels at most `precision_pct`, or one user, apart."""

    lowest: float
    highest: float
    precision_pct: float
    unit: str = RPM
    levels: list[SearchLevel] = field(default_factory=list)
    held: float | None = None
    """The load to be confirmed in the end: the highest that held, or a step below one that did not hold again."""
    broken: float | None = None
    answer: SearchLevel | None = None
    is_over: bool = False
    _confirmations: int = 0

    def next(self) -> Step | None:
        """What to try; `None` when the search is over."""
        if self.is_over:
            return None
        if self.held is None:
            return self._step(self.lowest, "rise")
        if self.broken is None:
            if self.held < self.highest:
                return self._step(self._rounded(min(self.held * GROWTH, self.highest)), "rise")
            return self._step(self.held, "confirm")
        middle = self._rounded(math.sqrt(self.held * self.broken))
        if self._are_near(self.held, self.broken) or not self.held < middle < self.broken:
            return self._step(self.held, "confirm")
        return self._step(middle, "bisect")

    def add(self, level: SearchLevel) -> None:
        """A level has been tried."""
        self.levels.append(level)
        load = level.step.load
        if level.step.purpose == "confirm":
            self._confirm(level)
        elif level.holds:
            self.held = load
        else:
            self.broken = load
            self.is_over = self.held is None

    def _confirm(self, level: SearchLevel) -> None:
        self._confirmations += 1
        if level.holds:
            self.answer, self.is_over = level, True
            return
        self.broken = level.step.load
        self.held = self._rounded(self.broken / (1 + self.precision_pct / 100))
        if self.unit == USERS:
            self.held = min(self.held, self.broken - 1)
        self.is_over = self._confirmations >= MAX_CONFIRMATIONS or self.held < self.lowest

    def _step(self, load: float, purpose: str) -> Step:
        return Step(load, purpose, self.unit)

    def _are_near(self, held: float, broken: float) -> bool:
        by = held * self.precision_pct / 100
        return broken - held <= (max(1.0, by) if self.unit == USERS else by)

    def _rounded(self, load: float) -> float:
        """Four digits, or whole users: what is written is what was offered."""
        return float(round(load)) if self.unit == USERS else float(f"{load:.4g}")

    @property
    def judged(self) -> SearchLevel | None:
        """The level that the run's verdict is about: the confirmed one, or the last that was tried in vain; of a search
        that was cut the highest that held so far, `None` where none did."""
        if self.answer is not None:
            return self.answer
        if self.is_over:
            return self.levels[-1]
        held = [level for level in self.levels if level.holds and level.step.load == self.held]
        return held[-1] if held else None

    def sentence(self, criteria: Sequence[Criterion]) -> str:
        """The answer for people."""
        if not self.is_over:
            return self.so_far
        wanted = " and ".join(describe_limit(criterion) for criterion in criteria)
        if self.answer is None:
            level = self.levels[-1]
            return f"does not sustain {level.step} with {wanted}: {', '.join(level.breaks)}"
        load = self.answer.step.load
        tokens = f" / {short_number(self.answer.tpm)} TPM" if self.answer.tpm is not None else ""
        text = f"sustains {self.answer.step}{tokens} with {wanted}"
        beyond = self._lowest_broken(load)
        if beyond is None:
            what = "number of users" if self.unit == USERS else "rate"
            return f"{text}; this is the highest {what} that was asked for"
        return f"{text}; at {beyond.step} {' and '.join(beyond.breaks)}"

    @property
    def so_far(self) -> str:
        """What a search that was cut has found."""
        said = "the search was stopped before its end"
        level = self.judged
        if level is None:
            return f"{said}: no level had ended"
        beyond = self._lowest_broken(level.step.load)
        broke = f", at {beyond.step} {' and '.join(beyond.breaks)}" if beyond is not None else ""
        return f"{said}: {level.step} held once{broke}; the answer was not confirmed"

    def _lowest_broken(self, load: float) -> SearchLevel | None:
        broken = (level for level in self.levels if not level.holds and level.step.load >= load)
        return min(broken, key=lambda level: level.step.load, default=None)

    def facts(self, criteria: Sequence[Criterion]) -> dict[str, Any]:
        """The `search` part of run.json."""
        judged = self.judged
        return {
            "unit": self.unit,
            "is_over": self.is_over,
            "levels": [_level_facts(level) for level in self.levels],
            "answer": self.answer.step.load if self.answer else None,
            "held": judged.step.load if judged is not None and judged.holds else None,
            "answer_tpm": self.answer.tpm if self.answer else None,
            "sentence": self.sentence(criteria),
        }


def find_breaks(results: Sequence[CriterionResult], planned: int | None, sent: int) -> list[str]:
    """Why a level does not hold, in words; empty when it does."""
    breaks = [describe_break(result) for result in results if result.state != "held"]
    if planned and not_delivered(sent, planned):  # it cannot be sustained, whatever its latencies say
        breaks.append(f"only {format_number(_three_digits(100.0 * sent / planned))} % of the offer was sent")
    return breaks


def find_runaway(points: Sequence[tuple[float, float]], begin: float, end: float) -> str | None:
    """Whether a deployment's utilization goes on rising and will reach 100 %: a bucket that fills slowly refuses
    nothing during a level that it cannot sustain. `points`: (Unix s, percent) of the level's requests.

    Looked at is the second half, by a straight line; a rise counts when it is beyond chance and would reach 100 %
    within `RUNAWAY_LEVELS` times the level's length.
    """
    late = [(at - end, percent) for at, percent in points if begin + (end - begin) / 2 <= at <= end]
    line = _fit(late)
    if line is None:
        return None
    now, per_s, error = line
    if per_s <= 0 or per_s < MIN_ERRORS * error or now + per_s * (end - begin) * RUNAWAY_LEVELS < 100:
        return None
    return f"utilization rises by {format_number(_three_digits(per_s * 60))} % per minute, from {now:.0f} %"


def describe_limit(criterion: Criterion) -> str:
    """What must hold, where the criterion says what must not: "p95(ttft_ms) < 1000", "throttled < 1 %"."""
    operator = "<" if criterion.operator == ">" else ">"
    return f"{_subject(criterion)} {operator} {format_number(criterion.threshold)}{_unit(criterion)}"


def describe_break(result: CriterionResult) -> str:
    """How a criterion failed: "throttled reaches 6 %"."""
    criterion = result.criterion
    if result.value is None:
        return f"{_subject(criterion)} has no data"
    verb = "reaches" if criterion.operator == ">" else "falls to"
    return f"{_subject(criterion)} {verb} {format_number(_three_digits(result.value))}{_unit(criterion)}"


def short_number(value: float) -> str:
    """Three digits at most with K or M: 190K, 1.25M."""
    for limit, unit in ((1e6, "M"), (1e3, "K")):
        if value >= limit:
            return f"{format_number(_three_digits(value / limit))}{unit}"
    return format_number(_three_digits(value))


def _subject(criterion: Criterion) -> str:
    prefix = "" if criterion.name is None else f"{criterion.name}: "
    plain = criterion.aggregation in ("percentage", "count")
    return prefix + (criterion.metric if plain else f"{criterion.aggregation}({criterion.metric})")


def _unit(criterion: Criterion) -> str:
    return " %" if criterion.aggregation == "percentage" else ""


def _fit(points: Sequence[tuple[float, float]]) -> tuple[float, float, float] | None:
    """Least squares: value at 0, slope, and the slope's standard error; `None` for too few points."""
    n = len(points)
    if n < MIN_POINTS:
        return None
    mean_x, mean_y = math.fsum(x for x, _ in points) / n, math.fsum(y for _, y in points) / n
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        return None
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = math.fsum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return mean_y - slope * mean_x, slope, math.sqrt(rest / (n - 2) / spread)


def _level_facts(level: SearchLevel) -> dict[str, Any]:
    return {
        "load": level.step.load,
        "purpose": level.step.purpose,
        **{name: getattr(level, name) for name in ("begin", "end", "n", "holds")},
        "breaks": list(level.breaks),
        **{name: getattr(level, name) for name in ("completed_rpm", "tpm", "utilization_pct")},
        "criteria": [
            {"text": str(result.criterion), "state": result.state, "value": result.value, "n": result.n}
            for result in level.results
        ],
    }


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}") if abs(value) < 1000 else float(round(value))
