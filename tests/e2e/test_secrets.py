"""A key must be in no file that a run writes and in no log, whatever happens and however chatty the log is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.locust_process import Target, credentials, environment, run_locust, scenario
from tests.simulator_process import ROOT, running_simulator
from tests.waiting import wait_until
from tokenswarm.record import Outcome

KEY = "canary-7f3a9c-of-the-chat-target"
FUNCTION_KEY = "canary-51bd02-of-the-orchestrator"
CONFIG = (
    f'api_key = "{KEY}"\nfunctions_key = "{FUNCTION_KEY}"\n'
    + """
[deployments.'gpt-4.1-nano']
tbt_ms = 2
ttft_base_ms = 20
faults = [{fault = "http_500", share = 0.3}]
"""
)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Target]:
    with running_simulator(CONFIG) as simulator:
        yield Target(simulator, 0)


def all_bytes(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_key_is_nowhere(processes: str, guarded: Target, tmp_path: Path) -> None:
    env_file = tmp_path / "elsewhere" / "keys.env"
    env_file.parent.mkdir()
    variables = {**credentials(guarded), "AZURE_OPENAI_API_KEY": KEY, "ORCHESTRATOR_FUNCTION_KEY": FUNCTION_KEY}
    env_file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    flags = ["-f", "locustfiles/mixed_traffic.py", "--dataset", "scenarios/dataset.csv", "--env-file", str(env_file)]
    flags += ["-u", "8", "-r", "8", "-t", "3s", "--loglevel", "DEBUG"]
    flags += ["--processes", processes] if processes != "1" else []
    work = tmp_path / "work"
    work.mkdir()
    finished = run_locust(scenario("smoke", *flags), {}, work)
    run = finished.run()
    assert {row.target for row in run.rows} == {"chat", "rag"}
    assert {Outcome.OK, Outcome.HTTP_ERROR} <= {row.outcome for row in run.rows}
    written = all_bytes(work)
    assert b"canary" not in written
    assert len(written) > 1000


def test_a_key_that_is_refused_is_not_shown(guarded: Target, tmp_path: Path) -> None:
    variables = {**credentials(guarded), "AZURE_OPENAI_API_KEY": KEY + "-old"}
    finished = run_locust(scenario("smoke", "--loglevel", "DEBUG"), variables, tmp_path)
    assert finished.code == 2
    assert "canary" not in finished.output


def test_a_key_at_the_wrong_name_is_not_shown(guarded: Target, tmp_path: Path) -> None:
    variables = {**credentials(guarded), "AZURE_OPENAI_ENDPOINT": KEY}
    finished = run_locust(scenario("smoke"), variables, tmp_path)
    assert finished.code == 2
    assert "canary" not in finished.output


def test_no_key_in_the_arguments_of_a_process(guarded: Target, tmp_path: Path) -> None:
    variables = {**credentials(guarded), "AZURE_OPENAI_API_KEY": KEY}
    flags = scenario("smoke", "--headless", "-t", "30s", "--results-dir", str(tmp_path / "results"))
    command = [sys.executable, "-m", "locust", *flags]  # one that is forked has the arguments of who forks
    with subprocess.Popen(command, cwd=ROOT, env=environment(**variables), stderr=subprocess.DEVNULL) as process:
        try:
            seen = wait_until(lambda: arguments_of(process) if list(tmp_path.glob("results/*/*")) else [], "the run")
        finally:
            process.kill()
    assert "locust" in seen[0] and not any("canary" in argument for each in seen for argument in each)


def arguments_of(process: subprocess.Popen[bytes]) -> list[list[str]]:
    """Of a process and of what it has started."""
    parent = psutil.Process(process.pid)
    return [each.cmdline() for each in (parent, *parent.children(recursive=True))]
