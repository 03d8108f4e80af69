"""Runs under faults drawn from a seed, each held against the target's own log: no false pass, no request uncounted.

    python -m tests.faults.torture --seeds 500 --first 0 --record torture.jsonl
    python -m tests.faults.torture --read torture.jsonl

A line is printed for each run, and a table at the end, also where that comes early. `--record` appends each run to a
file; `--read` prints the table of such files, and runs nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from tests.faults.locust_run import LocustRun
from tests.faults.schedules import SIGNALS, Begun, Schedule, begun, strike
from tests.simulator_process import ROOT, Simulator, running_simulator
from tokenswarm.exit_codes import ExitCode
from tokenswarm.record import COLUMNS
from tokenswarm.userinput import BadInput

CONFIG = """
[deployments.'gpt-4.1-nano']
ttft_base_ms = 20
ttft_std_ms = 5
tbt_ms = 5
tbt_std_ms = 0
faults = [{fault = "http_500", share = %s}]
"""
FAILING = (0.0, 0.02, 0.5)
"""Shares of failed answers: with the criterion of a schedule they pass, pass, and fail."""
NEVER_PASSED = (*SIGNALS, "rows removed", "rows cut", "directory removed",
                "directory renamed", "disk full", "clock step")  # fmt: skip
TOO_LATE = "came too late"
WORKERS_END_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the truth log's requests without a row, of which it said that they are lost (or that there are
    more than it knows); and what is wrong, one line each."""

    seed: int
    fault: str
    layout: str
    code: int
    state: str
    served: int
    missing: int
    uncounted: int
    wrong: tuple[str, ...]
    saturated: bool
    took_s: float

    def __str__(self) -> str:
        busy = ", saturated" if self.saturated else ""
        counts = f"{self.served} served, {self.missing} without a row, {self.uncounted} uncounted"
        return f"exit code {self.code}, {self.state}{busy}; {counts}; {self.took_s:.1f} s"


def torture(schedule: Schedule, simulator: Simulator, folder: Path) -> Outcome:
    """One run, and what is wrong with what it said."""
    before, began = simulator.admin("POST", "/admin/flush")["lines"], time.monotonic()
    with begun(schedule, simulator, folder) as found:
        in_time = strike(schedule, found)
        code = found.run.wait(60)
        _wait_for_workers(found)
    truth = [line for line in simulator.truth(30)[before:] if line["client_request_id"]]
    if code < 0:
        _recover(found.run)
    fault = schedule.fault if in_time else TOO_LATE
    return _judge(schedule, fault, found.run, code, truth, time.monotonic() - began)


def _wait_for_workers(found: Begun) -> None:
    """Of a master that was killed: they end by themselves, but for those that a fault has stopped."""
    _, alive = psutil.wait_procs(found.workers, timeout=0)
    psutil.wait_procs([each for each in alive if not _is_stopped(each)], timeout=WORKERS_END_S)


def _is_stopped(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() == psutil.STATUS_STOPPED)
    return False


def _recover(run: LocustRun) -> None:
    for path in run.results.glob("*/*/run.json"):
        command = [sys.executable, "-m", "analysis", "recover", str(path.parent)]
        subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)


def _judge(
    schedule: Schedule, fault: str, run: LocustRun, code: int, truth: list[dict[str, Any]], took_s: float
) -> Outcome:
    known = schedule.seed, fault, schedule.layout, code
    failed_pct = 100 * sum(line["status"] >= 400 for line in truth) / max(1, len(truth))
    wrong = _false_pass(fault, code, failed_pct)
    if fault == TOO_LATE:
        return Outcome(*known, "over", len(truth), 0, 0, tuple(wrong), False, took_s)
    if not list(run.results.glob("*/*/run.json")):
        gone = fault == "directory removed" and code == 4
        wrong += [] if gone else [f"exit code {code} without a run.json"]
        return Outcome(*known, "gone", len(truth), 0, 0, tuple(wrong), False, took_s)
    facts = run.facts
    missing, uncounted = _uncounted(run, truth)
    saturated = bool(facts["generator"].get("saturated"))
    wrong += _disagreement(run, code)
    wrong += [f"{uncounted} requests uncounted"] if uncounted else []
    if fault in ("nothing", "garbage") and code == 4 and not saturated:
        wrong.append(f"untrusted after {fault}: {facts['verdict']['reasons']}")
    state = (facts["verdict"] or {}).get("state", facts["state"])
    return Outcome(*known, state, len(truth), missing, uncounted, tuple(wrong), saturated, took_s)


def _false_pass(fault: str, code: int, failed_pct: float) -> list[str]:
    if code != 0:
        return []
    wrong = [f"exit code 0 after {fault}"] if fault in NEVER_PASSED else []
    return wrong + ([f"exit code 0 where {failed_pct:.0f} % failed"] if failed_pct > 10 else [])


