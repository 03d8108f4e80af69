"""Runs under faults drawn from a seed, each held against the target's own log: no false pass, no request uncounted.

    python -m tests.faults.torture --seeds 500 --first 0

A schedule is the same for the same seed; what the machine makes of it is not.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import zmq

from tests.faults.locust_run import LocustRun, headless, running_locust
from tests.simulator_process import ROOT, Simulator, running_simulator
from tokenswarm.record import COLUMNS

CONFIG = """
[deployments.gpt-35-turbo]
ttft_base_ms = 20
ttft_std_ms = 5
tbt_ms = 5
tbt_std_ms = 0
faults = [{fault = "http_500", share = %s}]
"""
FAILING = (0.0, 0.02, 0.5)
"""Shares of failed answers: with the criterion below they pass, pass, and fail."""
CRITERION = "percentage(error) > 10"
RUN_S = 4
STEPPED = Path(__file__).parent / "stepped"
FULL_AT = 20_000


@dataclass(frozen=True)
class Schedule:
    """What one run goes through: `fault` at `after_s`, again `again_s` later where it is one that comes twice."""

    seed: int
    workers: int
    is_open: bool
    fault: str
    after_s: float
    again_s: float

    @classmethod
    def of(cls, seed: int) -> Schedule:
        rng = random.Random(seed)
        workers = rng.choice([1, 1, 2])
        fault = rng.choice([*ANYWHERE, *(WITH_WORKERS if workers > 1 else ())])
        after_s, again_s = rng.uniform(0.3, 2.5), rng.choice([0.05, 0.3, 2.3])
        return cls(seed, workers, rng.random() < 0.5, fault, after_s, again_s)

    def flags(self) -> list[str]:
        given = ["--failure-criteria", CRITERION, "--stop-timeout", "5"]
        given += ["--processes", "2"] if self.workers > 1 else []
        return given + (["--rate", "1200", "--max-lag", "2"] if self.is_open else ["--think-time", "0.05"])


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and what is wrong with that, one line each."""

    schedule: Schedule
    code: int
    state: str
    uncounted: int
    wrong: tuple[str, ...]
    saturated: bool


def _signal(*numbers: int) -> Callable[[LocustRun, Schedule], None]:
    def act(run: LocustRun, schedule: Schedule) -> None:
        for number in numbers:
            run.process.send_signal(number)
            time.sleep(schedule.again_s)

    return act


def _stop_and_continue(run: LocustRun, schedule: Schedule) -> None:
    process = random.Random(schedule.seed).choice([psutil.Process(run.process.pid), *run.children()])
    process.suspend()
    time.sleep(schedule.again_s)
    process.resume()


def _to_worker(number: int) -> Callable[[LocustRun, Schedule], None]:
    return lambda run, _schedule: run.children()[0].send_signal(number)


def _spoil(how: Callable[[Path], Any]) -> Callable[[LocustRun, Schedule], None]:
    return lambda run, _schedule: how(run.directory)


def _send_garbage(run: LocustRun, schedule: Schedule) -> None:
    arguments = psutil.Process(run.process.pid).cmdline()
    port = arguments[arguments.index("--master-bind-port") + 1]
    rng = random.Random(schedule.seed)
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.setsockopt(zmq.LINGER, 1000)
        stranger.connect(f"tcp://127.0.0.1:{port}")
        for _ in range(50):
            stranger.send(rng.randbytes(rng.randrange(80)))


def _nothing(_run: LocustRun, _schedule: Schedule) -> None:
    return


ANYWHERE: dict[str, Callable[[LocustRun, Schedule], None]] = {
    "nothing": _nothing,
    "kill": _signal(signal.SIGKILL),
    "term": _signal(signal.SIGTERM),
    "term twice": _signal(signal.SIGTERM, signal.SIGTERM),
    "int, term": _signal(signal.SIGINT, signal.SIGTERM),
    "stop and continue": _stop_and_continue,
    "rows removed": _spoil(lambda directory: (directory / "requests.csv").unlink()),
    "rows cut": _spoil(lambda directory: os.truncate(directory / "requests.csv", 100)),
    "directory removed": _spoil(shutil.rmtree),
    "directory renamed": _spoil(lambda directory: directory.rename(directory.with_name("elsewhere"))),
    "disk full": _nothing,
    "slow disk": _nothing,
    "clock step": _nothing,
}
WITH_WORKERS: dict[str, Callable[[LocustRun, Schedule], None]] = {
    "kill a worker": _to_worker(signal.SIGKILL),
    "term a worker": _to_worker(signal.SIGTERM),
    "garbage": _send_garbage,
}
STOPS = ("kill", "term", "term twice", "int, term")
SPOILS = ("rows removed", "rows cut", "directory removed", "directory renamed", "disk full", "clock step")


