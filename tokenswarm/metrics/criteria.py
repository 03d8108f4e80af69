"""Failure criteria: Azure Load Testing's grammar, evaluated on our records.

    [Name:] aggregation(metric) > threshold        or <

A criterion that is *true* means that the run failed. Criteria are separated by ";" or a new line, `Name` is a request
name. The same text holds on the service, as long as it keeps to the service's metrics (`AZURE_METRICS`).

Two things are stricter than on the service. Units are read, not cut off: "> 10s" of a metric in ms is a mistake. And a
percentile that too few requests carry is judged on the largest value (for "<": the smallest), which it cannot pass.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from tokenswarm.metrics.goodput import Goodput
from tokenswarm.metrics.samples import POPULATIONS, Minute, Spread, TimeSpan, needed
from tokenswarm.userinput import BadInput, counted, format_number, read_number


class _Metric(NamedTuple):
    aggregations: tuple[str, ...]
    units: tuple[str, ...]
    whole: bool = False
    operators: str = "<>"


_DISTRIBUTION = ("avg", "min", "max", "pNN")
_OF_SERVICE = {
    "response_time_ms": _Metric(_DISTRIBUTION, ("ms",), whole=True),
    "latency": _Metric(_DISTRIBUTION, ("ms",), whole=True),
    "error": _Metric(("percentage",), ("%",), operators=">"),
    "requests_per_sec": _Metric(("avg",), ("/s",)),
    "requests": _Metric(("count",), (), whole=True),
}
_OURS = {
    **{
        metric: _Metric(_DISTRIBUTION, ("s",) if metric == "session_s" else ("ms",))
        for metric in POPULATIONS
        if metric not in _OF_SERVICE
    },
    **{metric: _Metric(("avg", "min", "max"), ("/min",)) for metric in ("tpm", "rpm")},
    **{metric: _Metric(("percentage", "count"), ("%",)) for metric in ("throttled", "dropped", "goodput", "wrong")},
}
METRICS = {**_OF_SERVICE, **_OURS}
"""Every metric a criterion can be about."""

AZURE_METRICS = frozenset(_OF_SERVICE)
"""Those of them that Azure Load Testing knows, under the same name."""

_SHAPE = re.compile(
    r"(?:(?P<name>.*\S)\s*:\s*)?(?P<aggregation>[\w%]*)\s*\(\s*(?P<metric>[^()]*?)\s*\)\s*"
    r"(?P<operator>[<>=!]+)\s*(?P<threshold>[^\s,]+(?:\s+[^\s,\d]+)?)\s*(?:,\s*(?P<action>\w+)\s*)?"
)
_PERCENTILE = re.compile(r"p(?:(\d\d)|(9\d)(\d{1,2}))", re.ASCII)
_THRESHOLD = re.compile(r"(?P<number>[+-]?[\d.]+(?:[eE][+-]?\d+)?)\s*(?P<unit>.*)", re.ASCII)
MAX_NAMES = 10
_EXAMPLE = "[Name:] aggregation(metric) > value, as p95(ttft_ms) > 1000"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One failure criterion; true means the run failed. `name` is the request it is about, `None` for all."""

    text: str
    name: str | None
    aggregation: str
    metric: str
    operator: str
    threshold: float

    @property
    def unit(self) -> str:
        """Unit of the value and the threshold: ms, s, %, /s or /min; empty for a count."""
        return "" if self.aggregation == "count" else METRICS[self.metric].units[0]

    def is_true(self, value: float) -> bool:
        """Whether `value` makes the run fail."""
        return value > self.threshold if self.operator == ">" else value < self.threshold

    def __str__(self) -> str:
        prefix = "" if self.name is None else f"{self.name}: "
        return f"{prefix}{self.aggregation}({self.metric}) {self.operator} {format_number(self.threshold)}"


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """A criterion and what the samples say. `state`: held, failed or no_data; `value` is absent without data; `n` is
    how many requests (minutes for min and max of tpm and rpm) the value is of; `note` says what needs saying; `scope`
    which part of the run the value is over, where that could be mistaken."""

    criterion: Criterion
    state: str
    value: float | None
    n: int
    note: str = ""
    scope: str = ""

    def facts(self) -> dict[str, Any]:
        """For run.json and the live page."""
        return {
            "text": str(self.criterion),
            "state": self.state,
            "value": self.value,
            "unit": self.criterion.unit,
            "n": self.n,
            "note": self.note,
        }


