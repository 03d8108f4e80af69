"""Ctrl-C and SIGTERM in the middle of a run: everything that was received has its row, and the run says it was cut."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

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
