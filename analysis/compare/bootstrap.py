"""Intervals for the difference between two samples: percentiles, means, shares and rates.

Percentiles use the bootstrap distribution of an order statistic, which needs no resampling: the level reached by the
p-quantile of a resample of n is Beta((n-1)p + 1, (n-1)(1-p) + 1), so one draw is one look-up in the sorted sample and
a million rows cost what a hundred do. That bootstrap cannot see past the largest observation; with few rows beyond
the percentile, or with sides of very different size, it claims differences that are not there. So a second bootstrap
draws both sides from the pooled sample (what would be seen if nothing differed) and an interval that excludes zero is
stretched to zero unless this one agrees.

Means and rates use the studentised bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 12.5), shares
Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10), which is defined at 0 and 100 %.

Requests of one run are not independent when the service drifts. `inflation` measures by how much the variance of
block means exceeds that of independent rows; a `Sample` counts for n / inflation rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 2000
BLOCKS = 20
MIN_BLOCK = 5
EXACT_ROWS = 5000
"""Above this many rows a sample is kept as a grid of its quantiles and a mean's interval is the normal one."""
KEPT_PERCENTILES = (50.0, 75.0, 90.0, 95.0, 96.0, 97.0, 98.0, 99.0, 99.9, 99.99)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimated difference (B less A) and the interval that holds the true one with the asked confidence."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """True when the difference is distinguishable from none."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One side's values of one metric: sorted values at their levels, and for how many independent rows they count."""

    n: int
    levels: Floats
    values: Floats
    mean: float
    deviation: float
    inflation: float = 1.0

    @classmethod
    def of(cls, *runs: Sequence[float] | Floats) -> Sample:
        """From one array of values per run, each in order of time; values that are not finite are left out."""
        arrays = [np.asarray(run, dtype=np.float64) for run in runs]
        arrays = [array[np.isfinite(array)] for array in arrays]
        values = np.sort(np.concatenate(arrays)) if arrays else np.empty(0)
        n = len(values)
        kept = np.arange(n) if n <= EXACT_ROWS else _kept(n)
        return cls(
            n=n,
            levels=(kept + 0.5) / max(n, 1),
            values=values[kept],
            mean=float(values.mean()) if n else math.nan,
            deviation=float(values.std(ddof=1)) if n > 1 else math.nan,
            inflation=inflation(arrays),
        )

    @property
    def effective_n(self) -> float:
        """Number of independent rows that would tell as much; n when no drift or correlation is seen."""
        return self.n / self.inflation

    def percentile(self, p: float) -> float:
        """The p-th percentile (0-100) with linear interpolation between order statistics; NaN when empty."""
        if not self.n:
            return math.nan
        return float(self.at(np.array([((self.n - 1) * p / 100 + 0.5) / self.n]))[0])

    def at(self, levels: Floats) -> Floats:
        """The quantile function at some levels (0-1), interpolated, never past the observed extremes."""
        return np.interp(levels, self.levels, self.values)

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
        """Values drawn with replacement."""
        if len(self.values) == self.n:
            return self.values[rng.integers(0, self.n, shape)]
        return self.at(rng.random(shape))


def _kept(n: int) -> NDArray[np.int64]:
    """Positions that stand for n sorted rows: even ones, more and more of them towards both ends, exact percentiles."""
    even = np.linspace(0, n - 1, 3000)
    tail = np.geomspace(1, n, 1000) - 1
    exact = np.array([(n - 1) * p / 100 for p in KEPT_PERCENTILES])
    positions = np.concatenate(
        [np.round(even), np.round(tail), np.round(n - 1 - tail), np.floor(exact), np.ceil(exact)]
    )
    return np.unique(positions.astype(np.int64))


def inflation(runs: Sequence[Floats]) -> float:
    """How many times the variance of a mean of ranks exceeds that of independent rows, at least 1.

    The greater of two causes: consecutive rows that resemble each other (about 20 blocks of at least 5 rows a run)
    and repeats that differ from each other (weighed by t, as a few repeats tell little). An excess that chance
    explains (5 %) counts as none. Ranks keep one outlier from deciding.
    """
    ranked = _ranked([run for run in runs if len(run)])
    variance = float(np.concatenate(ranked).var()) if ranked else 0.0
    if variance == 0:
        return 1.0
    return max(1.0, _excess_in_time(ranked, variance), _excess_between(ranked, variance))


