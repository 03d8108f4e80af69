"""Processes that are told to end, or are killed: rows are on disk, what is lost is counted, nobody stays behind."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.locust_run import LocustRun, check_identity, headless, read_rows, running_locust
from tests.simulator_process import ROOT, Simulator, fixed_times, running_simulator

FAST = fixed_times(20, 5)
OPEN = ("--rate", "2400", "--max-lag", "2")
USERS = 6
AGENTS = (
    "--rate", "240", "--arrival", "poisson", "--steps", "3..12", "--fan-out", "1..3", "--tool-time", "0.02",
    "--step-tokens", "5",
)  # fmt: skip


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(FAST) as simulator:
        yield simulator


@contextlib.contextmanager
def started(simulator: Simulator, folder: Path, *arguments: str, users: int = USERS) -> Iterator[LocustRun]:
    """A run of a minute, once rows of it are on disk."""
    with running_locust(folder, *headless(simulator.chat_url, *arguments, users=users, run_time="60s")) as run:
        run.wait_until(lambda: run.rows_on_disk() >= 20)
        yield run


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_run_that_is_told_to_end_loses_nothing(simulator: Simulator, tmp_path: Path, name: str, workers: int) -> None:
    with started(simulator, tmp_path, *OPEN, *(("--processes", "2") if workers > 1 else ())) as run:
        run.process.send_signal(signal.Signals[name])
        run.wait(30)
        check_identity(run, run.truth(simulator))
        assert run.facts["accounting"]["lost"] == []
        assert run.facts["state"] in ("interrupted", "finished")
        assert not list(run.directory.glob("journal-*")) + list(run.directory.glob("*.inflight"))


def test_rows_are_on_disk_within_a_second(simulator: Simulator, tmp_path: Path) -> None:
    with started(simulator, tmp_path) as run:
        run.wait_until(lambda: run.rows_on_disk() >= 200)
        run.process.kill()
        run.process.wait()
        rows, truth = {row["call_id"] for row in run.rows}, run.truth(simulator)
        # When the process was still at work: a busy machine may have let it stand still until it was killed.
        alive_at = sorted(line["received_at"] for line in truth)[-20]
        done = {
            line["client_request_id"].rpartition("-")[0]
            for line in truth
            if line["outcome"] == "ok" and line["finished_at"] < alive_at - 1.0
        }
        assert done
        assert done <= rows


@pytest.mark.parametrize("arguments", [(), OPEN], ids=["closed", "open"])
def test_a_killed_worker_is_counted_and_the_run_goes_on(
    simulator: Simulator, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with started(simulator, tmp_path, "--processes", "2", *arguments) as run:
        run.children()[0].kill()
        seen = run.rows_on_disk()
        run.wait_until(lambda: run.rows_on_disk() > seen + 20)
        run.process.send_signal(signal.SIGTERM)
        assert run.wait(40) == 4
        check_identity(run, run.truth(simulator))
        assert run.facts["verdict"]["state"] == "untrusted"
        assert any("did not end in order" in reason["text"] for reason in run.facts["verdict"]["reasons"])


def test_sessions_and_their_requests_are_counted_when_a_worker_is_killed(simulator: Simulator, tmp_path: Path) -> None:
    with started(simulator, tmp_path, "--processes", "2", *AGENTS) as run:
        run.children()[0].kill()
        seen = run.rows_on_disk()
        run.wait_until(lambda: run.rows_on_disk() > seen + 20)
        run.process.send_signal(signal.SIGTERM)
        assert run.wait(40) == 4
    accounting, rows = run.facts["accounting"], run.rows
    sessions, lost = accounting["sessions"], sum(each["rows"] for each in accounting["lost"])
    assert sessions["begun"] == len({row["session_id"] for row in rows if row["session_id"]}) > 5
    assert sessions["begun"] == sessions["done"] + sessions["failed"] + sessions["unfinished"]
    assert accounting["planned"] == sessions["begun"] + accounting["dropped"] + lost
    assert accounting["rows"] == len(rows) == accounting["sent"] + accounting["dropped"]
    sent = {f"{row['call_id']}-{row['attempt']}" for row in rows if row["sent_ms"]}
    served = {line["client_request_id"] for line in run.truth(simulator)}
    assert sent <= served
    # The killed one had at most as many under way as its sessions have steps at once.
    assert len(served - sent) <= 3 * USERS
    # Lost arrivals are counted; of later requests under way nobody knows.
    assert len(served - sent) <= lost or any(each["at_least"] for each in accounting["lost"])


def test_a_killed_master_leaves_no_worker_behind_and_its_run_is_recovered(simulator: Simulator, tmp_path: Path) -> None:
    with started(simulator, tmp_path, "--processes", "2") as run:
        workers = run.children()
        assert len(workers) == 2
        run.process.kill()
        run.process.wait()
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive
        assert run.facts["state"] == "running"
        done = subprocess.run(
            [sys.executable, "-m", "analysis", "recover", str(run.directory)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        truth = run.truth(simulator)
        rows = {f"{row['call_id']}-{row['attempt']}" for row in run.rows}
        assert rows == {line["client_request_id"] for line in truth}
        assert run.facts["accounting"]["rows"] == len(rows)


def test_a_killed_local_run_is_recovered_with_what_was_under_way(simulator: Simulator, tmp_path: Path) -> None:
    with started(simulator, tmp_path) as run:
        run.process.kill()
        run.process.wait()
        with run.directory.joinpath("requests.csv").open("a") as file:
            file.write("cut,off")
        done = subprocess.run(
            [sys.executable, "-m", "analysis", "recover", str(run.directory)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "1 cut or unreadable" in done.stdout
        truth = run.truth(simulator)
        (lost,) = run.facts["accounting"]["lost"]
        assert len(truth) - len(run.rows) <= lost["rows"] <= 6


def test_a_killed_simulator_is_a_failing_target_and_the_run_goes_on(tmp_path: Path) -> None:
    with (
        running_simulator(FAST) as simulator,
        started(simulator, tmp_path, "--think-time", "0.05") as run,
    ):
        simulator.process.kill()
        simulator.process.wait()

        def refused() -> list[dict[str, str]]:
            rows = read_rows(run.directory / "requests.csv")
            return [row for row in rows if row["outcome"] == "connection_error"]

        run.wait_until(lambda: len(refused()) > 60)
        run.process.send_signal(signal.SIGTERM)
        run.wait(30)
        assert {row["user"] for row in refused()} == {str(number) for number in range(1, 7)}
        assert run.facts["accounting"]["rows"] == len(run.rows)
