"""Is B worse than A? Every figure of two sides with the interval of its difference and a verdict, and gates for CI.

A side is one run, several repeats, or a baseline file. Runs that were configured differently are refused unless what
differs is named: a difference in speed between unlike runs says nothing about the service.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.compare.bootstrap import (
    Interval,
    Sample,
    mean_difference,
    percentile_difference,
    share_difference,
)
from analysis.compare.gate import Gate, GateResult, deciding_n, describe_threshold, failed, undecided
from analysis.compare.measures import Measures, Rate, Share, Side
from analysis.figures.formats import format_figure
from analysis.figures.metrics import LOW_IS_BAD, METRICS
from tokenswarm.exit_codes import ExitCode
from tokenswarm.metrics.samples import carries
from tokenswarm.userinput import BadInput

NOT_COMPARED = frozenset(
    {
        "test-name", "results-dir", "run-directory", "env-file", "config", "locustfile", "seed", "tags", "ca-file",
        "server-metrics", "processes", "expect-workers", "worker", "master", "master-host", "master-port", "headless",
        "autostart", "autoquit", "stop-timeout", "loglevel", "logfile", "csv", "csv-full-history", "html", "json",
        "json-file", "only-summary", "print-stats", "web-host", "web-port", "failure-criteria", "auto-stop",
        "max-total-tokens", "max-total-requests", "max-cost", "price-table",
        "price-prompt", "price-cached", "price-completion", "price-ptu-hour",
        "report", "output-format", "output-interval", "prometheus", "confirm-load", "web-allowed-hosts",
    }
)  # fmt: skip
"""Options that identify a run, judge it or store it, and leave the load and the request as they are."""

WORSE, BETTER, DIFFERENT = "worse", "better", "different"
SAME = "not distinguishable"
TOO_FEW = "too few"
NO_DATA = "no data"

_OF_RUN = re.compile(r".+/\d{8}T\d{6}Z(-\d+)?")
"""The label of a run of ours, which no two have."""

PERCENTS = (50.0, 95.0, 99.0)
LOW_PERCENTS = (50.0, 5.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure on both sides. `aggregation` is avg, p95, ... or empty for rates and shares; values are `None`
    where a side has no data, or too few rows to carry the percentile. `verdict` is about b."""

    name: str
    metric: str
    aggregation: str
    a: float | None
    b: float | None
    n_a: int
    n_b: int
    interval: Interval | None
    verdict: str

    @property
    def title(self) -> str:
        """`TTFT p95`, `RPM completed`."""
        return f"{METRICS[self.metric].title} {self.aggregation}".strip()

    @property
    def relative(self) -> tuple[float, float, float] | None:
        """Change, low and high in percent of a; `None` without interval or when a is 0."""
        if self.interval is None or not self.a:
            return None
        scale = 100 / abs(self.a)
        return self.interval.estimate * scale, self.interval.low * scale, self.interval.high * scale


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides, what differs in their settings, all figures, and what the gates said."""

    a: Side
    b: Side
    differences: Sequence[str]
    figures: Sequence[Figure]
    gates: Sequence[GateResult]
    confidence: float

    @property
    def warnings(self) -> list[str]:
        """Why the comparison as a whole may mislead."""
        return [*self.a.warnings, *self.b.warnings]

    @property
    def exit_code(self) -> ExitCode:
        """With gates: 4 when a side is not to be trusted, 3 when a gate failed, 4 when one is inconclusive. Without
        gates 0."""
        if not self.gates:
            return ExitCode.OK
        if self.warnings:
            return ExitCode.UNTRUSTED
        if failed(self.gates):
            return ExitCode.CRITERIA_FAILED
        return ExitCode.UNTRUSTED if undecided(self.gates) else ExitCode.OK


def compare(
    a: Side,
    b: Side,
    *,
    gates: Sequence[Gate] = (),
    vary: Sequence[str] = (),
    force: bool = False,
    confidence: float = 0.95,
    seed: int = 1,
) -> Comparison:
    """Compare b with a. Raises `BadInput` naming every run that is there twice, whose requests would count twice or
    be compared with themselves, and every setting that differs and was not declared in `vary`."""
    if (twice := _twice(a, b)) and not force:
        raise BadInput([f"{run}: expected each run once, got it twice" for run in twice])
    found = setting_differences(a, b)
    undeclared = [text for key, text in found if key not in vary]
    if undeclared and not force:
        raise BadInput([*undeclared, "unlike runs: name what you vary (--vary OPTION,...), or --force"])
    figures = [
        figure
        for name in sorted(set(a.groups) | set(b.groups))
        for figure in _figures(name, a.groups.get(name), b.groups.get(name), confidence, seed)
    ]
    judged = [judge(gate, a, b, confidence, seed) for gate in gates]
    return Comparison(a, b, [text for _, text in found], figures, judged, confidence)


def _twice(a: Side, b: Side) -> list[str]:
    """Runs that are there more than once. Runs that began in the same second are told apart by their settings;
    other labels than a test's name and an instant may be of different runs."""
    found = [
        (run, json.dumps(settings, sort_keys=True, default=str))
        for side in (a, b)
        for run, settings in zip(side.runs, side.settings, strict=True)
    ]
    return [run for (run, _), n in Counter(found).items() if n > 1 and _OF_RUN.fullmatch(run)]


