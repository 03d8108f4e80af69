"""What this machine measures accurately: `python -m tokenswarm.selfcheck`, in under a minute.

Starts a target of known timing on one core and one worker of the load generator on another, raises the number of
concurrent streams level by level, and compares what was measured with what was true, request by request. Prints a
table and one line to put under a report; keeps the result in the user's cache, so that a run beyond the accurate
maximum can be warned of at once.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tokenswarm.exit_codes import ExitCode
from tokenswarm.generator.accuracy import Accuracy, Truth, chunks_between, compare, read_truth
from tokenswarm.generator.selfcheck_result import (
    SelfCheck,
    SelfCheckLevel,
    core_sets,
    describe,
    store,
    stored_path,
    table,
    this_machine,
    to_json,
)
from tokenswarm.installation import module_command, python_path
from tokenswarm.record import RequestRecord
from tokenswarm.redaction import write_line

LEVELS = (50, 200, 500, 1000, 1500, 2000)
TTFT_MS, TBT_MS, TOKENS = 200.0, 20.0, 100
ANSWER_S = (TTFT_MS + TBT_MS * (TOKENS - 1)) / 1000.0
LEVEL_S = 6.5
SETTLE_S = 0.3

CpuSample = tuple[float, float]
"""(Unix s, CPU s used so far)"""


def pin(pid: int, wanted: set[int] | None) -> None:
    if wanted is not None:
        os.sched_setaffinity(pid, wanted)


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what would change the run: Locust's, OpenAI's and Azure's variables."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LOCUST_", "AZURE_", "OPENAI_", "AOAI_"))
    }
    return {**kept, "PYTHONPATH": python_path(), "OPENAI_API_KEY": "none", **more}


@contextmanager
def known_timing_target(folder: Path) -> Iterator[str]:
    """Run the target on its core and give its URL; its log is `truth.jsonl` in `folder`, whole after the block."""
    ready = folder / "ready.json"
    command = [*module_command("simulator.known_timing"), "--ready-file", str(ready)]
    command += ["--log", str(folder / "truth.jsonl"), "--tokens", str(TOKENS)]
    command += ["--ttft-ms", str(TTFT_MS), "--tbt-ms", str(TBT_MS)]
    process = subprocess.Popen(command, cwd=folder, env=clean_environment(), stdout=subprocess.DEVNULL)
    pin(process.pid, core_sets()[1])
    try:
        until = time.monotonic() + 20.0
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the known-timing target did not start")
            time.sleep(0.01)
        yield json.loads(ready.read_text())["chat_url"]
    finally:
        process.terminate()
        process.wait(20)


def run_generator(url: str, levels: Sequence[int], level_s: float, folder: Path) -> list[CpuSample]:
    """Run one worker through all levels; its rows go under `folder`. Raises `RuntimeError` when it wrote none."""
    users = str(levels[-1])
    # One more answer's length: the requests of the last level must be answered for their chunks to be known.
    run_time = level_s * len(levels) + ANSWER_S + 0.5
    command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py")), "--headless"]
    command += ["-H", url, "-u", users, "-r", users, "-t", f"{math.ceil(run_time)}s", "--only-summary"]
    command += ["--api", "openai", "--deployment", "known-timing", "--context-tokens", "100"]
    command += [
        "--max-tokens",
        str(TOKENS),
        "--results-dir",
        str(folder / "results"),
        "--test-name",
        "selfcheck",
        "--report",
        "no",
    ]
    environment = clean_environment(
        TOKENSWARM_SELFCHECK_LEVELS=",".join(map(str, levels)),
        TOKENSWARM_SELFCHECK_LEVEL_S=str(level_s),
        TOKENSWARM_SELFCHECK_RAMP_S=str(ANSWER_S),
    )
    with open(folder / "locust.txt", "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        pin(process.pid, core_sets()[0])
        try:
            samples = list(_sample_cpu(process))
        finally:
            process.kill()
            process.wait()
    if not _rows_file(folder):
        said = (folder / "locust.txt").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"the load generator wrote no rows (exit {process.returncode}):\n{said[-2000:]}")
    return samples


def _sample_cpu(process: subprocess.Popen[bytes]) -> Iterator[CpuSample]:
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            times = watched.cpu_times()
        except psutil.NoSuchProcess:
            return
        yield time.time(), times.user + times.system
        time.sleep(0.2)


def _rows_file(folder: Path) -> Path | None:
    return next(iter(folder.glob("results/*/*/requests.csv")), None)


def read_rows(folder: Path) -> list[RequestRecord]:
    path = _rows_file(folder)
    assert path is not None
    with open(path, newline="", encoding="utf-8") as file:
        return [RequestRecord.from_row(row) for row in csv.DictReader(file)]


def judge(
    levels: Sequence[int],
    level_s: float,
    records: Sequence[RequestRecord],
    log: Sequence[dict[str, Any]],
    cpu: Sequence[CpuSample],
) -> list[SelfCheckLevel]:
    """Sum up each level from rows, truth and CPU. Pure. Raises `ValueError` without any sent request."""
    starts = [record.started_at for record in records if record.started_at is not None]
    if not starts:
        raise ValueError("no request was sent")
    truths = read_truth(log)
    begins = [min(starts) + index * level_s for index in range(len(levels))]
    return [
        _level(streams, begin + ANSWER_S + SETTLE_S, begin + level_s, records, truths, cpu)
        for streams, begin in zip(levels, begins, strict=True)
    ]


def _level(
    streams: int,
    begin: float,
    end: float,
    records: Sequence[RequestRecord],
    truths: dict[str, Truth],
    cpu: Sequence[CpuSample],
) -> SelfCheckLevel:
    """A level from the requests that both started and ended in [begin, end], when all its streams were there."""
    inside = [
        record
        for record in records
        if record.started_at is not None
        and record.e2e_ms is not None
        and begin <= record.started_at
        and record.started_at + record.e2e_ms / 1000.0 <= end
    ]
    accuracy: Accuracy | None
    try:
        accuracy = compare(inside, truths)
    except ValueError:
        accuracy = None
    chunks_per_s = chunks_between(truths.values(), begin, end) / (end - begin)
    delivered_pct = chunks_per_s / (streams * TOKENS / ANSWER_S) * 100.0
    return SelfCheckLevel(streams, chunks_per_s, cpu_pct(cpu, begin, end), accuracy, delivered_pct)


def cpu_pct(samples: Sequence[CpuSample], begin: float, end: float) -> float | None:
    """CPU in percent of one core between the first and the last sample in [begin, end]; `None` below two."""
    inside = [sample for sample in samples if begin <= sample[0] <= end]
    if len(inside) < 2:
        return None
    return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0]) * 100.0


def run_check(levels: Sequence[int], level_s: float) -> SelfCheck:
    """Run target and generator, and judge. Raises `RuntimeError` when either does not work."""
    began, busy, own = time.monotonic(), _busy_s(), _own_s()
    with tempfile.TemporaryDirectory(prefix="tokenswarm-") as name:
        folder = Path(name)
        with known_timing_target(folder) as url:
            cpu = run_generator(url, levels, level_s, folder)
        log = [json.loads(line) for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
        found = judge(levels, level_s, read_rows(folder), log, cpu)
    others_pct = (_busy_s() - busy - (_own_s() - own)) / (time.monotonic() - began) * 100.0
    return SelfCheck(time.time(), this_machine(), max(0.0, others_pct), found)


def _busy_s() -> float:
    """CPU s that all processes of this machine have used."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0))


