"""What a report is made of: counts, distributions with their uncertainty, and groups of both.

Percentiles are exact, from the values themselves, by linear interpolation between order statistics. The 95 %
interval of a percentile is the order-statistic interval: the narrowest pair of ranks, symmetric in probability, for
which a binomial count says that the percentile of the source lies between them (David and Nagaraja, Order
Statistics, 7.1). It assumes independent requests and nothing about their distribution. The interval of a mean is
mean +- 1.96 standard errors, given from 30 values on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenswarm.metrics.samples import carries

Values = npt.NDArray[Any]

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
LOW_PERCENTILES = (1.0, 5.0, 50.0)
"""For metrics of which more is better, the bad end is the low one."""
MEAN_INTERVAL_FROM = 30


@dataclass(frozen=True, slots=True)
class Estimate:
    """One figure with its 95 % interval.

    `value` is `None` when the sample cannot carry it. `low` or `high` is `None` when the sample cannot bound that
    side: the p99 of 100 values has no upper bound.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Distribution:
    """How one metric is spread over a population of `n` requests. `percentiles` is keyed `p50`, `p95`, `p99.9`."""

    metric: str
    n: int = 0
    avg: Estimate = field(default_factory=Estimate)
    min: float | None = None
    max: float | None = None
    percentiles: Mapping[str, Estimate] = field(default_factory=dict)

    def percentile(self, key: str) -> Estimate:
        """The percentile `p95`; an empty estimate when it was not computed."""
        return self.percentiles.get(key, Estimate())


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Requests by how they ended. sent = ok + failed + throttled + cancelled + aborted; dropped ones were never sent.

    A source that cannot tell one of them has `None` there.
    """

    sent: int = 0
    ok: int = 0
    failed: int = 0
    throttled: int | None = 0
    cancelled: int | None = 0
    aborted: int | None = 0
    dropped: int | None = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """Sent requests that were waited for: what shares of failed and throttled ones are of."""
        return self.sent - (self.cancelled or 0) - (self.aborted or 0)


@dataclass(frozen=True, slots=True)
class Group:
    """All figures of one population: the run, one request name, one turn.

    `values` and `distributions` are keyed by the names of the metrics table; what could not be observed is absent
    from `distributions` and `None` in `values`.
    """

    key: str
    counts: Counts
    values: Mapping[str, float | None] = field(default_factory=dict)
    distributions: Mapping[str, Distribution] = field(default_factory=dict)

    def distribution(self, metric: str) -> Distribution:
        """The distribution of `metric`, empty (n = 0) when it was not observed."""
        return self.distributions.get(metric, Distribution(metric))


def interpolate(ordered: Values, percent: float) -> float:
    """Percentile of ascending, non-empty `ordered` by linear interpolation (numpy's default method)."""
    position = (len(ordered) - 1) * (percent / 100.0)
    below = math.floor(position)
    share = position - below
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1.0 - share)


@lru_cache(maxsize=4096)
def interval_ranks(n: int, percent: float, confidence: float = 0.95) -> tuple[int | None, int | None]:
    """Ranks (from 1) of the order statistics that enclose the percentile with at least `confidence`.

    `None` for a side that no rank bounds. Of n draws, Binomial(n, p) lie below the percentile: the lower rank is the
    greatest l with P(count < l) <= (1 - confidence) / 2, the upper one the smallest u with P(count >= u) <= the same.
    """
    tail = (1.0 - confidence) / 2.0
    share = percent / 100.0
    spread = math.sqrt(n * share * (1.0 - share))
    first = max(0, math.floor(n * share - 8.0 * spread - 8.0))
    last = min(n, math.ceil(n * share + 8.0 * spread + 8.0))
    below = np.cumsum(_binomial(n, share, first, last))
    low = first + int(np.searchsorted(below, tail, side="right"))
    high = min(first + int(np.searchsorted(below, 1.0 - tail, side="left")), last) + 1
    return (low if low >= 1 else None, high if high <= n else None)


def percentile_estimate(ordered: Values, percent: float) -> Estimate:
    """A percentile of ascending values with its order-statistic interval; empty when not carried."""
    n = len(ordered)
    if not carries(n, percent):
        return Estimate()
    low, high = interval_ranks(n, percent)
    return Estimate(
        interpolate(ordered, percent),
        None if low is None else float(ordered[low - 1]),
        None if high is None else float(ordered[high - 1]),
    )


def mean_estimate(values: Values) -> Estimate:
    """Mean with its normal 95 % interval; sums are taken in double precision whatever the values are held in."""
    n = len(values)
    if n == 0:
        return Estimate()
    mean = float(np.mean(values, dtype=np.float64))
    if n < MEAN_INTERVAL_FROM:
        return Estimate(mean)
    margin = 1.96 * float(np.std(values, ddof=1, dtype=np.float64)) / math.sqrt(n)
    return Estimate(mean, mean - margin, mean + margin)


def distribution(metric: str, values: Values, low_is_bad: bool = False) -> Distribution:
    """Distribution of `values`, absent ones (NaN) left out. Sorts a copy, so it needs as much memory again."""
    ordered = np.sort(values[~np.isnan(values)])
    if not len(ordered):
        return Distribution(metric)
    percents = LOW_PERCENTILES if low_is_bad else PERCENTILES
    return Distribution(
        metric,
        len(ordered),
        mean_estimate(ordered),
        float(ordered[0]),
        float(ordered[-1]),
        {f"p{percent:g}": percentile_estimate(ordered, percent) for percent in percents},
    )


def _binomial(n: int, share: float, first: int, last: int) -> Values:
    """Binomial(n, share) probabilities of the counts from `first` to `last`, by logarithms from one to the next."""
    counts = np.arange(first, last + 1, dtype=np.float64)
    start = math.lgamma(n + 1) - math.lgamma(first + 1) - math.lgamma(n - first + 1)
    ratios = np.log((n - counts[:-1]) / (counts[:-1] + 1.0))
    ways = start + np.concatenate(([0.0], np.cumsum(ratios)))
    return np.exp(ways + counts * math.log(share) + (n - counts) * math.log1p(-share))


def percentage(part: float, base: float) -> float | None:
    """`part` of `base` in percent; `None` of nothing."""
    return 100.0 * part / base if base > 0 else None


def per_minute(amount: float, seconds: float) -> float | None:
    """A rate per minute; `None` over no time."""
    return amount / seconds * 60.0 if seconds > 0 else None


def finite(value: Any) -> float | None:
    """A number as somebody wrote it down; `None` for what is none, or not finite."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def given_group(
    key: str,
    sent: int,
    bad: int,
    throttled: int | None,
    values: Mapping[str, float | None],
    found: Iterable[Distribution],
) -> Group:
    """A population as another tool counted it: `bad` ones include the throttled, `None` where it cannot tell them."""
    failed = max(0, bad - (throttled or 0))
    counted: dict[str, float | None] = {
        "requests": float(sent),
        "ok": float(sent - bad),
        "failed": float(failed),
        "throttled": None if throttled is None else float(throttled),
        "error_pct": percentage(failed, sent),
        "throttled_pct": None if throttled is None else percentage(throttled, sent),
    }
    counts = Counts(
        sent=sent, ok=sent - bad, failed=failed, throttled=throttled, cancelled=None, aborted=None, dropped=None
    )
    return Group(key, counts, counted | dict(values), {item.metric: item for item in found})