def setting_differences(a: Side, b: Side) -> list[tuple[str, str]]:
    """Options with more than one value over all runs, as (option, sentence). Runs without settings are passed over."""
    known = [
        (run, settings)
        for side in (a, b)
        for run, settings in zip(side.runs, side.settings, strict=True)
        if len(settings) > 1
    ]
    keys = sorted({key for _, settings in known for key in settings} - NOT_COMPARED)
    found = []
    for key in keys:
        values = {run: settings.get(key) for run, settings in known}
        if len({json.dumps(value, sort_keys=True, default=str) for value in values.values()}) > 1:
            said = ", ".join(f"{_shown(value)} ({run})" for run, value in values.items())
            found.append((key, f"{key}: expected the same in all runs, got {said}"))
    return found


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _figures(name: str, a: Measures | None, b: Measures | None, confidence: float, seed: int) -> Iterator[Figure]:
    a, b = a or _NOTHING, b or _NOTHING
    for metric in METRICS:
        for aggregation, percent in _aggregations(metric, a, b):
            yield _figure(name, metric, aggregation, percent, a, b, confidence, seed)


_NOTHING = Measures({}, {}, {})


def _aggregations(metric: str, a: Measures, b: Measures) -> list[tuple[str, float | None]]:
    if metric in a.rates or metric in b.rates or metric in a.shares or metric in b.shares:
        return [("", None)]
    if metric not in a.distributions and metric not in b.distributions:
        return []
    percents = LOW_PERCENTS if metric in LOW_IS_BAD else PERCENTS
    return [("avg", None), *((f"p{percent:g}", percent) for percent in percents)]


def _figure(
    name: str,
    metric: str,
    aggregation: str,
    percent: float | None,
    a: Measures,
    b: Measures,
    confidence: float,
    seed: int,
) -> Figure:
    # Seeded by what is drawn for, so that a figure does not depend on which others are asked for.
    rng = np.random.default_rng([seed, zlib.crc32(f"{name}/{metric}/{aggregation}".encode())])
    n_a, n_b = _n(metric, a), _n(metric, b)
    value_a, value_b = _value(metric, percent, a), _value(metric, percent, b)
    if not n_a or not n_b:
        return Figure(name, metric, aggregation, value_a, value_b, n_a, n_b, None, NO_DATA)
    interval = None
    if value_a is not None and value_b is not None:
        interval = _interval(metric, percent, a, b, rng, confidence)
    return Figure(name, metric, aggregation, value_a, value_b, n_a, n_b, interval, _verdict(metric, interval))


def _n(metric: str, side: Measures) -> int:
    found = side.distributions.get(metric) or side.rates.get(metric) or side.shares.get(metric)
    return 0 if found is None else found.n


def _value(metric: str, percent: float | None, side: Measures) -> float | None:
    found: Sample | Rate | Share | None
    found = side.distributions.get(metric) or side.rates.get(metric) or side.shares.get(metric)
    if isinstance(found, Sample) and percent is not None:
        return found.percentile(percent) if carries(found.n, percent) else None
    if isinstance(found, Sample):
        return found.mean
    if isinstance(found, Rate):
        return found.value
    return 100 * found.hits / found.n if found is not None else None


