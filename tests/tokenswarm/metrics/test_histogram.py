"""Histograms: percentiles within half a percent, sums exact, and adding up is the same as having seen all values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.metrics.histogram import RELATIVE_ERROR, Histogram
from tokenswarm.metrics.samples import percentile

VALUES = st.lists(st.floats(0.01, 1e7), min_size=1, max_size=300)


def histogram_of(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(VALUES)
def test_percentiles_are_within_the_stated_error(values: list[float]) -> None:
    histogram = histogram_of(values)
    for p, least in ((50, 2), (95, 20), (99, 100)):
        exact, found = percentile(values, p), histogram.percentile(p)
        assert (found is None) == (len(values) < least)
        if found is not None and exact is not None:
            assert found == pytest.approx(exact, rel=RELATIVE_ERROR * 1.0001)
    assert histogram.mean == pytest.approx(sum(values) / len(values))


@given(VALUES, VALUES)
def test_merged_is_seen_together_and_taken_out_is_not_seen(first: list[float], second: list[float]) -> None:
    both, merged = histogram_of(first + second), histogram_of(first)
    merged.merge(histogram_of(second))
    assert merged.n == both.n
    assert merged.percentile(50) == both.percentile(50)
    merged.merge(histogram_of(second), -1)
    assert merged.n == len(first)
    assert merged.percentile(50) == histogram_of(first).percentile(50)


def test_nothing_has_no_figures() -> None:
    empty = Histogram()
    assert (empty.n, empty.mean, empty.percentile(50)) == (0, None, None)
    gone = histogram_of([3.0, 4.0])
    gone.merge(histogram_of([3.0, 4.0]), -1)
    assert (gone.n, gone.mean, gone.percentile(50)) == (0, None, None)


def test_zero_is_a_value() -> None:
    assert histogram_of([0.0, 0.0]).percentile(50) == pytest.approx(0.001, rel=RELATIVE_ERROR)
