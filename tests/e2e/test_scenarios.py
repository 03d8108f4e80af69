"""Every scenario file, shortened by flags, against the simulator's truth."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.e2e.locust_process import (
    Target,
    check_against_truth,
    credentials,
    run_locust,
    scenario,
)
from tests.load_models.test_scenarios import SHORTENED as LOAD_MODELS
from tests.simulator_process import API_KEY, ROOT
from tokenswarm.record import Outcome

# Open load ends with a number of answers rather than after a time: how much of 2 s is load depends on the machine.
SHORTENED = {
    "balanced": ("--rate", "240", "--run-time", "60s", "--max-total-requests", "6"),
    "context-heavy": ("--rate", "240", "--run-time", "60s", "--max-total-requests", "6"),
    "generation-heavy": ("--rate", "240", "--run-time", "60s", "--max-total-requests", "6"),
    "paygo-gpt35-4rpm": (
        *("--deployment", "gpt-4.1-mini-20k", "--rate", "30", "--run-time", "60s"),
        *("--max-total-requests", "3"),
    ),
    "paygo-gpt35-50rpm": (
        *("--deployment", "gpt-4.1-mini-200k", "--rate", "500", "--run-time", "60s"),
        *("--max-total-requests", "50"),
    ),
    "reasoning-model": (
        *("-u", "6", "-r", "6", "-t", "60s", "--think-time", "0.1", "--max-total-requests", "12"),
        *("--abort", "30 % after 0.05 s", "--max-tokens", "2000", "--deployment", "gpt-5-mini"),
    ),
    "rag-peak": ("--stages", "threads=6, ramp=1s, duration=4s", "--think-time", "uniform(0.1, 0.2)"),
    "smoke": ("-u", "3", "-r", "3", "-t", "60s", "--max-total-requests", "6"),
}
TOKENS = {"balanced": (500, 500), "context-heavy": (2000, 200), "generation-heavy": (500, 1000)}


def test_no_scenario_is_left_out() -> None:
    names = {path.stem for path in (ROOT / "scenarios").glob("*.conf")}
    assert names == {*SHORTENED, *LOAD_MODELS, "parameter-file", "app-own-format"}  # the last: test_apps


@pytest.mark.parametrize("name", ["balanced", "context-heavy", "generation-heavy", "smoke"])
def test_chat_scenarios(name: str, target: Target, tmp_path: Path) -> None:
    finished = run_locust(scenario(name, *SHORTENED[name]), credentials(target), tmp_path)
    run = finished.run()
    assert finished.code == run.code(0), finished.output
    assert len(run.sent) >= 6
    assert {row.outcome for row in run.sent} == {Outcome.OK}
    check_against_truth(run, target)
    assert {(row.prompt_tokens, row.completion_tokens) for row in run.sent} == {TOKENS.get(name, (100, 50))}
    assert run.directory.parent.name == name
    assert run.facts["scenario"]["text"] == (ROOT / "scenarios" / f"{name}.conf").read_text()


def test_a_reasoning_model_and_people_who_leave(target: Target, tmp_path: Path) -> None:
    name = "reasoning-model"
    run = run_locust(scenario(name, *SHORTENED[name]), credentials(target), tmp_path).run()
    assert {row.outcome for row in run.sent} == {Outcome.OK, Outcome.ABORTED}
    assert all(row.reasoning_tokens for row in run.outcomes(Outcome.OK))
    assert {row.model for row in run.outcomes(Outcome.OK)} == {"gpt-5-mini"}
    assert not run.facts["verdict"]["has_failed"]


def test_four_requests_a_minute_fit_into_20k(target: Target, tmp_path: Path) -> None:
    name = "paygo-gpt35-4rpm"
    finished = run_locust(scenario(name, *SHORTENED[name]), credentials(target), tmp_path)
    run = finished.run()
    assert len(run.sent) in (3, 4)
    assert {row.outcome for row in run.sent} == {Outcome.OK}
    assert {(row.prompt_tokens, row.completion_tokens) for row in run.sent} == {(4500, 500)}
    check_against_truth(run, target)
    assert [criterion["state"] for criterion in run.facts["criteria"]] == ["held", "held"]
    assert finished.code == run.code(0)


@pytest.mark.parametrize("processes", [1, 2])
def test_fifty_requests_a_minute_do_not_fit_into_200k(processes: int, target: Target, tmp_path: Path) -> None:
    name = "paygo-gpt35-50rpm"
    flags = [*SHORTENED[name], *(["--processes", str(processes)] if processes > 1 else [])]
    finished = run_locust(scenario(name, *flags), credentials(target), tmp_path)
    run = finished.run()
    throttled = run.outcomes(Outcome.THROTTLED)
    assert len(run.sent) >= 50
    assert len(run.outcomes(Outcome.OK)) <= 40  # 40 x 5000 = 200,000
    assert len(throttled) == len(run.sent) - len(run.outcomes(Outcome.OK)) > 0
    assert all(row.retry_after_ms for row in throttled)
    # Each says after how many seconds to come again; for Locust they are one kind of failure all the same.
    with (run.directory / "locust_failures.csv").open(newline="") as file:
        (failure,) = csv.DictReader(file)
    assert failure["Occurrences"] == str(len(throttled))
    assert "retry after # seconds" in failure["Error"]
    assert all(row.error and "retry after #" not in row.error for row in throttled)
    check_against_truth(run, target)
    assert run.facts["accounting"]["failed"] == 0
    assert run.facts["workers"] == processes
    assert run.facts["accounting"]["planned"] == len(run.rows)
    assert {row.worker for row in run.sent} == ({"local"} if processes == 1 else {"w0", "w1"})
    assert [criterion["state"] for criterion in run.facts["criteria"]] == ["held", "failed"]
    assert finished.code == run.code(3)


@pytest.mark.parametrize("contract", ["v1", "v2"])
def test_the_peak_hour_of_the_orchestrator(contract: str, target: Target, tmp_path: Path) -> None:
    flags = [*SHORTENED["rag-peak"], "--rag-contract", contract, "--turns-per-conversation", "2"]
    variables = {**credentials(target), "ORCHESTRATOR_APP_APIKEY": API_KEY}
    finished = run_locust(scenario("rag-peak", *flags), variables, tmp_path)
    run = finished.run()
    assert finished.code == run.code(0), finished.output
    assert len(run.rows) >= 6
    assert {row.outcome for row in run.rows} == {Outcome.OK}
    assert {row.turn for row in run.rows} == {1, 2}
    assert all((row.ttft_ms is not None) == (contract == "v2") for row in run.rows)
    assert all(row.stages is not None for row in run.rows)
    check_against_truth(run, target)
    by_conversation: dict[str | None, set[int | None]] = {}
    for row in run.rows:
        by_conversation.setdefault(row.conversation_id, set()).add(row.turn)
    assert None not in by_conversation
    assert sum(turns == {1, 2} for turns in by_conversation.values()) >= 3


def test_two_processes_in_closed_loop(target: Target, tmp_path: Path) -> None:
    flags = ["-u", "4", "-r", "4", "-t", "60s", "--max-total-requests", "16", "--processes", "2"]
    finished = run_locust(scenario("smoke", *flags), credentials(target), tmp_path)
    run = finished.run()
    assert finished.code == run.code(0), finished.output
    assert {row.worker for row in run.rows} == {"w0", "w1"}
    check_against_truth(run, target)
    assert not list(run.directory.glob("journal-*"))


LAB_FILE = f"""\
# Parameters of the test
export OPENAI_API_KEY="{API_KEY}"
export AOAI_ENDPOINT={{url}}
export AOAI_DEPLOYMENT=gpt-4.1-mini-20k
export TEST_NAME=aoai-4rpm-test
export CONTEXT_TOKENS=4500
export MAX_TOKENS=500
export RETRY=none
export RATE=60
export DURATION=3
"""


@pytest.mark.parametrize("change", [str, lambda text: text.replace("export ", "").replace("\n", "\r\n")])
def test_the_parameter_file_of_the_lab_as_it_is(change: type[str], target: Target, tmp_path: Path) -> None:
    lab_file = tmp_path / "parameters.env"
    lab_file.write_bytes(change(LAB_FILE.format(url=target.url)).encode())
    finished = run_locust(scenario("parameter-file", "--env-file", str(lab_file)), {}, tmp_path)
    run = finished.run()
    assert finished.code == run.code(0), finished.output
    assert run.directory.parent.name == "aoai-4rpm-test"
    assert len(run.rows) in (2, 3)
    assert {(row.prompt_tokens, row.completion_tokens) for row in run.sent} == {(4500, 500)}
    assert {line["deployment"] for line in target.truth()} == {"gpt-4.1-mini-20k"}
    check_against_truth(run, target)


def test_retries_are_rows_of_the_same_call(target: Target, tmp_path: Path) -> None:
    deployments = {"gpt-4.1-mini-200k": {"tpm": 20_000}}
    target.simulator.admin("PATCH", "/admin/config", {"deployments": deployments})
    try:
        flags = ["--deployment", "gpt-4.1-mini-200k", "--rate", "120", "--run-time", "4s", "--retry", "exponential"]
        finished = run_locust(
            scenario("paygo-gpt35-50rpm", *flags, "--stop-timeout", "4"), credentials(target), tmp_path
        )
    finally:
        target.simulator.admin("PATCH", "/admin/config", {"deployments": {"gpt-4.1-mini-200k": {"tpm": 200_000}}})
    run = finished.run()
    assert run.outcomes(Outcome.THROTTLED)
    check_against_truth(run, target)
