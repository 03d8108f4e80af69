from __future__ import annotations

import numpy as np
import pytest

from analysis.figures import series
from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from analysis.sources.run import Run
from tests.analysis.synthetic import START, make_records, write_run
from tokenswarm.record import Outcome, RequestRecord, TokenSource


def request(number: int, at: float, e2e_ms: float, **fields: object) -> RequestRecord:
    return RequestRecord(
        **{
            "call_id": f"c{number}", "started_at": START + at, "e2e_ms": e2e_ms, "outcome": Outcome.OK,
            "ttft_ms": 100.0, "prompt_tokens": 1000, "completion_tokens": 100, "max_tokens": 500,
            "token_source": TokenSource.USAGE,
        }
        | fields
    )  # fmt: skip


@pytest.fixture
def ten(tmp_path) -> Run:
    """Ten requests at 0, 12, 24 ... 108 s, 6 s each; 2 min."""
    records = [request(number, 12.0 * number, 6000.0) for number in range(10)]
    return load_run(write_run(tmp_path / "ten", records, ended_at=START + 120))


def test_rate_of_a_steady_load_is_steady(ten):
    clock = series.clock_of(ten)
    assert clock is not None and clock.length_s == 120
    started = series.request_rates(ten, clock)["started"]
    late = started.y[(started.x >= 60) & (started.x < 119)]
    assert set(late) == {5.0}


def test_rate_before_the_first_minute_is_over_the_time_there_is():
    curve = series.trailing_rate(np.array([1.0, 5.0]), None, np.array([10.0, 30.0, 70.0]))
    assert curve.y.tolist() == [12.0, 4.0, 0.0]


def test_tokens_are_used_at_the_end_and_estimated_at_the_start(ten):
    clock = series.clock_of(ten)
    rates = series.token_rates(ten, clock)
    at = int(np.searchsorted(rates["used"].x, 100.5))
    assert rates["used"].y[at] == 5 * 1100
    assert rates["estimated"].y[at] == 5 * 1500


def test_in_flight_is_exact(ten):
    curve = series.in_flight(ten, series.clock_of(ten))
    busy = (curve.x % 12 < 6) & (curve.x < 114)
    assert set(curve.y[busy]) == {1}
    assert set(curve.y[~busy]) == {0}


def test_bin_without_enough_requests_has_no_p95(ten):
    clock = series.clock_of(ten)
    curves = series.latency_over_time(ten, clock, "e2e_ms", (50.0, 95.0))
    assert set(curves) == {"p50"}
    assert set(curves["p50"].y[np.isfinite(curves["p50"].y)]) == {6000.0}


def test_outcomes_hold_every_request(tmp_path):
    records = list(make_records(throttled=0.1, failed=0.05, dropped=0.05))
    run = load_run(write_run(tmp_path / "run", records))
    _, counts = series.outcomes_over_time(run, series.clock_of(run))
    assert sum(int(values.sum()) for values in counts.values()) == len(records)
    assert {"ok", "throttled", "http_error", "dropped"} == set(counts)


def test_a_million_rows_are_few_points(tmp_path):
    records = list(make_records(rpm=2000, minutes=3))
    run = load_run(write_run(tmp_path / "run", records))
    clock = series.clock_of(run)
    dots = series.latency_dots(run, clock, "ttft_ms")
    assert len(dots.x) <= series.DOTS + 50
    assert dots.y.max() == summarise(run).overall.distribution("ttft_ms").max
    assert len(series.request_rates(run, clock)["started"].x) <= series.POINTS + 2
    assert len(clock.bins()) <= 62


def test_percentile_curve_ends_at_what_is_carried():
    curve = series.percentile_curve(np.arange(1.0, 101.0))
    assert curve.x[-1] == pytest.approx(2)
    assert np.interp(1.0, curve.x, curve.y) == pytest.approx(90.1, abs=0.2)
    assert curve.y[-1] == pytest.approx(np.percentile(np.arange(1.0, 101.0), 99))


def test_against_needs_spread(ten):
    assert series.against(ten.rows, "prompt_tokens", "ttft_ms") is None


def test_against_follows_what_causes_it(tmp_path):
    run = load_run(write_run(tmp_path / "run", list(make_records(rpm=200))))
    found = series.against(run.rows, "completion_tokens", "e2e_ms")
    assert found is not None
    _, middle = found
    assert np.all(np.diff(middle.x) >= 0)
    assert middle.y[-1] > 2 * middle.y[0]


def test_nothing_to_draw(tmp_path):
    assert series.clock_of(load_run(write_run(tmp_path / "empty", []))) is None
