"""Reported latencies against the instants at which the simulator sent, at 50 streams at a time."""

from __future__ import annotations

from pathlib import Path
from statistics import median, quantiles

from tests.e2e.locust_process import Target, check_against_truth, credentials, run_locust, scenario
from tokenswarm.metrics.samples import percentile

NEAR_MS = 5.0


def test_latencies_at_50_streams_are_within_5_ms_of_the_truth(target: Target, tmp_path: Path) -> None:
    flags = ["-u", "50", "-r", "50", "-t", "8s", "--max-tokens", "40", "--deployment", "slow"]
    finished = run_locust(scenario("smoke", *flags), credentials(target), tmp_path)
    run = finished.run()
    check_against_truth(run, target)
    truth = {line["client_request_id"]: line for line in target.truth()}
    pairs = [(row, truth[f"{row.call_id}-{row.attempt}"]) for row in run.rows]
    assert len(pairs) > 100
    # A true latency ends when the simulator wrote. It starts with ours: how late a loaded simulator gets round to
    # reading a request is a latency that its log does not know. That start is checked by itself.
    begun_late_ms = [(line["received_at"] - row.started_at) * 1000.0 for row, line in pairs if row.started_at]
    assert min(begun_late_ms) > -1.0
    assert quantiles(begun_late_ms, n=10)[0] < NEAR_MS
    read_late_ms = percentile([row.read_lag_ms or 0.0 for row, _ in pairs], 95) or 0.0
    for measured, written in (("ttft_ms", "first_token_at"), ("e2e_ms", "finished_at")):
        reported = [getattr(row, measured) for row, _ in pairs]
        true = [(line[written] - (row.started_at or 0.0)) * 1000.0 for row, line in pairs]
        beyond_ms = (percentile(reported, 95) or 0.0) - (percentile(true, 95) or 0.0)
        assert -NEAR_MS < beyond_ms < NEAR_MS + read_late_ms, measured  # its own lateness is what a row says it is
        assert median(abs(a - b) for a, b in zip(reported, true, strict=True)) < 1.0, measured
