"""A run that a Prometheus server reads while it is on."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.locust_process import Run, Target, credentials, locust_process
from tests.ports import free_port
from tests.waiting import wait_until


def scraped(port: int, seen: list[str]) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        seen.append(answer.read().decode())
    return seen[-1]


def test_the_endpoint_counts_what_the_rows_hold(target: Target, tmp_path: Path) -> None:
    port = free_port()
    arguments = [
        "--config",
        "scenarios/smoke.conf",
        "--headless",
        "-u",
        "2",
        "-r",
        "2",
        "-t",
        "60s",
        "--prometheus",
        str(port),
    ]
    results = tmp_path / "results"
    seen: list[str] = []
    with locust_process([*arguments, "--results-dir", str(results)], credentials(target), tmp_path / "log") as process:
        wait_until(lambda: 'outcome="ok"' in scraped(port, seen), "an answer that is counted")
        process.terminate()
        process.wait(60)
    (facts,) = results.glob("*/*/run.json")
    answered = [row for row in Run(facts.parent).rows if row.outcome.value == "ok"]
    families = {family.name: family for family in text_string_to_metric_families(seen[-1])}
    counted = sum(s.value for s in families["tokenswarm_requests"].samples if s.labels.get("outcome") == "ok")
    assert 0 < counted <= len(answered)
    first = [sample.value for sample in families["tokenswarm_ttft_seconds"].samples if sample.name.endswith("_sum")]
    # A row has its milliseconds to three decimals: each may be half a microsecond less than what was counted.
    rounded_s = len(answered) * 0.5e-6 + 1e-9
    assert 0 < sum(first) <= sum(row.ttft_ms or 0 for row in answered) / 1000 + rounded_s