def _ranked(runs: Sequence[Floats]) -> list[Floats]:
    if not runs:
        return []
    values = np.concatenate(list(runs))
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return np.split(ranks, np.cumsum([len(run) for run in runs])[:-1])


def _excess_in_time(ranked: Sequence[Floats], variance: float) -> float:
    squares, freedom = 0.0, 0
    for run in ranked:
        size = max(MIN_BLOCK, len(run) // BLOCKS)
        blocks = len(run) // size
        if blocks < 4:
            continue
        means = run[: blocks * size].reshape(blocks, size).mean(axis=1)
        squares += size * float(((means - means.mean()) ** 2).sum())
        freedom += blocks - 1
    return _beyond_chance(squares / freedom / variance, freedom) if freedom else 1.0


def _excess_between(ranked: Sequence[Floats], variance: float) -> float:
    if len(ranked) < 2:
        return 1.0
    overall = float(np.concatenate(list(ranked)).mean())
    freedom = len(ranked) - 1
    squares = sum(len(run) * (float(run.mean()) - overall) ** 2 for run in ranked)
    excess = _beyond_chance(squares / freedom / variance, freedom)
    return excess if excess == 1.0 else excess * (t_quantile(0.975, freedom) / t_quantile(0.975, math.inf)) ** 2


def _beyond_chance(ratio: float, freedom: int) -> float:
    """The ratio when it passes the 95th percentile of chi-squared / freedom (Wilson and Hilferty), else 1."""
    limit = (1 - 2 / (9 * freedom) + NormalDist().inv_cdf(0.95) * math.sqrt(2 / (9 * freedom))) ** 3
    return ratio if ratio > limit else 1.0


def t_quantile(probability: float, freedom: float) -> float:
    """Quantile of Student's t; exact at 1 and 2 degrees, else the Cornish-Fisher series (Abramowitz 26.7.5)."""
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        doubled = 2 * probability - 1
        return doubled * math.sqrt(2 / (1 - doubled**2))
    z = NormalDist().inv_cdf(probability)
    if math.isinf(freedom):
        return z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))


def percentile_difference(
    a: Sample, b: Sample, p: float, rng: np.random.Generator, confidence: float = 0.95
) -> Interval | None:
    """Interval of percentile p of b less that of a; `None` when a side has no rows."""
    if not a.n or not b.n:
        return None
    estimate = b.percentile(p) - a.percentile(p)
    low, high = _middle(b.at(_draw_levels(b, p, rng)) - a.at(_draw_levels(a, p, rng)), confidence)
    interval = Interval(estimate, min(low, estimate), max(high, estimate))
    if interval.excludes_zero and _fits_no_difference(a, b, p, estimate, rng, confidence):
        return Interval(estimate, min(interval.low, 0.0), max(interval.high, 0.0))
    return interval


def _draw_levels(sample: Sample, p: float, rng: np.random.Generator) -> Floats:
    """Levels of a sample that the p-th percentile of its resamples takes."""
    steps = max(sample.effective_n - 1, 0.0)
    return rng.beta(steps * p / 100 + 1, steps * (1 - p / 100) + 1, DRAWS)


def _fits_no_difference(
    a: Sample, b: Sample, p: float, estimate: float, rng: np.random.Generator, confidence: float
) -> bool:
    """Whether two draws from the pooled sample would often enough differ as much."""
    pooled = _pooled(a, b)
    null = pooled.at(_draw_levels(b, p, rng)) - pooled.at(_draw_levels(a, p, rng))
    low, high = _middle(null, confidence)
    return low <= estimate <= high


def _pooled(a: Sample, b: Sample) -> Sample:
    values = np.concatenate([a.values, b.values])
    order = np.argsort(values, kind="stable")
    weights = np.concatenate([_masses(a), _masses(b)])[order]
    n = a.n + b.n
    mean = (a.n * a.mean + b.n * b.mean) / n
    squares = sum(side.n * (_variance(side) + (side.mean - mean) ** 2) for side in (a, b))
    levels = (np.cumsum(weights) - weights / 2) / weights.sum()
    return Sample(n, levels, values[order], mean, math.sqrt(squares / n))


def _variance(sample: Sample) -> float:
    return sample.deviation**2 if sample.n > 1 else 0.0


