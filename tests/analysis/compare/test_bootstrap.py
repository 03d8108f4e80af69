from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare.bootstrap import (
    EXACT_ROWS,
    Interval,
    Sample,
    block_rates,
    inflation,
    mean_difference,
    percentile_difference,
    share_difference,
    t_quantile,
    wilson,
)

SIMULATIONS = 400


def lognormal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.lognormal(6.0, 0.6, n)


def bimodal(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.08, rng.normal(5000, 300, n), rng.normal(900, 100, n))


def false_alarms(difference: Callable[[np.random.Generator], Interval | None]) -> float:
    rng = np.random.default_rng(20260708)
    found = [difference(rng) for _ in range(SIMULATIONS)]
    assert None not in found
    return sum(interval.excludes_zero for interval in found if interval) / SIMULATIONS


@pytest.mark.parametrize("draw", [lognormal, bimodal])
@pytest.mark.parametrize(("n", "m", "p"), [(20, 20, 95), (25, 60, 95), (20, 400, 95), (30, 30, 50), (100, 100, 99)])
def test_percentiles_of_one_distribution_are_rarely_called_different(draw, n, m, p):
    assert (
        false_alarms(lambda rng: percentile_difference(Sample.of(draw(rng, n)), Sample.of(draw(rng, m)), p, rng))
        <= 0.06
    )


@pytest.mark.parametrize("draw", [lognormal, bimodal])
@pytest.mark.parametrize(("n", "m"), [(8, 8), (12, 40)])
def test_means_of_one_distribution_are_rarely_called_different(draw, n, m):
    assert false_alarms(lambda rng: mean_difference(Sample.of(draw(rng, n)), Sample.of(draw(rng, m)), rng)) <= 0.06


@pytest.mark.parametrize(("share", "n", "m"), [(0.02, 50, 50), (0.1, 30, 200), (0.5, 20, 20)])
def test_shares_of_one_distribution_are_rarely_called_different(share, n, m):
    assert false_alarms(lambda rng: share_difference(rng.binomial(n, share), n, rng.binomial(m, share), m)) <= 0.06


@pytest.mark.parametrize("rpm", [4, 50])
def test_rates_of_one_poisson_process_are_rarely_called_different(rpm):
    def rates(rng: np.random.Generator) -> Sample:
        return Sample.of(block_rates(rng.uniform(0, 120, rng.poisson(rpm * 2)), 0, 120))

    assert false_alarms(lambda rng: mean_difference(rates(rng), rates(rng), rng)) <= 0.06


def test_a_real_difference_is_seen():
    rng = np.random.default_rng(1)
    slow = percentile_difference(Sample.of(lognormal(rng, 400)), Sample.of(1.5 * lognormal(rng, 400)), 95, rng)
    fast = mean_difference(Sample.of(lognormal(rng, 400)), Sample.of(0.7 * lognormal(rng, 400)), rng)
    assert slow and slow.low > 0
    assert fast and fast.high < 0


def test_percentile_interval_agrees_with_scipy_bootstrap():
    rng = np.random.default_rng(2)
    a, b = lognormal(rng, 150), 1.4 * lognormal(rng, 200)
    ours = percentile_difference(Sample.of(a), Sample.of(b), 90, rng)
    theirs = scipy.stats.bootstrap(
        (b, a),
        lambda x, y, axis: np.percentile(x, 90, axis=axis) - np.percentile(y, 90, axis=axis),
        method="percentile",
        n_resamples=2000,
        rng=rng,
    ).confidence_interval
    assert ours
    width = theirs.high - theirs.low
    assert ours.estimate == pytest.approx(np.percentile(b, 90) - np.percentile(a, 90))
    assert ours.low == pytest.approx(theirs.low, abs=0.1 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.1 * width)


def test_mean_interval_agrees_with_welch_for_normal_values():
    rng = np.random.default_rng(3)
    a, b = rng.normal(100, 10, 80), rng.normal(120, 20, 120)
    ours = mean_difference(Sample.of(a), Sample.of(b), rng)
    theirs = scipy.stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert ours
    assert ours.estimate == pytest.approx(b.mean() - a.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.7)
    assert ours.high == pytest.approx(theirs.high, abs=0.7)


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (3, 20), (199, 200)])
def test_wilson_agrees_with_scipy(hits, n):
    theirs = scipy.stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits / n, n) == pytest.approx((theirs.low, theirs.high))


