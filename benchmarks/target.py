"""The known-timing target as a process on a core of its own, and what it logged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TTFT_MS, TBT_MS, TOKENS = 200.0, 20.0, 100
E2E_MS = TTFT_MS + TBT_MS * (TOKENS - 1)


@dataclass
class RunningTarget:
    """A target that accepts; `rows` and `summary` are filled when it has stopped."""

    url: str
    pid: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


def cores() -> tuple[set[int], set[int]]:
    """(cores of the load generator, core of the target); the same when the machine has only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (set(usable[:-1]) or set(usable)), {usable[-1]}


@contextmanager
def running_target(*arguments: str) -> Iterator[RunningTarget]:
    """Start the target with the reference timing and `arguments`, pinned to the last core; stop it at the end."""
    with tempfile.TemporaryDirectory() as folder:
        ready, log = Path(folder, "ready.json"), Path(folder, "truth.jsonl")
        timing = ["--ttft-ms", str(TTFT_MS), "--tbt-ms", str(TBT_MS), "--tokens", str(TOKENS)]
        command = [sys.executable, "-m", "simulator.known_timing", *timing]
        command += ["--ready-file", str(ready), "--log", str(log), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        os.sched_setaffinity(process.pid, cores()[1])
        try:
            target = RunningTarget(_wait_until_ready(ready, process), process.pid)
            yield target
        finally:
            process.terminate()
            printed, _ = process.communicate(timeout=20)
        target.summary = json.loads(printed.splitlines()[-1])
        target.rows = [json.loads(line) for line in log.read_text().splitlines()]


def _wait_until_ready(ready: Path, process: subprocess.Popen[str]) -> str:
    until = time.monotonic() + 20
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the known-timing target did not start")
        time.sleep(0.01)
    return str(json.loads(ready.read_text())["chat_url"])
