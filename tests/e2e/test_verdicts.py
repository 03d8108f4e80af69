"""Runs in which nothing, or hardly anything, was right: each of them was called passed, with exit code 0."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.locust_process import Target, credentials, run_locust, scenario
from tests.simulator_process import running_simulator

CONFIG = """
[deployments.broken]
faults = [{fault = "http_500", share = 1.0}]
[deployments.refusing]
faults = [{fault = "http_429", share = 1.0}]
"""


@pytest.fixture(scope="module")
def broken() -> Iterator[Target]:
    with running_simulator(CONFIG) as simulator:
        yield Target(simulator, 0)


def flags(criteria: str) -> list[str]:
    return ["-u", "2", "-r", "2", "-t", "60s", "--max-total-requests", "20", "--failure-criteria", criteria]


@pytest.mark.parametrize(
    ("deployment", "criteria"),
    [
        pytest.param("broken", "p95(latency) > 10000; p95(response_time_ms) > 10000", id="all-500"),
        pytest.param("refusing", "percentage(error) > 1", id="all-429"),
    ],
)
def test_nothing_answered_fails(deployment: str, criteria: str, broken: Target, tmp_path: Path) -> None:
    given = scenario("smoke", *flags(criteria), "--deployment", deployment, "--max-tokens", "50")
    finished = run_locust(given, credentials(broken), tmp_path)
    run = finished.run()
    assert {item["state"] for item in run.facts["criteria"]} == {"held"}
    assert "nothing_answered" in {reason["kind"] for reason in run.facts["verdict"]["reasons"]}
    assert run.facts["verdict"]["has_failed"]
    assert finished.code == run.code(3)


def test_the_peak_with_a_wrong_function_key_fails(target: Target, tmp_path: Path) -> None:
    variables = {**credentials(target), "ORCHESTRATOR_FUNCTION_KEY": "wrong"}
    given = scenario("rag-peak", "--stages", "threads=4, ramp=1s, duration=2s", "--think-time", "0.2")
    finished = run_locust(given, variables, tmp_path)
    if not list((tmp_path / "results").glob("*/*/run.json")):
        assert finished.code == 2, finished.output  # refused before the start is right, too
        return
    run = finished.run()
    assert {row.status for row in run.rows} == {401}
    assert run.facts["verdict"]["has_failed"]
    assert finished.code == run.code(3)


def test_a_warm_up_as_long_as_the_run_is_no_data(target: Target, tmp_path: Path) -> None:
    given = scenario("smoke", *flags("percentage(error) > 1"), "--warm-up", "50s")
    finished = run_locust(given, credentials(target), tmp_path)
    run = finished.run()
    assert [item["state"] for item in run.facts["criteria"]] == ["no_data"]
    assert run.facts["verdict"]["has_failed"]
    assert finished.code == run.code(3)