def _own_s() -> float:
    """CPU s that this process and its ended children have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def parse_levels(text: str) -> list[int]:
    """Rising numbers of streams. Raises `ValueError` saying what was expected."""
    levels = [int(part) for part in text.split(",") if part.strip().isdigit()]
    if not levels or len(levels) != text.count(",") + 1 or levels != sorted(set(levels)) or levels[0] < 1:
        raise ValueError(f"levels: expected rising numbers of streams as in 50,200,1000, got {text!r}")
    return levels


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tokenswarm.selfcheck", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--levels", default=",".join(map(str, LEVELS)), help="rising numbers of streams")
    parser.add_argument("--level-seconds", type=float, default=LEVEL_S, help="seconds at each level; 6 or more")
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of a table")
    parser.add_argument("--store", type=Path, default=stored_path(), help="where the result is kept")
    options = parser.parse_args(argv)
    try:
        levels = parse_levels(options.levels)
        if options.level_seconds < 6:
            raise ValueError(f"level-seconds: expected 6 or more, got {options.level_seconds:g}")
    except ValueError as error:
        parser.error(str(error))
    try:
        check = run_check(levels, options.level_seconds)
    except (RuntimeError, ValueError) as error:
        write_line(f"self-check: {error}", sys.stderr)
        return ExitCode.UNTRUSTED
    try:
        store(check, options.store)
    except OSError as error:
        write_line(f"self-check: the result could not be kept: {error}", sys.stderr)
    if options.json:
        write_line(json.dumps(to_json(check), indent=2))
    else:
        write_line("Measured less true, ms, by concurrent streams of one worker:\n")
        write_line(f"{table(check)}\n\n{describe(check)}")
    return ExitCode.OK if check.best else ExitCode.UNTRUSTED


if __name__ == "__main__":
    sys.exit(main())
