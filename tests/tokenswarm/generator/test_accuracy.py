from __future__ import annotations

from typing import Any

import pytest

from tokenswarm.generator.accuracy import Accuracy, chunks_between, compare, read_truth
from tokenswarm.record import Outcome, RequestRecord


def line(name: str, **changes: Any) -> dict[str, Any]:
    """A request that arrived at 1000 s, with 11 tokens from 200 ms on, one every 20 ms."""
    return {
        "client_request_id": name,
        "outcome": "ok",
        "stream": True,
        "arrived_at": 1000.0,
        "received_at": 1000.004,
        "first_token_at": 1000.2,
        "last_token_at": 1000.4,
        "completion_tokens": 11,
        "chunks": 11,
        **changes,
    }


def record(call: str, **changes: Any) -> RequestRecord:
    measured: dict[str, Any] = {"ttft_ms": 200.0, "tbt_ms": 20.0, "e2e_ms": 400.0, "completion_tokens": 11}
    return RequestRecord(call_id=call, outcome=Outcome.OK, **{**measured, "read_lag_ms": 0.1, **changes})


def test_a_right_measurement_has_no_error() -> None:
    found = compare([record("a"), record("b")], read_truth([line("a-1"), line("b-1")]))
    assert (found.requests, found.unmatched, found.tokens_wrong) == (2, 0, 0)
    assert found.ttft_p95_ms == pytest.approx(0.0, abs=1e-6)
    assert found.tbt_mean_ms == pytest.approx(0.0, abs=1e-6)
    assert found.e2e_p95_ms == pytest.approx(0.0, abs=1e-6)
    assert found.accurate


def test_requests_are_matched_one_by_one_not_as_distributions() -> None:
    # Both distributions are {200, 300}; each request is wrong by 100.
    truths = read_truth([line("a-1"), line("b-1", first_token_at=1000.3)])
    found = compare([record("a", ttft_ms=300.0), record("b", ttft_ms=200.0)], truths)
    assert found.ttft_p95_ms == pytest.approx(100.0)
    assert not found.accurate


def test_the_truth_starts_when_the_request_was_read_where_arrival_is_unknown() -> None:
    assert read_truth([line("a-1", arrived_at=None)])["a-1"].ttft_ms == pytest.approx(196.0)


def test_a_retry_is_matched_by_its_attempt() -> None:
    found = compare([record("a", attempt=2)], read_truth([line("a-1", first_token_at=1000.1), line("a-2")]))
    assert (found.requests, found.ttft_p95_ms) == (1, pytest.approx(0.0, abs=1e-6))


def test_several_tokens_in_a_chunk_keep_the_time_per_token() -> None:
    truths = read_truth([line("a-1", chunks=3, completion_tokens=12, first_token_at=1000.2, last_token_at=1000.36)])
    assert truths["a-1"].tbt_ms == pytest.approx(20.0)


@pytest.mark.parametrize(
    "changes",
    [{"completion_tokens": 12}, {"completion_tokens": None}, {"tbt_ms": 20.2}, {"e2e_ms": 406.0}, {"ttft_ms": 194.0}],
)
def test_each_kind_of_error_makes_figures_inaccurate(changes: dict[str, Any]) -> None:
    assert not compare([record("a", **changes)], read_truth([line("a-1")])).accurate


def test_an_answer_that_the_target_does_not_know_is_counted() -> None:
    found = compare([record("a"), record("z")], read_truth([line("a-1")]))
    assert (found.requests, found.unmatched, found.accurate) == (1, 1, False)


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(ValueError, match="none of 1 answered requests"):
        compare([record("a")], read_truth([line("b-1"), line("c-1", outcome="client_gone")]))


def test_failed_requests_have_no_error_to_speak_of() -> None:
    failed = RequestRecord(call_id="b", outcome=Outcome.TIMEOUT)
    assert compare([record("a"), failed], read_truth([line("a-1")])).requests == 1


def test_an_answer_without_latencies_is_refused() -> None:
    with pytest.raises(ValueError, match="a-1: outcome ok without"):
        compare([record("a", ttft_ms=None)], read_truth([line("a-1")]))


def test_chunks_between() -> None:
    truths = read_truth([line("a-1")]).values()
    assert chunks_between(truths, 1000.0, 1001.0) == 11
    assert chunks_between(truths, 1000.3, 1001.0) == pytest.approx(5.5)


def test_limits_are_exclusive() -> None:
    at_limit = Accuracy(100, 0, 5.0, 5.0, 0.0, 1.0, 0, 0.1)
    assert not at_limit.accurate
