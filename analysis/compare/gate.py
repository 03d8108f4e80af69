"""Gates on a comparison: `[Name:] figure worse|better|different > 10 %`, true means that the build fails.

A figure is `p95(ttft_ms)`, `avg(e2e_ms)`, or the name of a rate or share: `rpm`, `tpm`, `error_pct`. A gate is true
when the difference is distinguishable from none *and* the estimate passes the threshold: neither noise nor a
measurable trifle fails a build. `10 %` is relative to the baseline; without `%` the threshold is in the metric's
unit (for shares: percentage points). A figure without data fails, as everywhere in the suite. An estimate beyond the
threshold that chance explains as well is inconclusive: no proof either way, and said with the n that would decide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.compare.measures import DISTRIBUTIONS, OVERALL, RATES, SHARES
from tokenswarm.metrics.criteria import percentile_of
from tokenswarm.userinput import BadInput, format_number, read_number

_SHAPE = re.compile(
    r"(?:(?P<name>.*\S)\s*:\s*)?(?:(?P<aggregation>\w+)\s*\(\s*(?P<metric>\w+)\s*\)|(?P<plain>\w+))\s+"
    r"(?P<direction>worse|better|different)\s*>\s*(?P<threshold>[\d.]+)\s*(?P<relative>%)?\s*"
)
_EXAMPLE = "p95(ttft_ms) worse > 10 %"
_ALIASES = {
    "error": "error_pct",
    "throttled": "throttled_pct",
    "dropped": "dropped_pct",
    "goodput": "goodput_pct",
    "wrong": "wrong_pct",
}
"""Names of criteria for shares, with their aggregation `percentage`."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate. `percent` is set for percentiles only; `threshold` in percent of the baseline when `relative`."""

    text: str
    name: str
    metric: str
    aggregation: str
    percent: float | None
    direction: str
    threshold: float
    relative: bool

    def exceeded(self, base: float, worsening: float) -> bool:
        """Whether a worsening (in the metric's unit, negative when it got better) passes the threshold."""
        size = {"worse": worsening, "better": -worsening, "different": abs(worsening)}[self.direction]
        return size > (abs(base) * self.threshold / 100 if self.relative else self.threshold)


def parse_gates(texts: Iterable[str]) -> list[Gate]:
    """Gates of some texts, several separated by `;` or line ends. Raises `BadInput` with every problem."""
    texts = list(texts)
    blank = [text for text in texts if not text.strip("; \t\r\n")]
    problems = [f"--fail-if: expected a gate such as {_EXAMPLE}, got none in {text!r}" for text in blank]
    parts = [part.strip() for text in texts for part in re.split(r"[;\r\n]", text)]
    gates = [gate for part in parts if part and (gate := _parse(part, problems)) is not None]
    if problems:
        raise BadInput(problems)
    return gates


def _parse(text: str, problems: list[str]) -> Gate | None:
    match = _SHAPE.fullmatch(text)
    threshold = read_number(match["threshold"]) if match else None
    if match is None or threshold is None:
        problems.append(f"--fail-if: expected a gate such as {_EXAMPLE}, got {text!r}")
        return None
    metric, aggregation = match["metric"] or match["plain"], match["aggregation"] or ""
    if aggregation == "percentage" or (not aggregation and metric in _ALIASES):
        metric, aggregation = _ALIASES.get(metric, metric), ""
    if metric in RATES and aggregation == "avg":
        aggregation = ""
    expected = _expected(metric, aggregation)
    if expected:
        problems.append(f"--fail-if: expected {expected}, got {text!r}")
        return None
    return Gate(
        text=text,
        name=match["name"] or OVERALL,
        metric=metric,
        aggregation=aggregation,
        percent=percentile_of(aggregation),
        direction=match["direction"],
        threshold=threshold,
        relative=match["relative"] is not None,
    )


def _expected(metric: str, aggregation: str) -> str | None:
    """What should have been written instead of this figure; `None` when it is right."""
    if metric in DISTRIBUTIONS:
        right = aggregation == "avg" or percentile_of(aggregation) is not None
        return None if right else f"avg({metric}) or a percentile such as p95({metric})"
    if metric in (*RATES, *SHARES):
        return f"{metric} alone, without {aggregation}()" if aggregation else None
    return f"one of {', '.join((*DISTRIBUTIONS, *RATES, *SHARES))}"


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate and what came of it. `state`: held, failed, no_data (which counts as failed) or inconclusive: the estimate
    passes the threshold, and chance explains it as well."""

    gate: Gate
    state: str
    note: str

    def __str__(self) -> str:
        return f"{self.gate.text}: {self.state.replace('_', ' ')}" + (f"; {self.note}" if self.note else "")


def failed(results: Sequence[GateResult]) -> bool:
    """Whether any gate fails the build."""
    return any(result.state in ("failed", "no_data") for result in results)


def undecided(results: Sequence[GateResult]) -> bool:
    """Whether any gate can be told neither way."""
    return any(result.state == "inconclusive" for result in results)


def deciding_n(n: int, estimate: float, low: float, high: float) -> int | None:
    """How many requests a side would tell a difference of this size from none: intervals shrink with the root of n.

    `None` when the interval is open or there is no difference.
    """
    width = estimate - low if estimate > 0 else high - estimate
    if not estimate or not math.isfinite(width):
        return None
    needed = n * (width / abs(estimate)) ** 2
    step: int = 10 ** max(0, math.floor(math.log10(max(needed, 1.0))) - 1)
    return math.ceil(needed / step) * int(step)


def describe_threshold(gate: Gate, unit: str) -> str:
    """`10 %` or `50 ms`."""
    unit = "points" if unit == "%" else unit
    return f"{format_number(gate.threshold)} " + ("%" if gate.relative else unit)