def torture(schedule: Schedule, simulator: Simulator, failing: float, folder: Path) -> Outcome:
    """One run, and what is wrong with what it said."""
    before = simulator.admin("POST", "/admin/flush")["lines"]
    env = {"PYTHONPATH": f"{STEPPED}:{ROOT}"}
    env |= {"STEP_S": "30", "STEP_AFTER_S": "4"} if schedule.fault == "clock step" else {}
    env |= {"SLOW_WRITES_S": "0.05"} if schedule.fault == "slow disk" else {}
    limit = _limit_files if schedule.fault == "disk full" else None
    given = headless(simulator.chat_url, *schedule.flags(), users=4, run_time=f"{RUN_S}s")
    with running_locust(folder, *given, env=env, before=limit) as run:
        with contextlib.suppress(TimeoutError, OSError, ValueError, psutil.Error, IndexError):
            run.wait_until(lambda: run.rows_on_disk() >= 5, timeout_s=20)
            time.sleep(schedule.after_s)
            {**ANYWHERE, **WITH_WORKERS}[schedule.fault](run, schedule)
        code = run.wait(60)
        _wait_for_workers(run)
    truth = [line for line in simulator.truth(30)[before:] if line["client_request_id"]]
    return _judge(schedule, run, code, truth, failing)


def _limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_AT, FULL_AT))


def _wait_for_workers(run: LocustRun) -> None:
    """Of a master that was killed: they end by themselves."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(
        process.info["pid"] != run.process.pid and run.results.as_posix() in " ".join(process.info["cmdline"] or [])
        for process in psutil.process_iter(["pid", "cmdline"])
    ):
        time.sleep(0.1)


def _judge(schedule: Schedule, run: LocustRun, code: int, truth: list[dict[str, Any]], failing: float) -> Outcome:
    wrong = []
    directories = list(run.results.glob("*/*/run.json"))
    failed_pct = 100 * sum(line["status"] >= 400 for line in truth) / max(1, len(truth))
    if code == 0 and schedule.fault in STOPS + SPOILS:
        wrong.append(f"exit code 0 after {schedule.fault}")
    if code == 0 and failed_pct > 10:
        wrong.append(f"exit code 0 where {failed_pct:.0f} % failed")
    if not directories:
        gone = schedule.fault == "directory removed"
        return Outcome(
            schedule, code, "gone", 0, tuple(wrong if gone and code == 4 else [*wrong, "no run.json"]), False
        )
    if code < 0:
        _recover(run)
    facts = run.facts
    verdict = facts["verdict"] or {}
    if code >= 0 and facts["state"] == "running" and code not in (4, 70):
        wrong.append(f"exit code {code} of a run that is still on")
    if code >= 0 and verdict and verdict["exit_code"] != code and code not in (4, 70):
        wrong.append(f"exit code {code}, {verdict['exit_code']} in run.json")
    rows = _ids(run.directory / "requests.csv")
    missing = len({line["client_request_id"] for line in truth} - rows)
    lost = facts["accounting"]["lost"]
    known = sum(each["rows"] for each in lost) + (missing if any(each.get("at_least") for each in lost) else 0)
    uncounted = max(0, missing - known)
    if uncounted and code in (0, 3, 5):
        wrong.append(f"{uncounted} requests uncounted, exit code {code}")
    elif uncounted:
        wrong.append(f"{uncounted} requests uncounted")
    saturated = bool(facts["generator"].get("saturated"))
    return Outcome(schedule, code, verdict.get("state", facts["state"]), uncounted, tuple(wrong), saturated)


def _ids(path: Path) -> set[str]:
    """Request ids of the whole rows in a file, with or without its header."""
    if not path.exists():
        return set()
    with path.open(errors="replace", newline="") as file:
        found = [cells for cells in csv.reader(file) if len(cells) == len(COLUMNS)]
    call_id, attempt = COLUMNS.index("call_id"), COLUMNS.index("attempt")
    return {f"{cells[call_id]}-{cells[attempt]}" for cells in found}


def _recover(run: LocustRun) -> None:
    command = [sys.executable, "-m", "analysis", "recover", str(run.directory)]
    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)


def outcomes(first: int, seeds: int) -> Iterator[Outcome]:
    """Of `seeds` schedules from seed `first` on."""
    with contextlib.ExitStack() as stack:
        simulators = [stack.enter_context(running_simulator(CONFIG % share)) for share in FAILING]
        for seed in range(first, first + seeds):
            kind = random.Random(-seed - 1).randrange(len(FAILING))
            with tempfile.TemporaryDirectory() as name:
                yield torture(Schedule.of(seed), simulators[kind], FAILING[kind], Path(name))


def table(found: list[Outcome]) -> str:
    """A line for each fault: runs, how they ended, false passes, requests uncounted."""
    by_fault: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        by_fault[outcome.schedule.fault].append(outcome)
    lines = ["| fault | runs | exit codes | false passes | uncounted |", "|---|---:|---|---:|---:|"]
    for fault, each in sorted(by_fault.items()):
        codes = ", ".join(f"{code}: {n}" for code, n in sorted(Counter(outcome.code for outcome in each).items()))
        false = sum(outcome.code == 0 and bool(outcome.wrong) for outcome in each)
        lines.append(f"| {fault} | {len(each)} | {codes} | {false} | {sum(o.uncounted for o in each)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further schedule after this time")
    options = parser.parse_args()
    deadline, found = time.monotonic() + options.minutes * 60, []
    for outcome in outcomes(options.first, options.seeds):
        found.append(outcome)
        for problem in outcome.wrong:
            print(f"{outcome.schedule}: {problem}", flush=True)
        if time.monotonic() > deadline:
            break
    print(table(found))
    saturated = sum(outcome.saturated for outcome in found)
    print(f"{len(found)} schedules, {sum(bool(outcome.wrong) for outcome in found)} wrong, {saturated} saturated")
    return int(any(outcome.wrong for outcome in found))


if __name__ == "__main__":
    sys.exit(main())
