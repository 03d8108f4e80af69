"""Reported latencies against the instants at which the simulator sent, at 50 streams at a time."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.e2e.locust_process import Target, check_against_truth, credentials, run_locust, scenario
from tokenswarm.criteria import percentile

NEAR_MS = 5.0


def test_latencies_at_50_streams_are_within_5_ms_of_the_truth(target: Target, tmp_path: Path) -> None:
    flags = ["-u", "50", "-r", "50", "-t", "8s", "--max-tokens", "40", "--deployment", "slow"]
    finished = run_locust(scenario("smoke", *flags), credentials(target), tmp_path)
    run = finished.run()
    check_against_truth(run, target)
    truth = {line["client_request_id"]: line for line in target.truth()}
    pairs = [(row, truth[f"{row.call_id}-{row.attempt}"]) for row in run.rows]
    assert len(pairs) > 200
    measured: dict[str, list[float]] = {"ttft": [], "e2e": []}
    true: dict[str, list[float]] = {"ttft": [], "e2e": []}
    for row, line in pairs:
        assert row.ttft_ms is not None and row.e2e_ms is not None
        measured["ttft"].append(row.ttft_ms)
        measured["e2e"].append(row.e2e_ms)
        true["ttft"].append((line["first_token_at"] - line["received_at"]) * 1000.0)
        true["e2e"].append((line["finished_at"] - line["received_at"]) * 1000.0)
    for kind in measured:
        reported, sent = percentile(measured[kind], 95), percentile(true[kind], 95)
        assert reported is not None and sent is not None
        assert abs(reported - sent) < NEAR_MS, kind
        assert median(abs(a - b) for a, b in zip(measured[kind], true[kind], strict=True)) < NEAR_MS, kind