def _interval(
    metric: str, percent: float | None, a: Measures, b: Measures, rng: np.random.Generator, confidence: float
) -> Interval | None:
    if metric in a.distributions:
        first, second = a.distributions[metric], b.distributions[metric]
        if percent is None:
            return mean_difference(first, second, rng, confidence)
        return percentile_difference(first, second, percent, rng, confidence)
    if metric in a.rates:
        return _rate_interval(a.rates[metric], b.rates[metric], rng, confidence)
    return _share_interval(a.shares[metric], b.shares[metric], confidence)


def _rate_interval(a: Rate, b: Rate, rng: np.random.Generator, confidence: float) -> Interval | None:
    by_blocks = mean_difference(a.blocks, b.blocks, rng, confidence)
    if by_blocks is None:
        return None
    # Repeats of unequal length: blocks weigh runs, the rate weighs minutes. The rate is what reports print.
    shift = (b.value - a.value) - by_blocks.estimate
    return Interval(b.value - a.value, by_blocks.low + shift, by_blocks.high + shift)


def _share_interval(a: Share, b: Share, confidence: float) -> Interval | None:
    found = share_difference(
        a.hits / a.inflation, a.n / a.inflation, b.hits / b.inflation, b.n / b.inflation, confidence
    )
    return None if found is None else Interval(100 * found.estimate, 100 * found.low, 100 * found.high)


def _verdict(metric: str, interval: Interval | None) -> str:
    if interval is None:
        return TOO_FEW
    if not interval.excludes_zero:
        return SAME
    better = METRICS[metric].better
    if better is None:
        return DIFFERENT
    return BETTER if (interval.estimate > 0) == (better == "higher") else WORSE


def judge(gate: Gate, a: Side, b: Side, confidence: float, seed: int) -> GateResult:
    """What a gate says of two sides."""
    first, second = a.groups.get(gate.name, _NOTHING), b.groups.get(gate.name, _NOTHING)
    figure = _figure(gate.name, gate.metric, gate.aggregation, gate.percent, first, second,
                     confidence, seed)  # fmt: skip
    interval = figure.interval
    if interval is None or figure.a is None:
        return GateResult(gate, "no_data", f"{figure.verdict} (n {figure.n_a} and {figure.n_b}) counts as failed")
    unit = METRICS[gate.metric].unit
    sign = -1 if METRICS[gate.metric].better == "higher" else 1
    said = f"from {format_value(figure.a, unit)} to {format_value(figure.b, unit)}, {describe_change(figure)}"
    if not gate.exceeded(figure.a, sign * interval.estimate):
        return GateResult(gate, "held", said)
    if not interval.excludes_zero:
        enough = deciding_n(min(figure.n_a, figure.n_b), interval.estimate, interval.low, interval.high)
        more = "" if enough is None else f"; n = {enough:,} on each side would decide, if the difference stays"
        return GateResult(gate, "inconclusive", f"{said}: beyond the limit, but chance explains it as well{more}")
    return GateResult(gate, "failed", f"{said}; limit {describe_threshold(gate, unit)}")


def describe_change(figure: Figure) -> str:
    """`+12 % (+8 to +16 %)`; in the metric's unit when a is 0, in points for shares."""
    interval, relative = figure.interval, figure.relative
    if interval is None:
        return "–"
    unit = METRICS[figure.metric].unit
    if unit == "%":
        parts, suffix = (interval.estimate, interval.low, interval.high), "points"
    elif relative is not None:
        parts, suffix = relative, "%"
    else:
        parts, suffix = (interval.estimate, interval.low, interval.high), unit
    change, low, high = (_signed(part) for part in parts)
    return f"{change} ({low} to {high}) {suffix}".rstrip()


def _signed(value: float) -> str:
    if math.isinf(value):
        return "+∞" if value > 0 else "−∞"
    digits = 0 if abs(value) >= 9.95 else 1
    text = f"{value:+,.{digits}f}".replace("-", "−")
    return text.replace("+0.0", "0.0").replace("−0.0", "0.0") if float(f"{value:.{digits}f}") == 0 else text


def format_value(value: float | None, unit: str) -> str:
    """A figure with its unit where that is not said elsewhere."""
    text = format_figure(value, unit)
    return f"{text} ms" if unit == "ms" and value is not None else text