def _disagreement(run: LocustRun, code: int) -> list[str]:
    """Exit code, run.json and `analysis check` say the same, and none says passed of a run that did not end."""
    facts, verdict = run.facts, run.facts["verdict"]
    state, check = _check(run.directory)
    if verdict is None:
        passed = check == 0 or code in (0, 3, 5)
        return [f"exit codes {code} and {check} of a run that is {facts['state']}"] if passed else []
    wrong = []
    if code >= 0 and verdict["exit_code"] != code and code not in (4, 70):
        wrong.append(f"exit code {code}, {verdict['exit_code']} in run.json")
    if check not in (verdict["exit_code"], ExitCode.BAD_INPUT) and facts["state"] != "running":
        wrong.append(f"{state} in check, {verdict['state']} in run.json")
    if verdict["exit_code"] and not verdict["reasons"]:
        wrong.append(f"{verdict['state']} without a reason")
    return wrong


def _check(directory: Path) -> tuple[str, int]:
    """What `analysis check` says; it refuses rows that somebody has cut."""
    try:
        judgement = summarise(load_run(directory)).judgement
    except BadInput as refusal:
        return str(refusal), ExitCode.BAD_INPUT
    return judgement.state, judgement.exit_code


def _uncounted(run: LocustRun, truth: list[dict[str, Any]]) -> tuple[int, int]:
    """Requests that were served and have no row, and those of them that nobody said to be lost."""
    missing = len({line["client_request_id"] for line in truth} - _ids(run.directory / "requests.csv"))
    lost = run.facts["accounting"]["lost"]
    known = sum(each["rows"] for each in lost)
    return missing, 0 if any(each.get("at_least") for each in lost) else max(0, missing - known)


def _ids(path: Path) -> set[str]:
    """Request ids of the whole rows in a file, with or without its header."""
    if not path.exists():
        return set()
    with path.open(errors="replace", newline="") as file:
        found = [cells for cells in csv.reader(file) if len(cells) == len(COLUMNS)]
    call_id, attempt = COLUMNS.index("call_id"), COLUMNS.index("attempt")
    return {f"{cells[call_id]}-{cells[attempt]}" for cells in found}


def outcomes(seeds: Iterable[int]) -> Iterator[Outcome]:
    """Of the schedules of some seeds."""
    with contextlib.ExitStack() as stack:
        simulators = [stack.enter_context(running_simulator(CONFIG % share)) for share in FAILING]
        for seed in seeds:
            kind = random.Random(-seed - 1).randrange(len(FAILING))
            with tempfile.TemporaryDirectory() as name:
                yield torture(Schedule.of(seed), simulators[kind], Path(name))


def table(found: Sequence[Outcome]) -> str:
    """A line for each fault: runs, how they ended, false passes, requests uncounted."""
    by_fault: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        by_fault[outcome.fault].append(outcome)
    lines = [
        "| fault | runs | exit codes | served without a row | uncounted | false passes |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for fault, each in sorted(by_fault.items()):
        codes = ", ".join(f"{code}: {n}" for code, n in sorted(Counter(outcome.code for outcome in each).items()))
        false = sum(outcome.code == 0 and bool(outcome.wrong) for outcome in each)
        missing, uncounted = (sum(getattr(o, name) for o in each) for name in ("missing", "uncounted"))
        lines.append(f"| {fault} | {len(each)} | {codes} | {missing} | {uncounted} | {false} |")
    wrong, saturated = sum(bool(outcome.wrong) for outcome in found), sum(outcome.saturated for outcome in found)
    return "\n".join([*lines, "", f"{len(found)} schedules, {wrong} wrong, {saturated} saturated"])


def read_outcomes(paths: Sequence[Path]) -> list[Outcome]:
    """Runs that were recorded."""
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [Outcome(**{**line, "wrong": tuple(line["wrong"])}) for line in lines]


def run_schedules(options: argparse.Namespace) -> list[Outcome]:
    """Run, print and record; until the seeds are through, the time is up, or somebody ends it."""
    deadline, found = time.monotonic() + options.minutes * 60, []
    with contextlib.suppress(KeyboardInterrupt):
        for outcome in outcomes(options.only or range(options.first, options.first + options.seeds)):
            found.append(outcome)
            print(f"{Schedule.of(outcome.seed)}: {outcome}", *outcome.wrong, sep="\n    WRONG: ", flush=True)
            if options.record:
                with options.record.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
            if time.monotonic() > deadline:
                break
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+", help="these seeds instead")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further schedule after this time")
    parser.add_argument("--record", type=Path, help="append each run to this file, a line of JSON each")
    parser.add_argument("--read", type=Path, nargs="+", help="print the table of recorded runs")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found = read_outcomes(options.read) if options.read else run_schedules(options)
    print(table(found))
    return int(any(outcome.wrong for outcome in found))


if __name__ == "__main__":
    sys.exit(main())
