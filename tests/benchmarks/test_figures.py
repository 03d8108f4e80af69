from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import chunks_between, markdown_table, peak_streams, percentile, true_figures
from benchmarks.process_tree import Sample, cpu_between
from tests.known_target import answered


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 100))
def test_percentile_is_numpys(values: list[float], p: float) -> None:
    assert percentile(values, p) == pytest.approx(float(numpy.percentile(values, p)), rel=1e-9, abs=1e-6)


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_true_figures_by_hand() -> None:
    rows = [answered(100.0, 100.2, 100.38), answered(101.0, 101.3, 101.48), {**answered(0, 0, 0), "outcome": "cut"}]
    true = true_figures(rows)
    assert (true.requests, true.tokens) == (2, 20)
    assert true.ttft_mean_ms == pytest.approx(250.0)
    assert true.tbt_mean_ms == pytest.approx(20.0)
    assert true.e2e_p95_ms == pytest.approx(380.0 + 0.95 * 100.0)
    assert (true.first_at, true.last_at) == (100.0, pytest.approx(101.4801))


def test_tokens_that_share_chunks_keep_the_time_per_token() -> None:
    # 12 tokens in 3 chunks, one chunk every 80 ms: 20 ms a token.
    true = true_figures([answered(0.5, 0.7, 0.86, chunks=3, tokens=12)])
    assert true.tbt_mean_ms == pytest.approx(20.0)


def test_the_truth_of_no_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="answered no streamed request"):
        true_figures([])


def test_chunks_between_counts_the_part_inside() -> None:
    rows = [answered(0.0, 1.0, 3.0, chunks=20), {"first_token_at": None}]
    assert chunks_between(rows, 0.0, 10.0) == 20
    assert chunks_between(rows, 2.0, 2.5) == 5
    assert chunks_between(rows, 4.0, 5.0) == 0
    assert chunks_between([answered(0.0, 1.0, 1.0, chunks=1)], 0.5, 1.5) == 1


def test_peak_streams() -> None:
    rows = [answered(0.0, 0.5, 1.0), answered(0.6, 0.8, 2.0), answered(1.5, 1.6, 1.7), answered(3.0, 3.1, 3.2)]
    assert peak_streams(rows) == 2


def test_cpu_between_takes_the_samples_inside() -> None:
    samples = [Sample(float(second), second * 0.5, 0, 1) for second in range(10)]
    assert cpu_between(samples, 1.5, 6.5) == (2.0, 4.0)
    with pytest.raises(ValueError, match="fewer than two samples"):
        cpu_between(samples, 1.5, 2.5)


def test_markdown_table() -> None:
    table = markdown_table([{"tool": "a", "err ms": 0.01234, "n": 3}, {"tool": "b", "err ms": None, "n": 1234}])
    assert table.splitlines() == ["| tool | err ms | n |", "|---|---|---|", "| a | 0.0123 | 3 |", "| b | – | 1234 |"]