class Facts(Protocol):
    """What criteria ask about the records within a window: `Samples` answer exactly, at the end and over the rows of a
    run directory; `live.criteria_so_far` without looking at old records again."""

    @property
    def goodput(self) -> Goodput | None:
        """The limits that `goodput` is counted by."""

    @property
    def names(self) -> Sequence[str]:
        """Request names seen."""

    def spread(self, metric: str, name: str | None, window: TimeSpan | None, further: Sequence[float] = ()) -> Spread:
        """Values of a metric of `POPULATIONS`, and `further` ones."""

    def whole_ms(self, metric: str, name: str | None, window: TimeSpan | None) -> Sequence[float]:
        """E2E, in place of a TTFT, of answers that came whole though a stream was asked for."""

    def unfinished_s(self, name: str | None, window: TimeSpan | None) -> Sequence[float]:
        """How long sessions that the end of the run has cut had taken by then."""

    def count(self, what: str, name: str | None, window: TimeSpan | None, *, by_end: bool = False) -> int:
        """Number of records of a kind."""

    def total(self, quantity: str, name: str | None, window: TimeSpan | None) -> float:
        """Sum of started, completed or tokens."""

    def with_tokens(self, name: str | None, window: TimeSpan | None) -> int:
        """Requests whose tokens the service reported."""

    def full_minutes(self, window: TimeSpan, name: str | None) -> list[Minute]:
        """Clock minutes wholly inside."""

    def span(self) -> TimeSpan | None:
        """From the first record to the last."""


class _Figure(NamedTuple):
    value: float | None
    n: int
    note: str = ""


def percentile_of(aggregation: str) -> float | None:
    """95.0 for "p95", 99.9 for "p999", 99.99 for "p9999"; `None` for anything else, p00 and p100 included."""
    match = _PERCENTILE.fullmatch(aggregation)
    if not match or aggregation == "p00":
        return None
    return float(match[1]) if match[1] else float(f"{match[2]}.{match[3]}")


def parse_criteria(text: str) -> list[Criterion]:
    """Criteria of a text, without repetitions (of equal ones the strictest stays, as on the service). Raises `BadInput`
    with every problem; a text without any criterion is one, too: it is never meant."""
    problems: list[str] = []
    criteria: dict[tuple[str | None, str, str, str], Criterion] = {}
    # A line may come straight from a YAML list of the service's test configuration.
    for part in filter(None, (part.strip().removeprefix("- ").strip() for part in re.split(r"[;\r\n]", text))):
        criterion = _parse_criterion(part, problems)
        if criterion is not None:
            key = (criterion.name, criterion.metric, criterion.aggregation, criterion.operator)
            criteria[key] = _stricter(criteria.get(key, criterion), criterion)
    if not criteria and not problems:
        problems.append(f"failure criteria: expected {_EXAMPLE}, got none in {text!r}")
    if problems:
        raise BadInput(problems)
    return list(criteria.values())


def evaluate(criteria: Iterable[Criterion], samples: Facts, window: TimeSpan | None = None) -> list[CriterionResult]:
    """Judge each criterion on the samples within `window` ([from, to], Unix s; `None`: all there are)."""
    return [_judge(criterion, _figure(criterion, samples, window), samples.names) for criterion in criteria]


def over_all_levels(results: Iterable[CriterionResult]) -> list[CriterionResult]:
    """Results over a whole run whose load changed: beside those of each level they could be taken for the last's."""
    return [replace(result, scope="over all levels together") for result in results]


def unknown_name(criterion: Criterion, names: Iterable[str]) -> str:
    """What to say when no request has the name that a criterion is about; empty when some has."""
    known = sorted(names)
    if criterion.name is None or criterion.name in known:
        return ""
    listed = ", ".join(known[:MAX_NAMES]) + (f" and {len(known) - MAX_NAMES} more" if len(known) > MAX_NAMES else "")
    return f"no request is named {criterion.name!r}; there are: {listed}" if known else "no request was sent"


def _stricter(kept: Criterion, other: Criterion) -> Criterion:
    choose = min if other.operator == ">" else max
    return choose(kept, other, key=lambda criterion: criterion.threshold)


