"""The capacity search: which rate is the highest that holds the criteria. Pure: it is told what each level came to.

The rate doubles until a level breaks; then the middle (geometric) of the highest level that held and the lowest that
broke is tried, until the two are within the precision. The level that is left has to hold once more: the answer is
a rate that held twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenswarm.metrics.criteria import Criterion, CriterionResult, percentile_of
from tokenswarm.metrics.samples import needed
from tokenswarm.metrics.verdict import not_delivered
from tokenswarm.userinput import format_number

GROWTH = 2.0
MAX_CONFIRMATIONS = 4
"""Levels, each a precision lower, that may fail to hold a second time before the search gives up."""

SPARE = 1.1
"""More requests than a percentile needs: a throttled one has no latency."""

RUNAWAY_LEVELS = 20
MIN_POINTS = 20
MIN_ERRORS = 4.0


@dataclass(frozen=True, slots=True)
class Step:
    """What to try next: a rate in requests per minute, and why (rise, bisect or confirm)."""

    rate_rpm: float
    purpose: str


@dataclass(frozen=True, slots=True)
class SearchLevel:
    """What a rate came to. `begin` and `end`: Unix s of its offer; `n`: requests offered; `breaks`: why it does not
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
    """From `lowest` to `highest` requests per minute; ends with two levels at most `precision_pct` apart."""

    lowest: float
    highest: float
    precision_pct: float
    levels: list[SearchLevel] = field(default_factory=list)
    held: float | None = None
    """The rate to be confirmed in the end: the highest that held, or a step below one that did not hold again."""
    broken: float | None = None
    answer: SearchLevel | None = None
    _over: bool = False
    _confirmations: int = 0

    def next(self) -> Step | None:
        """What to try; `None` when the search is over."""
        if self._over:
            return None
        if self.held is None:
            return Step(self.lowest, "rise")
        if self.broken is None:
            if self.held < self.highest:
                return Step(_rounded(min(self.held * GROWTH, self.highest)), "rise")
            return Step(self.held, "confirm")
        middle = _rounded(math.sqrt(self.held * self.broken))
        if self.broken / self.held <= 1 + self.precision_pct / 100 or not self.held < middle < self.broken:
            return Step(self.held, "confirm")
        return Step(middle, "bisect")

    def add(self, level: SearchLevel) -> None:
        """A level has been tried."""
        self.levels.append(level)
        rate = level.step.rate_rpm
        if level.step.purpose == "confirm":
            self._confirm(level)
        elif level.holds:
            self.held = rate
        else:
            self.broken = rate
            self._over = self.held is None

    def _confirm(self, level: SearchLevel) -> None:
        self._confirmations += 1
        if level.holds:
            self.answer, self._over = level, True
            return
        self.broken = level.step.rate_rpm
        self.held = _rounded(self.broken / (1 + self.precision_pct / 100))
        self._over = self._confirmations >= MAX_CONFIRMATIONS or self.held < self.lowest

    @property
    def judged(self) -> SearchLevel | None:
        """The level that the run's verdict is about: the confirmed one, or the last that was tried in vain."""
        if self.answer is not None:
            return self.answer
        return self.levels[-1] if self._over else None

    def sentence(self, criteria: Sequence[Criterion]) -> str:
        """The answer for people."""
        wanted = " and ".join(describe_limit(criterion) for criterion in criteria)
        if self.answer is None:
            if self._over:
                level = self.levels[-1]
                return f"does not sustain {level.step.rate_rpm:g} RPM with {wanted}: {', '.join(level.breaks)}"
            held = "no level has held" if self.held is None else f"{self.held:g} RPM has held once"
            return f"the search was stopped before its end: {held}"
        rate = self.answer.step.rate_rpm
        tokens = f" / {short_number(self.answer.tpm)} TPM" if self.answer.tpm is not None else ""
        text = f"sustains {rate:g} RPM{tokens} with {wanted}"
        beyond = min(
            (level for level in self.levels if not level.holds and level.step.rate_rpm >= rate),
            key=lambda level: level.step.rate_rpm,
            default=None,
        )
        if beyond is None:
            return f"{text}; this is the highest rate that was asked for"
        return f"{text}; at {beyond.step.rate_rpm:g} RPM {' and '.join(beyond.breaks)}"

    def facts(self, criteria: Sequence[Criterion]) -> dict[str, Any]:
        """The `search` part of run.json."""
        return {
            "levels": [_level_facts(level) for level in self.levels],
            "answer_rpm": self.answer.step.rate_rpm if self.answer else None,
            "answer_tpm": self.answer.tpm if self.answer else None,
            "sentence": self.sentence(criteria),
        }


def hold_s(rate_rpm: float, criteria: Sequence[Criterion], least_s: float, whole_minutes: bool) -> float:
    """How long a level is held: until every percentile of the criteria is carried, `least_s` at least.

    `whole_minutes`: a limiter that counts per clock minute judges minutes, not seconds.
    """
    percentiles = (percentile_of(criterion.aggregation) for criterion in criteria)
    n = max((needed(p) for p in percentiles if p is not None), default=1)
    seconds = max(least_s, math.ceil(n * SPARE) * 60 / rate_rpm)
    return math.ceil(seconds / 60 - 1e-9) * 60.0 if whole_minutes else seconds


def find_breaks(results: Sequence[CriterionResult], planned: int, sent: int) -> list[str]:
    """Why a level does not hold, in words; empty when it does."""
    breaks = [describe_break(result) for result in results if result.state != "held"]
    if not_delivered(sent, planned):  # it cannot be sustained, whatever its latencies say
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
        "rate_rpm": level.step.rate_rpm,
        "purpose": level.step.purpose,
        "begin": level.begin,
        "end": level.end,
        "n": level.n,
        "holds": level.holds,
        "breaks": list(level.breaks),
        "completed_rpm": level.completed_rpm,
        "tpm": level.tpm,
        "utilization_pct": level.utilization_pct,
        "criteria": [
            {"text": str(result.criterion), "state": result.state, "value": result.value, "n": result.n}
            for result in level.results
        ],
    }


def _rounded(rate_rpm: float) -> float:
    """Four digits: what is written is what was offered."""
    return float(f"{rate_rpm:.4g}")


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}") if abs(value) < 1000 else float(round(value))
