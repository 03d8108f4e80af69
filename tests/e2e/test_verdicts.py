"""Runs in which nothing, or hardly anything, was right: each of them was called passed, with exit code 0."""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from analysis.findings.answer import answer_of
from analysis.findings.summarise import summarise
from analysis.report import junit
from analysis.sources.loading import load_run
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


def test_a_laxer_criterion_than_the_scenarios_is_said_wherever_the_verdict_is(target: Target, tmp_path: Path) -> None:
    variables = {**credentials(target), "LOCUST_FAILURE_CRITERIA": "percentage(error) > 99; percentage(throttled) > 1"}
    given = scenario("smoke", "-t", "60s", "--max-total-requests", "6")
    finished = run_locust(given, variables, tmp_path)
    said = "percentage(error) > 1 (scenarios/smoke.conf) was replaced by percentage(error) > 99"
    assert finished.output.count(said) == 2  # at the start, and beside the verdict
    run = finished.run()
    assert run.facts["criteria_replaced"] == [
        {"criterion": "percentage(error) > 1", "by": "percentage(error) > 99", "where": "scenarios/smoke.conf"}
    ]
    assert f"{run.facts['verdict']['state'].upper()}, 1 criterion replaced" in finished.output
    summary = summarise(load_run(run.directory))
    assert "(1 criterion replaced)" in answer_of(summary).word
    assert said in summary.warnings[0]
    assert said in unescape(junit.render([summary]))


def test_a_warm_up_as_long_as_the_run_is_no_data(target: Target, tmp_path: Path) -> None:
    given = scenario("smoke", *flags("percentage(error) > 1"), "--warm-up", "50s")
    finished = run_locust(given, credentials(target), tmp_path)
    run = finished.run()
    assert [item["state"] for item in run.facts["criteria"]] == ["no_data"]
    assert run.facts["verdict"]["has_failed"]
    assert finished.code == run.code(3)


def test_what_other_users_and_tasks_came_to_is_not_passed_over(target: Target, tmp_path: Path) -> None:
    arguments = ["-f", "tests/e2e/other_users.py", "-u", "2", "-r", "2", "-t", "2s", "--stop-timeout", "5"]
    finished = run_locust([*arguments, "--failure-criteria", "percentage(error) > 1"], credentials(target), tmp_path)
    run = finished.run()
    said = "; ".join(reason["text"] for reason in run.facts["verdict"]["reasons"])
    assert {row.outcome for row in run.rows} <= {"ok", "cancelled"}
    assert "tasks of the locustfile raised" in said and "out of words" in said
    assert "of users that are not Tokenswarm's failed: no criterion has seen that" in said
    assert finished.code == 4 == summarise(load_run(run.directory)).judgement.exit_code
