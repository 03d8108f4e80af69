from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from analysis.statistics import distribution, interpolate, interval_ranks, mean_estimate, percentile_estimate
from tokenswarm.metrics.samples import carries, percentile

FLOATS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


@given(FLOATS, st.floats(0.1, 99.9))
def test_percentile_is_numpys_and_the_criterias(values: list[float], percent: float) -> None:
    ordered = np.sort(np.array(values))
    ours = interpolate(ordered, percent)
    assert ours == pytest.approx(float(np.percentile(ordered, percent)), rel=1e-12, abs=1e-9)
    assert ours == percentile(values, percent)


@pytest.mark.parametrize(
    ("percent", "needed"), [(50, 2), (90, 10), (95, 20), (99, 100), (99.9, 1000), (5, 20), (1, 100)]
)
def test_a_percentile_is_carried_from_as_many_values_as_one_lies_beyond_it(percent: float, needed: int) -> None:
    assert carries(needed, percent)
    assert not carries(needed - 1, percent)


@given(st.integers(2, 20_000), st.sampled_from([1.0, 5.0, 50.0, 90.0, 95.0, 99.0, 99.9]))
def test_interval_ranks_are_those_of_the_binomial_distribution(n: int, percent: float) -> None:
    low, high = interval_ranks(n, percent)
    count = scipy.stats.binom(n, percent / 100)
    if low is not None:
        assert count.cdf(low - 1) <= 0.025 * (1 + 1e-6)
    # one rank further in would leave too much outside
    assert count.cdf(low or 0) > 0.025 * (1 - 1e-6)
    if high is not None:
        assert count.sf(high - 1) <= 0.025 * (1 + 1e-6)
        assert count.sf(high - 2) > 0.025 * (1 - 1e-6)
    else:
        assert count.sf(n - 1) > 0.025 * (1 - 1e-6)


def test_interval_of_a_median_of_ten_is_the_textbooks() -> None:
    # Sign-test tables: ranks 2 and 9 of 10 enclose the median with 97.9 %; 3 and 8 only with 89.1 %.
    assert interval_ranks(10, 50.0) == (2, 9)


def test_p99_of_a_hundred_values_has_no_upper_bound() -> None:
    estimate = percentile_estimate(np.arange(1.0, 101.0), 99.0)
    assert estimate.value == pytest.approx(99.01)
    assert estimate.high is None
    assert estimate.low is not None


def test_interval_holds_the_true_percentile_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    true = scipy.stats.expon.ppf(0.95)
    held = 0
    for _ in range(1000):
        estimate = percentile_estimate(np.sort(rng.exponential(size=400)), 95.0)
        assert estimate.low is not None and estimate.high is not None
        held += estimate.low <= true <= estimate.high
    # At least 95 %; three standard deviations of 1000 trials are 2 %.
    assert 930 <= held <= 995


def test_interval_ranks_of_ten_million_draws() -> None:
    low, high = interval_ranks(10_000_000, 95.0)
    half = 1.96 * math.sqrt(10_000_000 * 0.95 * 0.05)
    assert low == pytest.approx(9_500_000 - half, abs=3)
    assert high == pytest.approx(9_500_000 + half, abs=3)


def test_mean_and_its_interval() -> None:
    # 50 times 1 and 50 times 3: mean 2, standard deviation sqrt(100 / 99), so 1.96 * 0.1005 = 0.19699.
    estimate = mean_estimate(np.array([1.0, 3.0] * 50))
    assert estimate.value == 2.0
    assert estimate.low == pytest.approx(1.80301, abs=1e-5)
    assert estimate.high == pytest.approx(2.19699, abs=1e-5)
    assert mean_estimate(np.array([1.0, 3.0])).low is None


def test_single_precision_values_are_summed_in_double() -> None:
    # 2**24 + 1 does not exist in single precision: a running single-precision sum would stop growing.
    values = np.full(20_000_000, 1.0, np.float32)
    values[0] = 2.0
    assert mean_estimate(values).value == pytest.approx(1.00000005, abs=1e-12)


def test_distribution_leaves_absent_values_out_and_keeps_their_number_away_from_n() -> None:
    found = distribution("ttft_ms", np.array([3.0, np.nan, 1.0, 2.0]))
    assert (found.n, found.min, found.max, found.avg.value) == (3, 1.0, 3.0, 2.0)
    assert found.percentile("p50").value == 2.0
    assert found.percentile("p95").value is None
    assert distribution("ttft_ms", np.array([np.nan])).n == 0
