"""Results that cannot be written: refused before the start where that is known, else said, and the verdict says it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.locust_run import headless, run_locust, running_locust
from tests.simulator_process import ROOT, fixed_times, running_simulator

FULL_AT = 60_000
"""Bytes after which no file may grow: as a full disk, a limit on file sizes makes every further write fail."""


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_AT, FULL_AT))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_fills_up_is_said_and_measuring_goes_on(tmp_path: Path, workers: int) -> None:
    with running_simulator(fixed_times(5, 1)) as simulator:
        flags = ["--processes", "2"] if workers > 1 else []
        arguments = headless(simulator.chat_url, *flags, users=4, run_time="60s")
        with running_locust(tmp_path, *arguments, before=limit_files) as run:
            run.wait_until(lambda: "cannot be written" in run.output)
            served = simulator.admin("POST", "/admin/flush")["lines"]
            run.wait_until(lambda: simulator.admin("POST", "/admin/flush")["lines"] > served + 50)
            run.process.terminate()
            assert run.wait(30) == 4
        facts = run.facts
        assert facts["verdict"]["state"] == "untrusted"
        assert any("could not be written" in reason["text"] for reason in facts["verdict"]["reasons"])
        lost = sum(each["rows"] for each in facts["accounting"]["lost"])
        assert lost > 0
        assert facts["accounting"]["sent"] + lost >= len([x for x in simulator.truth() if x["client_request_id"]])
        assert 0 < len(run.rows) == facts["accounting"]["rows"]
    command = [sys.executable, "-m", "analysis", "report", str(run.directory), "--output", str(tmp_path / "report")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    assert "could not be written" in done.stdout


def test_results_that_cannot_be_written_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where the directory should be")
    with running_simulator(fixed_times(5, 1)) as simulator:
        run = run_locust(tmp_path, *headless(simulator.chat_url))
        assert run.process.returncode == 2
        assert "results-dir: expected a directory that can be written" in run.output
        assert "Traceback" not in run.output
        assert [line for line in simulator.truth() if line["client_request_id"]] == []


def test_a_read_only_results_directory_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:  # may write everywhere but where the kernel itself says no
        with running_simulator(fixed_times(5, 1)) as simulator:
            arguments = headless(simulator.chat_url)
            with running_locust(tmp_path, *arguments, "--results-dir", "/proc/results") as run:
                assert run.wait() == 2
    else:
        results = tmp_path / "results"
        results.mkdir(mode=0o500)
        with running_simulator(fixed_times(5, 1)) as simulator:
            run = run_locust(tmp_path, *headless(simulator.chat_url))
            assert run.process.returncode == 2
    assert "results-dir: expected a directory that can be written" in run.output
