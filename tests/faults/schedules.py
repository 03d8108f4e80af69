"""Runs under faults that are drawn from a seed. A schedule is the same for the same seed; what the machine makes of it
is not."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import zmq

from tests.faults.fleet import ALTERED, fleet
from tests.faults.locust_run import LocustRun, headless, running_locust
from tests.simulator_process import ROOT, Simulator

CRITERION = "percentage(error) > 10"
RUN_S = 4
FULL_AT = 12_000
"""Bytes after which no file may grow: as on a full disk, every further write fails."""


@dataclass(frozen=True)
class Schedule:
    """What one run goes through: `fault` at `after_s`, again `again_s` later where it is one that comes twice.

    `layout`: one process, workers that the master forked, or workers as on machines of their own, whose clocks are
    `skews` ahead; `step_s`: by how much a clock is set.
    """

    seed: int
    layout: str
    is_open: bool
    fault: str
    after_s: float
    again_s: float
    skews: tuple[float, ...]
    step_s: float

    @classmethod
    def of(cls, seed: int) -> Schedule:
        rng = random.Random(seed)
        layout = rng.choice(["one", "one", "forked", "remote"])
        fault = rng.choice([*ANYWHERE, *(WITH_WORKERS if layout != "one" else ())])
        after_s, again_s = rng.uniform(0.3, 2.5), rng.choice([0.05, 0.3, 2.3])
        skews = tuple(rng.choice([0.0, 0.0, 0.5, -5.0, 300.0]) for _ in range(2))
        is_open = rng.random() < 0.5
        return cls(seed, layout, is_open, fault, after_s, again_s, skews, rng.choice([3.0, 30.0, -30.0]))

    def flags(self) -> list[str]:
        """For Locust."""
        given = ["--failure-criteria", CRITERION, "--stop-timeout", "5"]
        return given + (["--rate", "1200", "--max-lag", "2"] if self.is_open else ["--think-time", "0.05"])

    def env(self) -> dict[str, str]:
        """For each process of the run."""
        env = {"PYTHONPATH": f"{ALTERED}:{ROOT}", "STEP_S": str(self.step_s)}
        return env | ({"SLOW_WRITES_S": "0.05"} if self.fault == "slow disk" else {})

    def __str__(self) -> str:
        load = "open" if self.is_open else "closed"
        return f"seed {self.seed}: {self.fault} after {self.after_s:.1f} s, {self.layout}, {load}"


@dataclass(frozen=True)
class Begun:
    """A run that is on, and its workers."""

    run: LocustRun
    workers: list[psutil.Process]
    port: str

    @property
    def all(self) -> list[psutil.Process]:
        return [psutil.Process(self.run.process.pid), *self.workers]


Act = Callable[[Begun, Schedule], None]


@contextlib.contextmanager
def begun(schedule: Schedule, simulator: Simulator, folder: Path) -> Iterator[Begun]:
    """The run of a schedule, once rows of it are on disk."""
    limit, time_s, env = _limit_files if schedule.fault == "disk full" else None, f"{RUN_S}s", schedule.env()
    if schedule.layout == "remote":
        given = schedule.flags()
        with fleet(simulator, folder, *given, skews=schedule.skews, run_time=time_s, env=env, before=limit) as found:
            _await_rows(found.run)
            yield Begun(found.run, [psutil.Process(worker.pid) for worker in found.workers], found.port)
        return
    forked = ["--processes", "2"] if schedule.layout == "forked" else []
    given = headless(simulator.chat_url, *schedule.flags(), *forked, users=4, run_time=time_s)
    with running_locust(folder, *given, env=env, before=limit) as run:
        _await_rows(run)
        arguments = list(run.process.args)
        port = arguments[arguments.index("--master-bind-port") + 1] if "--master-bind-port" in arguments else ""
        yield Begun(run, run.children() if run.process.poll() is None else [], port)


def _await_rows(run: LocustRun) -> None:
    with contextlib.suppress(TimeoutError):
        run.wait_until(lambda: run.rows_on_disk() >= 5, timeout_s=30)


def strike(schedule: Schedule, found: Begun) -> bool:
    """Its fault, and whether there was something to spoil: a run without a verdict, for signals one whose time was not
    over. Of processes and files that are gone there is nothing left."""
    time.sleep(schedule.after_s)
    output = found.run.output
    in_time = "Verdict: " not in output and not (schedule.fault in SIGNALS and "limit reached" in output)
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        {**ANYWHERE, **WITH_WORKERS}[schedule.fault](found, schedule)
    return in_time


def _signal(*numbers: int) -> Act:
    def act(found: Begun, schedule: Schedule) -> None:
        for number in numbers:
            found.run.process.send_signal(number)
            time.sleep(schedule.again_s)

    return act


def _stop_and_continue(found: Begun, schedule: Schedule) -> None:
    process = random.Random(schedule.seed).choice(found.all)
    process.suspend()
    time.sleep(schedule.again_s)
    process.resume()


def _step_clock(found: Begun, schedule: Schedule) -> None:
    """Of all processes of one machine."""
    machine = [random.Random(schedule.seed).choice(found.all)] if schedule.layout == "remote" else found.all
    for process in machine:
        process.send_signal(signal.SIGUSR1)


def _to_worker(number: int) -> Act:
    return lambda found, _schedule: found.workers[0].send_signal(number)


def _spoil(how: Callable[[Path], Any]) -> Act:
    return lambda found, _schedule: how(found.run.directory)


def _send_garbage(found: Begun, schedule: Schedule) -> None:
    rng = random.Random(schedule.seed)
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.setsockopt(zmq.LINGER, 1000)
        stranger.connect(f"tcp://127.0.0.1:{found.port}")
        for _ in range(50):
            stranger.send(rng.randbytes(rng.randrange(80)))


def _nothing(_found: Begun, _schedule: Schedule) -> None:
    return


def _limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_AT, FULL_AT))


SIGNALS = ("term", "term twice", "int, term", "hangup")
"""Faults that end a run before its time."""
ANYWHERE: dict[str, Act] = {
    "nothing": _nothing,
    "kill": _signal(signal.SIGKILL),
    "term": _signal(signal.SIGTERM),
    "term twice": _signal(signal.SIGTERM, signal.SIGTERM),
    "int, term": _signal(signal.SIGINT, signal.SIGTERM),
    "hangup": _signal(signal.SIGHUP),
    "stop and continue": _stop_and_continue,
    "rows removed": _spoil(lambda directory: (directory / "requests.csv").unlink()),
    "rows cut": _spoil(lambda directory: os.truncate(directory / "requests.csv", 100)),
    "directory removed": _spoil(shutil.rmtree),
    "directory renamed": _spoil(lambda directory: directory.rename(directory.with_name("elsewhere"))),
    "disk full": _nothing,
    "slow disk": _nothing,
    "clock step": _step_clock,
}
"""Faults of any run."""
WITH_WORKERS: dict[str, Act] = {
    "kill a worker": _to_worker(signal.SIGKILL),
    "term a worker": _to_worker(signal.SIGTERM),
    "stop a worker": _to_worker(signal.SIGSTOP),
    "garbage": _send_garbage,
}
"""Faults of a run with workers."""