def test_share_interval_of_newcombes_published_example():
    # Newcombe 1998, table II, example (a): 56/70 against 48/80, method 10: 0.0524 to 0.3339.
    interval = share_difference(48, 80, 56, 70)
    assert interval
    assert (interval.low, interval.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 10, 30, 200])
def test_t_quantile_agrees_with_scipy(freedom):
    assert t_quantile(0.975, freedom) == pytest.approx(scipy.stats.t.ppf(0.975, freedom), rel=5e-3)


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=60), st.sampled_from([1, 25, 50, 90, 95, 99, 99.9]))
def test_percentile_is_numpys(values, p):
    assert Sample.of(values).percentile(p) == pytest.approx(np.percentile(values, p), rel=1e-9)


def test_percentiles_of_a_thinned_sample_stay_exact():
    values = np.random.default_rng(4).lognormal(6, 0.6, 50_000)
    sample = Sample.of(values)
    assert len(sample.values) < EXACT_ROWS < sample.n
    for p in (50, 75, 90, 95, 99, 99.9):
        assert sample.percentile(p) == pytest.approx(np.percentile(values, p), rel=1e-12)


def test_thinning_hardly_moves_an_interval():
    rng = np.random.default_rng(5)
    a, b = lognormal(rng, 20_000), 1.02 * lognormal(rng, 20_000)
    thinned = percentile_difference(Sample.of(a), Sample.of(b), 99, np.random.default_rng(6))
    theirs = scipy.stats.bootstrap(
        (b, a),
        lambda x, y, axis: np.percentile(x, 99, axis=axis) - np.percentile(y, 99, axis=axis),
        method="percentile",
        n_resamples=300,
        batch=10,
        rng=rng,
    ).confidence_interval
    assert thinned
    width = theirs.high - theirs.low
    assert thinned.low == pytest.approx(theirs.low, abs=0.2 * width)
    assert thinned.high == pytest.approx(theirs.high, abs=0.2 * width)


def test_independent_rows_are_not_inflated():
    rng = np.random.default_rng(7)
    inflated = [inflation([lognormal(rng, 600)]) > 1 for _ in range(200)]
    assert sum(inflated) / len(inflated) <= 0.1


def test_a_drifting_run_counts_for_fewer_rows():
    rng = np.random.default_rng(8)
    drift = np.repeat(rng.normal(0, 1, 20), 50)
    sample = Sample.of(1000 * np.exp(0.5 * drift + 0.2 * rng.normal(0, 1, 1000)))
    assert sample.n == 1000
    assert sample.effective_n < 100


def test_repeats_that_differ_widen_the_interval():
    rng = np.random.default_rng(9)
    repeats = [shift + lognormal(rng, 200) for shift in (0, 150, 300)]
    again = [shift + lognormal(rng, 200) for shift in (50, 250, 350)]
    interval = mean_difference(Sample.of(*repeats), Sample.of(*again), rng)
    assert interval and not interval.excludes_zero
    assert Sample.of(*repeats).effective_n < 100


def test_equal_values_have_an_interval_without_width():
    rng = np.random.default_rng(10)
    assert mean_difference(Sample.of([5.0] * 9), Sample.of([5.0] * 9), rng) == Interval(0, 0, 0)
    assert percentile_difference(Sample.of([5.0] * 9), Sample.of([5.0] * 9), 50, rng) == Interval(0, 0, 0)


def test_nothing_observed_gives_no_interval():
    rng = np.random.default_rng(11)
    empty, some = Sample.of([]), Sample.of([1.0, 2.0])
    assert math.isnan(empty.percentile(50))
    assert percentile_difference(empty, some, 50, rng) is None
    assert mean_difference(some, empty, rng) is None
    assert mean_difference(some, Sample.of([1.0]), rng) is None
    assert share_difference(0, 0, 1, 2) is None


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_same_seed_same_interval(seed):
    a, b = Sample.of(lognormal(np.random.default_rng(1), 30)), Sample.of(lognormal(np.random.default_rng(2), 30))
    first = percentile_difference(a, b, 90, np.random.default_rng(seed))
    assert first == percentile_difference(a, b, 90, np.random.default_rng(seed))


def test_block_rates_are_per_minute_and_add_up():
    instants = np.arange(0.5, 60.0)
    rates = block_rates(instants, 0, 60)
    assert len(rates) == 30
    assert rates.mean() == pytest.approx(60)
    assert block_rates(instants, 0, 60, np.full(60, 10.0)).mean() == pytest.approx(600)
    assert len(block_rates(instants, 0, 4)) == 0
