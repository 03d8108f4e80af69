"""Ctrl-C and SIGTERM in the middle of a run: everything that was received has its row, and the run says it was cut."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.e2e.locust_process import (
    Finished,
    Target,
    check_against_truth,
    credentials,
    locust_process,
    scenario,
)
from tests.locust_start import LocustProcess
from tests.ports import free_port
from tests.waiting import wait_until


def to_process(process: LocustProcess, number: int) -> None:
    process.send_signal(number)


def to_group(process: LocustProcess, number: int) -> None:
    """As a terminal does."""
    os.killpg(process.pid, number)


OPEN = scenario("paygo-gpt35-50rpm", "--rate", "600", "--deployment", "slow", "--max-tokens", "50")
CLOSED = scenario("smoke", "-u", "6", "-r", "6", "--deployment", "slow")


@pytest.mark.parametrize(
    ("arguments", "send", "number"),
    [
        pytest.param(OPEN, to_process, signal.SIGINT, id="open-INT"),
        pytest.param(CLOSED, to_process, signal.SIGTERM, id="closed-TERM"),
        pytest.param([*OPEN, "--processes", "2"], to_group, signal.SIGINT, id="open-2-processes-INT"),
        pytest.param([*CLOSED, "--processes", "2"], to_process, signal.SIGTERM, id="closed-2-processes-TERM"),
    ],
)
def test_a_run_that_is_interrupted(
    arguments: list[str],
    send: Callable[[LocustProcess, int], None],
    number: int,
    target: Target,
    tmp_path: Path,
) -> None:
    log, results = tmp_path / "locust.log", tmp_path / "results"
    command = [*arguments, "--headless", "--run-time", "60s", "--results-dir", str(results)]
    with locust_process(command, credentials(target), log) as process:
        # Answers take 1 s or more: by then some are complete and some are under way.
        wait_until(lambda: target.answered > 0, "answers")
        send(process, number)
        code = process.wait(timeout=60)
    finished = Finished(code, log.read_text(), results)
    run = finished.run()
    assert "Traceback" not in finished.output
    assert run.facts["state"] == "interrupted"
    assert ", of a run that was interrupted" in finished.output
    assert run.facts["verdict"] is not None
    assert len(run.rows) > 0
    check_against_truth(run, target)


ENDING_MASTER = """
import os, pathlib
from tokenswarm.users import ChatUser
os.register_at_fork(
    after_in_child=lambda: pathlib.Path(os.environ["FORKED"]).write_text(str(os.getpid())),
    after_in_parent=lambda: os._exit(2),
)
class ChatCompletions(ChatUser):
    pass
"""


def is_over(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_worker_whose_master_has_ended_before_they_met_ends(tmp_path: Path) -> None:
    locustfile, forked, log = tmp_path / "locustfile.py", tmp_path / "forked", tmp_path / "locust.log"
    locustfile.write_text(ENDING_MASTER)
    command = ["-f", str(locustfile), "--headless", "--processes", "1", "--master-port", str(free_port())]
    with locust_process(command, {"FORKED": str(forked)}, log) as process:
        assert process.wait(timeout=60) == 2
        worker = int(wait_until(forked.read_text, "the worker"))
        wait_until(lambda: is_over(worker), "its end")
    assert "The master is gone (its process has ended): this worker stops" in log.read_text()
    assert "Traceback" not in log.read_text()
