"""The generator itself stands still for some seconds, as a laptop or a virtual machine does: what follows is not the
target's doing, and is said."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from tests.faults.locust_run import LocustRun, headless, running_locust
from tests.simulator_process import Simulator, running_simulator
from tests.waiting import wait_until

CONFIG = """
[deployments.slow]
ttft_base_ms = 300
ttft_std_ms = 0
tbt_ms = 150
tbt_std_ms = 0
completion_tokens = 8
"""
FROZEN_S = 4.5
CRITERION = ("--failure-criteria", "percentage(error) > 1")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG) as simulator:
        yield simulator


def freeze_under_way(run: LocustRun, simulator: Simulator) -> None:
    """Stop the generator while the simulator has a request of it, whose end can then only be read afterwards."""

    generator = psutil.Process(run.process.pid)

    def is_under_way() -> bool:
        run.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: generator.status() == psutil.STATUS_STOPPED, "the stop")
        if simulator.admin("POST", "/admin/flush")["in_flight"]:
            return True
        run.process.send_signal(signal.SIGCONT)
        return False

    run.wait_until(is_under_way)


def test_timeouts_of_a_frozen_generator_are_its_own(simulator: Simulator, tmp_path: Path) -> None:
    slow = ("--deployment", "slow", "--timeout", "3", *CRITERION)
    with running_locust(tmp_path, *headless(simulator.chat_url, *slow, users=4, run_time="60s")) as run:
        run.wait_until(lambda: run.rows_on_disk() >= 4)
        freeze_under_way(run, simulator)
        time.sleep(FROZEN_S)  # how long the generator stands still is what is tested
        before = run.rows_on_disk()
        run.process.send_signal(signal.SIGCONT)
        run.wait_until(lambda: run.rows_on_disk() >= before + 4)
        run.process.terminate()
        assert run.wait(40) == 4
    facts = run.facts
    assert facts["generator"]["stall_longest_ms"] > 1000 * (FROZEN_S - 0.5)
    timeouts = [row for row in run.rows if row["outcome"] == "timeout"]
    assert facts["generator"]["timeouts_touched"] == facts["generator"]["timeouts"] == len(timeouts)
    assert facts["verdict"]["state"] == "untrusted"
    (reason,) = [each["text"] for each in facts["verdict"]["reasons"] if each["kind"] == "saturated"]
    assert "stood still for up to" in reason
    if timeouts:
        assert f"{len(timeouts)} of {len(timeouts)} timeouts" in reason
    judgement = summarise(load_run(run.directory)).judgement
    assert (judgement.state, judgement.exit_code) == ("untrusted", 4)
