"""A process that is told to end, once, twice, or by its own mistake: its exit code and run.json never say more than was
seen."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.locust_run import LocustRun, check_identity, headless, running_locust
from tests.simulator_process import Simulator, fixed_times, running_simulator

CONFIG = fixed_times(20, 5) + fixed_times(300, 200, "slow") + "completion_tokens = 600\n"
HELD = ("--failure-criteria", "percentage(error) > 50")
APART_S = 2.5
"""Longer than signals that belong together: the time between two is what makes them two."""
USERS = 2
SLOW = ("--deployment", "slow", "--max-tokens", "600", "--timeout", "120", "-s", "100")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG) as simulator:
        yield simulator


def arguments(simulator: Simulator, *flags: str) -> list[str]:
    return headless(simulator.chat_url, *HELD, *flags, users=USERS, run_time="60s")


def check_interrupted(run: LocustRun, code: int) -> None:
    """What held so far is said, and is no pass."""
    facts = run.facts
    assert (facts["state"], facts["stop_reason"]) == ("interrupted", "the process was told to end")
    assert facts["verdict"]["state"] in ("interrupted", "untrusted")
    assert code == facts["verdict"]["exit_code"]
    assert [each["state"] for each in facts["criteria"]] == ["held"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("signals", "gap_s"),
    [
        ([signal.SIGINT], 0.0),
        ([signal.SIGTERM, signal.SIGTERM], 0.05),
        ([signal.SIGINT, signal.SIGTERM], 0.05),
        ([signal.SIGTERM, signal.SIGINT, signal.SIGINT], 0.2),
        ([signal.SIGQUIT, signal.SIGHUP], 0.05),
    ],
)
def test_signals_that_come_together_are_one(
    simulator: Simulator, tmp_path: Path, signals: list[int], gap_s: float, workers: int
) -> None:
    flags = ("--processes", "2") if workers > 1 else ()
    with running_locust(tmp_path, *arguments(simulator, *flags)) as run:
        run.wait_until(lambda: run.rows_on_disk() >= 20)
        for number in signals:
            run.process.send_signal(number)
            time.sleep(gap_s)  # the time between the signals is what is tested
        code = run.wait(40)
        check_interrupted(run, code)
        truth = [line for line in simulator.truth(30) if line["received_at"] > run.began_at]
        check_identity(run, [line for line in truth if line["client_request_id"]])
        assert "Traceback" not in run.output


def test_a_terminal_that_is_closed_tells_all_processes(simulator: Simulator, tmp_path: Path) -> None:
    with running_locust(tmp_path, *arguments(simulator, "--processes", "2")) as run:
        run.wait_until(lambda: run.rows_on_disk() >= 20)
        os.killpg(run.process.pid, signal.SIGHUP)
        check_interrupted(run, run.wait(40))
        check_identity(
            run, [x for x in simulator.truth(30) if x["received_at"] > run.began_at and x["client_request_id"]]
        )


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_wait_for_what_is_under_way(simulator: Simulator, tmp_path: Path, second: int) -> None:
    with running_locust(tmp_path, *arguments(simulator, *SLOW)) as run:
        run.wait_until(lambda: simulator.admin("POST", "/admin/flush")["in_flight"] >= USERS)  # for 120 s from now
        run.process.send_signal(signal.SIGTERM)
        run.wait_until(lambda: "Got SIGTERM signal" in run.output)
        time.sleep(APART_S)  # two signals apart are what is tested
        run.process.send_signal(second)
        assert run.wait(60) == 4
        facts = run.facts
        assert facts["state"] == "interrupted"
        assert facts["verdict"]["state"] == "untrusted"
        assert facts["verdict"]["exit_code"] == 4


def test_the_end_of_the_run_time_is_no_interruption(simulator: Simulator, tmp_path: Path) -> None:
    with running_locust(tmp_path, *headless(simulator.chat_url, *HELD, run_time="2s")) as run:
        code = run.wait(40)
        assert run.facts["state"] == "finished"
        assert run.facts["verdict"]["exit_code"] == code
        assert [each["state"] for each in run.facts["criteria"]] == ["held"]


MISTAKE = """
from locust import events
from tokenswarm.users import ChatUser

class Chat(ChatUser):
    pass

@events.test_start.add_listener
def on_start(**_):
    raise RuntimeError("a mistake in the locustfile")
"""


def test_an_unhandled_exception_has_a_code_of_its_own(simulator: Simulator, tmp_path: Path) -> None:
    locustfile = tmp_path / "mistaken_file.py"
    locustfile.write_text(MISTAKE)
    flags = headless(simulator.chat_url, *HELD, run_time="2s", locustfile=str(locustfile))
    with running_locust(tmp_path, *flags) as run:
        assert run.wait(40) == 70
