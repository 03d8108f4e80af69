"""Workers that are somewhere else: with a clock of their own, killed, stopped, told to end, or not workers at all."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

import msgpack
import pytest
import zmq

from tests.faults.fleet import Fleet
from tests.faults.fleet import fleet as starting_fleet
from tests.faults.locust_run import LocustRun, check_identity
from tests.simulator_process import ROOT, Simulator, fixed_times, running_simulator

OPEN = ("--rate", "1800", "--max-lag", "30")
CLOSED = ("--think-time", "0.05")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(fixed_times(20, 5)) as simulator:
        yield simulator


@contextlib.contextmanager
def fleet(
    simulator: Simulator, folder: Path, *flags: str, skews: tuple[float, ...] = (0.0, 0.0), run_time: str = "60s"
) -> Iterator[Fleet]:
    """Once rows are on disk."""
    with starting_fleet(simulator, folder, *flags, skews=skews, run_time=run_time) as found:
        found.run.wait_until(lambda: found.run.rows_on_disk() >= 20)
        yield found


def wait_for_rows(run: LocustRun, worker: str, count: int = 20) -> None:
    """Until so many more rows of one worker are on disk than now."""
    before = rows_of(run, worker)
    run.wait_until(lambda: rows_of(run, worker) >= before + count)


def rows_of(run: LocustRun, worker: str) -> int:
    return sum(row["worker"] == worker for row in run.rows)


def stop(run: LocustRun) -> int:
    run.process.send_signal(signal.SIGTERM)
    return run.wait(60)


def lost_of(run: LocustRun) -> int:
    return sum(each["rows"] for each in run.facts["accounting"]["lost"])


def check_planned(run: LocustRun) -> None:
    accounting = run.facts["accounting"]
    if accounting["planned"] is not None:
        assert accounting["planned"] == accounting["first_attempts"] + accounting["dropped"] + lost_of(run)


@pytest.mark.parametrize(
    ("flags", "skews"), [(OPEN, (0.0, 300.0, -0.5)), (CLOSED, (0.0, -300.0, 5.0))], ids=["open", "closed"]
)
def test_rows_lie_where_the_masters_clock_has_them(
    simulator: Simulator, tmp_path: Path, flags: tuple[str, ...], skews: tuple[float, ...]
) -> None:
    with fleet(simulator, tmp_path, *flags, skews=skews) as found:
        run = found.run
        for worker in ("w0", "w1", "w2"):
            wait_for_rows(run, worker)
        stop(run)
        check_identity(run, run.truth(simulator))
        check_planned(run)
        received = {line["client_request_id"]: line["received_at"] for line in run.truth(simulator)}
        rows = {f"{row['call_id']}-{row['attempt']}": row for row in run.rows if row["started_at"]}
        apart = [abs(float(row["started_at"]) - received[key]) for key, row in rows.items() if key in received]
        # Most of them: a busy machine may hold up any one between its start and its arrival.
        assert len(apart) > 20 and quantiles(apart, n=10)[-1] < 1.0
        assert {row["worker"] for row in rows.values()} == {"w0", "w1", "w2"}
        shifts = sorted(clock["shift_s"] for clock in run.facts["clocks"].values())
        assert shifts == pytest.approx(sorted(skews), abs=0.2)
        assert "clock" not in {each["kind"] for each in run.facts["verdict"]["reasons"]}
        assert "The clock of w" in run.output
        assert run.facts["accounting"]["dropped"] == 0


@pytest.mark.parametrize("flags", [OPEN, CLOSED], ids=["open", "closed"])
def test_a_killed_remote_worker_is_counted_at_least(
    simulator: Simulator, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with fleet(simulator, tmp_path, *flags) as found:
        run = found.run
        os.killpg(found.workers[1].pid, signal.SIGKILL)
        found.workers[1].wait()
        wait_for_rows(run, found.name(0))
        assert stop(run) == 4
        check_planned(run)
        (lost,) = run.facts["accounting"]["lost"]
        missing = len(run.truth(simulator)) - len([row for row in run.rows if row["sent_ms"]])
        assert lost["at_least"] or lost["rows"] >= missing
        assert "at least" in run.output or flags == OPEN


def test_a_killed_master_leaves_word_of_what_is_on_other_machines(simulator: Simulator, tmp_path: Path) -> None:
    with fleet(simulator, tmp_path, *CLOSED) as found:
        run = found.run
        run.process.kill()
        run.process.wait()
        served = len(run.truth(simulator))
        command = [sys.executable, "-m", "analysis", "recover", str(run.directory)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        lost = run.facts["accounting"]["lost"]
        assert {each["worker"] for each in lost} == {"w0", "w1"}
        assert all(each["at_least"] for each in lost)
        assert len(run.truth(simulator)) >= served >= len(run.rows)
        assert "lost are at least" in done.stdout
        journal = run.results / "journals" / run.directory.name / "journal-w0.csv"
        assert f"Rows of w0 are on its machine, in {journal}: copy" in done.stdout


@pytest.mark.parametrize("flags", [OPEN, CLOSED], ids=["open", "closed"])
@pytest.mark.parametrize("is_missed", [False, True])
def test_a_stopped_worker_goes_on(
    simulator: Simulator, tmp_path: Path, flags: tuple[str, ...], is_missed: bool
) -> None:
    """Stopped for less, and for more, than its master waits for a heartbeat."""
    with fleet(simulator, tmp_path, *flags) as found:
        run = found.run
        os.killpg(found.workers[1].pid, signal.SIGSTOP)
        if is_missed:
            run.wait_until(lambda: "failed to send heartbeat" in run.output)
        else:
            wait_for_rows(run, found.name(0))
        os.killpg(found.workers[1].pid, signal.SIGCONT)
        wait_for_rows(run, found.name(1))
        stop(run)
        check_planned(run)
        check_identity(run, run.truth(simulator))
        assert not any("neither sent" in each["text"] for each in run.facts["verdict"]["reasons"])


@pytest.mark.parametrize("flags", [OPEN, CLOSED], ids=["open", "closed"])
def test_a_worker_that_is_told_to_end_and_one_that_comes_instead(
    simulator: Simulator, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with fleet(simulator, tmp_path, *flags) as found:
        run = found.run
        found.workers[0].send_signal(signal.SIGTERM)
        found.workers[0].wait(30)
        found.add()
        run.wait_until(lambda: "index 2) reported as ready" in run.output)
        wait_for_rows(run, found.name(1))  # whether Locust gives the new one users or not
        stop(run)
        check_planned(run)
        check_identity(run, run.truth(simulator))


def frames(rng: random.Random) -> list[bytes]:
    """Bytes that are no message, messages that are none of Locust's, and ours with other content."""
    rows = {"worker": "w0", "rows": 2, "text": "a,b\nc,d\n", "run": "x/y"}
    whole = [
        ("tokenswarm_rows", rows, "somebody"),
        ("tokenswarm_rows", {"worker": "w9", "rows": 1, "text": "x" * 5000 + "\n"}, "somebody"),
        ("tokenswarm_rows", None, "somebody"),
        ("tokenswarm_clock", {"asked_at": "noon"}, "somebody"),
        ("tokenswarm_surprise", [1, 2], "somebody"),
        ("heartbeat", None, "somebody"),
        ("stats", {"stats": 1}, "somebody"),
        ("spawning_complete", 7, "somebody"),
        ("exception", {}, "somebody"),
        (None, None, None),
    ]
    packed = [msgpack.dumps(each) for each in whole]
    return [*packed, b"", b"\xc1", msgpack.dumps(1), msgpack.dumps([1]), *(rng.randbytes(40) for _ in range(30))]


@pytest.mark.parametrize("flags", [OPEN, CLOSED], ids=["open", "closed"])
def test_frames_of_garbage_change_nothing(simulator: Simulator, tmp_path: Path, flags: tuple[str, ...]) -> None:
    with fleet(simulator, tmp_path, *flags, "--failure-criteria", "percentage(error) > 50") as found:
        run = found.run
        with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
            stranger.setsockopt(zmq.IDENTITY, b"somebody")
            stranger.setsockopt(zmq.LINGER, 60_000)
            stranger.connect(f"tcp://127.0.0.1:{found.port}")
            for frame in frames(random.Random(5)):
                stranger.send(frame)
        before = run.rows_on_disk()
        run.wait_until(lambda: run.rows_on_disk() > before + 20)
        code = stop(run)
        assert code == run.facts["verdict"]["exit_code"]
        assert code in (4, 5)
        check_planned(run)
        check_identity(run, run.truth(simulator))
        assert run.facts["messages_refused"] >= 30
        assert "Traceback" not in run.output
        assert {each["kind"] for each in run.facts["verdict"]["reasons"]} <= {"interrupted", "saturated"}
