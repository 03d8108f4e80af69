from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.metrics.goodput import parse_goodput
from tokenswarm.metrics.samples import QUANTITIES, Samples, carries, percentile
from tokenswarm.record import Outcome, RequestRecord, TokenSource

MINUTE = 1_700_000_040  # start of a clock minute


def record(at: float = 0.0, **fields: Any) -> RequestRecord:
    values: dict[str, Any] = {"call_id": "c", "name": "chat", "outcome": Outcome.OK, "started_at": MINUTE + at}
    return RequestRecord(**{**values, "e2e_ms": 1000.0, **fields})


def dropped(at: float) -> RequestRecord:
    return record(outcome=Outcome.DROPPED, started_at=None, scheduled_at=MINUTE + at, e2e_ms=None, lag_ms=10_000.0)


@pytest.mark.parametrize(
    ("values", "p", "expected"),
    [([], 95, None), ([7.0], 95, 7.0), ([1.0, 2.0], 50, 1.5), ([4.0, 1.0, 3.0, 2.0], 25, 1.75)],
)
def test_percentile_by_hand(values: list[float], p: float, expected: float | None) -> None:
    assert percentile(values, p) == expected


# NumPy documents this example: of ten values that end in 180, 1000 the linear p95 is 631.
def test_percentile_interpolates_where_hdr_histograms_do_not() -> None:
    values = [100.0, 110, 120, 130, 140, 150, 160, 170, 180, 1000]
    assert percentile(values, 95) == pytest.approx(631.0)


@given(
    st.lists(st.floats(-1e9, 1e9, allow_nan=False), min_size=1, max_size=200),
    st.sampled_from([0, 5, 50, 75, 90, 95, 96, 99, 99.5, 99.9, 99.99, 100]),
)
def test_percentile_is_numpy_s_to_the_last_bit(values: list[float], p: float) -> None:
    assert percentile(values, p) == np.percentile(values, p)


@pytest.mark.parametrize(
    ("p", "n"), [(50, 2), (75, 4), (90, 10), (95, 20), (96, 25), (97, 34), (99, 100), (99.9, 1000), (99.99, 10_000)]
)
def test_a_percentile_is_carried_from_n_on(p: float, n: int) -> None:
    assert carries(n, p)
    assert not carries(n - 1, p)


def test_live_figures_are_of_what_ended_last() -> None:
    samples = Samples.from_records([record(at=0.0, e2e_ms=50_000.0), record(at=10.0, e2e_ms=1000.0)])
    assert samples.values("e2e_ms", None, (MINUTE + 55.0 - 10.0, MINUTE + 55.0), by_end=True) == [50_000.0]
    assert samples.values("e2e_ms", None, (MINUTE + 49.0 - 60.0, MINUTE + 49.0), by_end=True) == [1000.0]


def test_a_minute_knows_what_was_offered_started_and_completed_in_it() -> None:
    usage = {"prompt_tokens": 500, "completion_tokens": 100, "token_source": TokenSource.USAGE}
    asked = {"context_tokens": 500, "max_tokens": 200}
    samples = Samples.from_records(
        [
            record(at=59.5, lag_ms=0.0, **usage, **asked),  # ends in minute 1
            record(at=60.5, lag_ms=1000.0, outcome=Outcome.THROTTLED, **asked),  # was due in minute 0
            record(at=61.0, attempt=2, lag_ms=1500.0, **usage, **asked),  # a retry offers nothing new
            dropped(at=119.0),
        ]
    )
    assert samples.per_minute() == {
        MINUTE: (2, 1, 0, 0, 700),
        MINUTE + 60: (1, 2, 2, 1200, 1400),
    }
    assert samples.per_minute("other") == {}
    assert [minute.completed for minute in samples.full_minutes((MINUTE - 60, MINUTE + 130))] == [0, 0, 2]


def test_tokens_that_are_no_usage_are_no_tokens() -> None:
    samples = Samples.from_records([record(prompt_tokens=5, completion_tokens=6, token_source=TokenSource.ESTIMATE)])
    assert samples.total("tokens") == 0.0
    assert samples.with_tokens() == 0


def test_counts_are_kept_per_name_and_window() -> None:
    rows = [record(at=0.0), record(at=5.0, outcome=Outcome.TIMEOUT), record(at=9.0, name="rag"), dropped(at=7.0)]
    samples = Samples.from_records(rows)
    assert samples.names == ["chat", "rag"]
    assert [samples.count(what) for what in ("sent", "ok", "failed", "dropped", "offered")] == [3, 2, 1, 1, 4]
    assert samples.count("sent", "rag") == 1
    assert samples.count("failed", None, (MINUTE, MINUTE + 4.0)) == 0
    assert samples.count("offered", "chat", (MINUTE + 4.0, MINUTE + 8.0)) == 2
    # The dropped arrival was given up 10 s after it was due.
    assert samples.span() == (MINUTE, MINUTE + 17.0)
    assert samples.count("dropped", None, (MINUTE + 16.0, MINUTE + 18.0), by_end=True) == 1


def test_a_record_without_any_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="expected started_at or scheduled_at"):
        Samples().add(record(started_at=None))


OUTCOMES = st.sampled_from(list(Outcome))


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 90_000), OUTCOMES, st.booleans()), max_size=60),
    st.integers(0, 400),
    st.integers(0, 400),
)
def test_window_figures_agree_with_a_plain_count(
    rows: list[tuple[int, int, Outcome, bool]], begin: int, length: int
) -> None:
    records = []
    for at, e2e_ms, outcome, named in rows:
        sent = outcome is not Outcome.DROPPED
        instant = {"started_at": MINUTE + float(at)} if sent else {"started_at": None, "scheduled_at": MINUTE + at}
        name = "a" if named else "b"
        records.append(record(outcome=outcome, name=name, e2e_ms=float(e2e_ms) if sent else None, **instant))
    samples = Samples.from_records(records)
    low, high = float(MINUTE + begin), float(MINUTE + begin + length)
    expected = [r for r in records if r.name == "a" and r.started_at is not None and low <= r.started_at <= high]
    assert samples.count("sent", "a", (low, high)) == len(expected)
    answered = [r.e2e_ms for r in expected if r.outcome is Outcome.OK]
    assert samples.values("e2e_ms", "a", (low, high)) == answered
    for position, quantity in enumerate(QUANTITIES):
        assert samples.total(quantity) == sum(minute[position] for minute in samples.per_minute().values())


def test_blocks_outside_the_window_are_skipped_without_losing_rows() -> None:
    # Three blocks; every tenth request takes so long that it ends in a much later block's time.
    records = [record(at=i * 0.1, e2e_ms=600_000.0 if i % 10 == 0 else 50.0) for i in range(12_288)]
    samples = Samples.from_records(records)
    by_start = (MINUTE + 700.0, MINUTE + 710.0)
    assert len(samples.values("e2e_ms", None, by_start)) == 101
    ended = [r for r in records if 700.0 <= (r.started_at or 0) - MINUTE + (r.e2e_ms or 0) / 1000 <= 710.0]
    assert len(samples.values("e2e_ms", None, (MINUTE + 710.0 - 10.0, MINUTE + 710.0), by_end=True)) == len(ended)


def test_good_requests_are_counted_when_limits_are_given() -> None:
    rows = [record(ttft_ms=10.0), record(ttft_ms=20.0), record()]
    assert Samples.from_records(rows, parse_goodput("ttft_ms<20")).count("goodput") == 1
    assert Samples.from_records(rows).count("goodput") == 0
