"""Running a tool on the cores of the load generator, and looking at what it uses."""

from __future__ import annotations

import datetime
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import markdown_table
from benchmarks.process_tree import Sample, TreeSampler
from benchmarks.target import cores
from benchmarks.tools import Job


def run_pinned(job: Job, folder: Path, timeout: float, on_cores: set[int] | None = None) -> list[Sample]:
    """Run a job in `folder` and in a session of its own. Raises `RuntimeError` unless it ends well in time.

    It runs on `on_cores`, by default on all but the target's.

    1 is how load testers say that some request failed, which the end of a run can cause; 4 is our own word that the
    generator was saturated, which some of these runs are meant to bring about.
    """
    own_cores = on_cores or cores()[0]
    with open(folder / "output.txt", "w") as output:
        process = subprocess.Popen(
            job.command,
            cwd=folder,
            env={**os.environ, "LOCUST_REPORT": "no", "LOCUST_PREFLIGHT": "none", **job.environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, own_cores),
        )
        sampler = TreeSampler(process.pid).start()
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end_session(process)
            samples = sampler.stop()
    if code not in (0, 1, 4):
        text = (folder / "output.txt").read_text(errors="replace")
        raise RuntimeError(f"exit {code}: {' '.join(job.command)}\n{text[-2000:]}")
    return samples


def describe_machine() -> str:
    """Date, cores and platform, for the line over a table."""
    return f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.platform()}"


def print_table(rows: Iterable[Mapping[str, Any]]) -> None:
    """Each row as it is measured, to standard error; then all of them as a table."""
    found = []
    for row in rows:
        found.append(row)
        print(row, file=sys.stderr, flush=True)
    print(f"{describe_machine()}\n")
    print(markdown_table(found))


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """End what the tool may have left running in its session."""
    for name in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, name)
        except ProcessLookupError:
            break
        time.sleep(0.5)
    process.wait()