def _masses(sample: Sample) -> Floats:
    """Rows that each kept value stands for."""
    edges = np.concatenate([[0.0], (sample.levels[1:] + sample.levels[:-1]) / 2, [1.0]])
    return np.diff(edges) * sample.n


def mean_difference(a: Sample, b: Sample, rng: np.random.Generator, confidence: float = 0.95) -> Interval | None:
    """Interval of the mean of b less that of a; `None` below 2 rows on a side."""
    if a.n < 2 or b.n < 2:
        return None
    estimate = b.mean - a.mean
    error = math.hypot(_standard_error(a), _standard_error(b))
    if error == 0:
        return Interval(estimate, estimate, estimate)
    low, high = _middle(_studentised(a, b, rng), confidence)
    interval = Interval(estimate, min(estimate, estimate - high * error), max(estimate, estimate - low * error))
    if interval.excludes_zero and _mean_fits_no_difference(a, b, estimate, rng, confidence):
        return Interval(estimate, min(interval.low, 0.0), max(interval.high, 0.0))
    return interval


def _standard_error(sample: Sample) -> float:
    return sample.deviation / math.sqrt(sample.effective_n)


def _studentised(a: Sample, b: Sample, rng: np.random.Generator) -> Floats:
    """Draws of (resampled difference - difference) / its own standard error."""
    (a_shift, a_variance), (b_shift, b_variance) = _mean_draws(a, a, rng), _mean_draws(b, b, rng)
    shift = b_shift - a_shift
    # Resamples of equal values have no error to divide by: endlessly far off, unless they are not off at all.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(shift == 0, 0.0, shift / np.sqrt(a_variance + b_variance))


def _mean_fits_no_difference(
    a: Sample, b: Sample, estimate: float, rng: np.random.Generator, confidence: float
) -> bool:
    pooled = _pooled(a, b)
    null = _mean_draws(pooled, b, rng)[0] - _mean_draws(pooled, a, rng)[0]
    low, high = _middle(null, confidence)
    return low <= estimate <= high


def _mean_draws(source: Sample, like: Sample, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Means of resamples of a source, as many rows as the other sample counts, less the source's mean; and the
    squared standard error of each."""
    if like.n > EXACT_ROWS:
        error = source.deviation / math.sqrt(like.effective_n)
        return rng.normal(0.0, error, DRAWS), np.full(DRAWS, error**2)
    shifts, variances = np.empty(DRAWS), np.empty(DRAWS)
    step = max(1, 1_000_000 // like.n)
    for start in range(0, DRAWS, step):
        rows = min(step, DRAWS - start)
        resamples = source.draw((rows, like.n), rng)
        shifts[start : start + rows] = (resamples.mean(axis=1) - source.mean) * math.sqrt(like.inflation)
        variances[start : start + rows] = resamples.var(axis=1, ddof=1) / like.effective_n
    return shifts, variances


def share_difference(a_hits: float, a_n: float, b_hits: float, b_n: float, confidence: float = 0.95) -> Interval | None:
    """Interval of the share b_hits / b_n less a_hits / a_n (0-1); `None` when a side has no rows."""
    if not a_n or not b_n:
        return None
    a_share, b_share = a_hits / a_n, b_hits / b_n
    (a_low, a_high), (b_low, b_high) = wilson(a_share, a_n, confidence), wilson(b_share, b_n, confidence)
    estimate = b_share - a_share
    low = estimate - math.hypot(b_share - b_low, a_high - a_share)
    high = estimate + math.hypot(b_high - b_share, a_share - a_low)
    return Interval(estimate, max(low, -1.0), min(high, 1.0))


def wilson(share: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (0-1) seen in n rows; n may be an effective number."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def block_rates(instants: Floats, start: float, end: float, weights: Floats | None = None) -> Floats:
    """Rates per minute in equal blocks of a window (Unix s): the rows whose differences tell how sure a rate is.

    About 30 blocks, none shorter than 1 s; empty when the window is shorter than 5 s.
    """
    length = end - start
    if length < 5:
        return np.empty(0)
    blocks = min(30, int(length))
    sums, _ = np.histogram(instants, bins=blocks, range=(start, end), weights=weights)
    return sums.astype(np.float64) * (60.0 * blocks / length)


def _middle(draws: Floats, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    # Never between two draws: one of them may be infinite.
    low, high = np.quantile(draws, [tail, 1 - tail], method="nearest")
    return float(low), float(high)
