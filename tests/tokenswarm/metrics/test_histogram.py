"""Sketches: percentiles within half a percent, sums exact, and adding up is the same as having seen all values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.metrics.histogram import RELATIVE_ERROR, Sketch
from tokenswarm.metrics.samples import percentile

VALUES = st.lists(st.floats(0.01, 1e7), min_size=1, max_size=300)


def sketch_of(values: list[float]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(VALUES)
def test_percentiles_are_within_the_stated_error(values: list[float]) -> None:
    sketch = sketch_of(values)
    for p, least in ((50, 2), (95, 20), (99, 100)):
        exact, found = percentile(values, p), sketch.percentile(p)
        assert (found is None) == (len(values) < least)
        if found is not None and exact is not None:
            assert found == pytest.approx(exact, rel=RELATIVE_ERROR * 1.0001)
    assert sketch.mean == pytest.approx(sum(values) / len(values))


@given(VALUES, VALUES)
def test_merged_is_seen_together_and_taken_out_is_not_seen(first: list[float], second: list[float]) -> None:
    both, merged = sketch_of(first + second), sketch_of(first)
    merged.merge(sketch_of(second))
    assert merged.n == both.n
    assert merged.percentile(50) == both.percentile(50)
    merged.merge(sketch_of(second), -1)
    assert merged.n == len(first)
    assert merged.percentile(50) == sketch_of(first).percentile(50)
    assert merged.largest == sketch_of(first).largest


def test_nothing_has_no_figures() -> None:
    empty = Sketch()
    assert (empty.n, empty.mean, empty.percentile(50), empty.largest) == (0, None, None, None)
    gone = sketch_of([3.0, 4.0])
    gone.merge(sketch_of([3.0, 4.0]), -1)
    assert (gone.n, gone.mean, gone.percentile(50)) == (0, None, None)


def test_zero_is_a_value() -> None:
    assert sketch_of([0.0, 0.0]).percentile(50) == pytest.approx(0.001, rel=RELATIVE_ERROR)