def _parse_criterion(text: str, problems: list[str]) -> Criterion | None:
    match = _SHAPE.fullmatch(text)
    if match is None:
        problems.append(f"failure criterion: expected {_EXAMPLE}, got {text!r}")
        return None
    found = len(problems)
    metric, aggregation, operator = match["metric"], match["aggregation"], match["operator"]
    if match["action"] not in (None, "continue"):
        problems.append(f"failure criterion: expected no action but continue, got {match['action']!r} in {text!r}")
    if operator not in ("<", ">"):
        problems.append(f"failure criterion: expected > or <, got {operator!r} in {text!r}")
    if metric not in METRICS:
        near = difflib.get_close_matches(metric, METRICS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        known = ", ".join(METRICS)
        problems.append(f"failure criterion: expected a metric of {known}, got {metric!r} in {text!r}{hint}")
        return None
    rules = METRICS[metric]
    if not _is_allowed(aggregation, rules):
        expected = ", ".join(rules.aggregations).replace("pNN", "p50, p95, p99, p999 or any other pNN")
        problems.append(f"failure criterion: expected {metric} with {expected}, got {aggregation!r} in {text!r}")
    elif operator == "<" and operator not in rules.operators:
        problems.append(f"failure criterion: expected > with {aggregation}({metric}), got {operator!r} in {text!r}")
    threshold = _read_threshold(match["threshold"], aggregation, rules, text, problems)
    if threshold is None or len(problems) > found:
        return None
    return Criterion(text, _unquote(match["name"]), aggregation, metric, operator, threshold)


def _unquote(name: str | None) -> str | None:
    if name is not None and len(name) > 2 and name[0] == name[-1] and name[0] in "\"'":
        return name[1:-1]
    return name


def _is_allowed(aggregation: str, rules: _Metric) -> bool:
    if percentile_of(aggregation) is not None:
        return "pNN" in rules.aggregations
    return aggregation in rules.aggregations and aggregation != "pNN"


def _read_threshold(given: str, aggregation: str, rules: _Metric, text: str, problems: list[str]) -> float | None:
    match = _THRESHOLD.fullmatch(given)
    number = read_number(match["number"]) if match else None
    if match is None or number is None or number < 0:
        problems.append(f"failure criterion: expected a threshold of 0 or more, got {given!r} in {text!r}")
        return None
    units = rules.units if aggregation != "count" else ()
    if match["unit"] and match["unit"] not in units:
        expected = f"the unit {units[0]} or none" if units else "no unit"
        problems.append(f"failure criterion: expected {expected}, got {match['unit']!r} in {text!r}")
    if aggregation == "percentage" and number > 100:
        problems.append(f"failure criterion: expected a percentage from 0 to 100, got {given!r} in {text!r}")
    if (rules.whole or aggregation == "count") and number != math.floor(number):
        problems.append(f"failure criterion: expected a whole number, got {given!r} in {text!r}")
    return number


def _judge(criterion: Criterion, figure: _Figure, names: Sequence[str]) -> CriterionResult:
    if figure.value is None:
        note = figure.note or unknown_name(criterion, names) or "no data counts as failed"
        return CriterionResult(criterion, "no_data", None, figure.n, note)
    state = "failed" if criterion.is_true(figure.value) else "held"
    return CriterionResult(criterion, state, figure.value, figure.n, figure.note)


def _figure(criterion: Criterion, samples: Facts, window: TimeSpan | None) -> _Figure:
    metric, name = criterion.metric, criterion.name
    if metric == "session_s" and criterion.operator == ">":
        return _sessions(criterion, samples, window)
    if metric in POPULATIONS and POPULATIONS[metric].column == "ttft":
        return _first_tokens(criterion, samples, window)
    if metric in POPULATIONS:
        return _distribution(criterion, samples.spread(metric, name, window))
    if metric in _RATES:
        return _rate(criterion, samples, window)
    if metric == "goodput" and samples.goodput is None:
        return _Figure(None, 0, "no data: the option goodput says no limits")
    base = sum(samples.count(what, name, window) for what in _BASES[metric])
    if base == 0:
        return _Figure(None, 0)
    part = samples.count(_COUNTS[metric], name, window)
    return _Figure(100.0 * part / base if criterion.aggregation == "percentage" else float(part), base)


def _sessions(criterion: Criterion, samples: Facts, window: TimeSpan | None) -> _Figure:
    """A session that was cut when it had taken longer than allowed is as long as that at least. Of one that had not,
    nothing is known. The figure with those is only taken where it is larger: a least value between two others can bring
    a percentile down, which lies between them."""
    figure = _distribution(criterion, samples.spread(criterion.metric, criterion.name, window))
    cut = [since_s for since_s in samples.unfinished_s(criterion.name, window) if criterion.is_true(since_s)]
    if not cut:
        return figure
    ended = figure.value
    figure = _distribution(criterion, samples.spread(criterion.metric, criterion.name, window, cut))
    if ended is not None and figure.value is not None and figure.value < ended:
        figure = figure._replace(value=ended)
    note = f"of these {counted(len(cut), 'session')} had not ended with the run: took so long at least"
    return figure._replace(note="; ".join(filter(None, (figure.note, note))))


def _first_tokens(criterion: Criterion, samples: Facts, window: TimeSpan | None) -> _Figure:
    """Of an answer that came whole though a stream was asked for, the TTFT is not known; it is not over its E2E. What
    has no TTFT by its nature, as an answer that was asked for whole, is only counted."""
    whole = samples.whole_ms(criterion.metric, criterion.name, window)
    figure = _distribution(criterion, samples.spread(criterion.metric, criterion.name, window, whole))
    answers, notes = samples.count("ok", criterion.name, window), [figure.note]
    if whole:
        notes.append(f"{len(whole)} of {counted(answers, 'answer')} came whole, not as a stream: E2E taken for TTFT")
    if 0 < figure.n < answers:
        notes.append(f"{answers - figure.n} of {counted(answers, 'answer')} have no TTFT: judged on the others")
    return figure._replace(note="; ".join(filter(None, notes)))


def _distribution(criterion: Criterion, spread: Spread) -> _Figure:
    if not spread.n:
        return _Figure(None, 0)
    plain = {"avg": spread.mean, "min": spread.smallest, "max": spread.largest}
    if criterion.aggregation in plain:
        return _Figure(plain[criterion.aggregation], spread.n)
    p = percentile_of(criterion.aggregation)
    assert p is not None
    value = spread.percentile(p)
    return _bound(criterion, spread, p) if value is None else _Figure(value, spread.n)


def _bound(criterion: Criterion, spread: Spread, p: float) -> _Figure:
    """The value no percentile can pass in the direction that fails."""
    extreme, word = (spread.largest, "largest") if criterion.operator == ">" else (spread.smallest, "smallest")
    note = f"p{format_number(p)} needs {needed(p)} values, there are {spread.n}: judged on the {word}"
    return _Figure(extreme, spread.n, note)


def _rate(criterion: Criterion, samples: Facts, window: TimeSpan | None) -> _Figure:
    span = window if window is not None else samples.span()
    if span is None:
        return _Figure(None, 0)
    quantity, seconds = _RATES[criterion.metric]
    n = _rate_base(quantity, criterion.name, samples, span)
    if n == 0 or span[1] <= span[0]:
        return _Figure(None, n)
    if criterion.aggregation == "avg":
        return _Figure(samples.total(quantity, criterion.name, span) / (span[1] - span[0]) * seconds, n)
    minutes = [getattr(minute, quantity) for minute in samples.full_minutes(span, criterion.name)]
    if not minutes:
        return _Figure(None, 0, "no data: no full clock minute lies inside the window")
    return _Figure(float(min(minutes) if criterion.aggregation == "min" else max(minutes)), len(minutes))


def _rate_base(quantity: str, name: str | None, samples: Facts, window: TimeSpan) -> int:
    """Requests a rate is of: without one that reported its tokens, tokens per minute are unknown, not 0."""
    if quantity == "tokens":
        return samples.with_tokens(name, window)
    return samples.count("sent", name, window) or samples.count("sent", name, window, by_end=True)


_RATES = {"requests_per_sec": ("started", 1), "rpm": ("completed", 60), "tpm": ("tokens", 60)}
_COUNTS = {
    "error": "failed",
    "requests": "sent",
    "throttled": "throttled",
    "dropped": "dropped",
    "goodput": "goodput",
    "wrong": "wrong",
}
_SETTLED = ("ok", "throttled", "failed")
"""Sent requests that were waited for: those that our side gave up are neither answered nor failed."""
_BASES = {
    "error": _SETTLED,
    "requests": ("sent",),
    "throttled": _SETTLED,
    "dropped": ("offered",),
    "goodput": (*_SETTLED, "dropped"),
    "wrong": ("judged",),
}
"""What shares are of: the kinds of requests that are counted together."""

SPARE = 1.1
"""More requests than a percentile needs: a throttled one has no latency."""


def answers_needed(criteria: Sequence[Criterion]) -> int:
    """Requests of a level from which every percentile of the criteria is carried."""
    percentiles = (percentile_of(criterion.aggregation) for criterion in criteria)
    return math.ceil(max((needed(p) for p in percentiles if p is not None), default=1) * SPARE)


def hold_s(rate_rpm: float, criteria: Sequence[Criterion], least_s: float, whole_minutes: bool) -> float:
    """How long a level of a rate is held: until every percentile of the criteria is carried, `least_s` at least.

    `whole_minutes`: a limiter that counts per clock minute judges minutes, not seconds.
    """
    seconds = max(least_s, answers_needed(criteria) * 60 / rate_rpm)
    return math.ceil(seconds / 60 - 1e-9) * 60.0 if whole_minutes else seconds
