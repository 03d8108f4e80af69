"""What the master carries: rows of short answers from several workers, live, while it serves its page.

    python -m benchmarks.master [--workers 4] [--rows-per-s 500,1000,2000] [--seconds 20]

Each answer is one token after 50 ms, so that a row costs hardly anything but being a row. The page's state is asked for
5 times a second meanwhile: how long the master takes for that is how late its other duties are. Workers and master
share all cores but the target's.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import threading
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import percentile
from benchmarks.runs import free_port, print_table, run_pinned
from benchmarks.target import running_target
from benchmarks.tools import Job, Work, read_rows, tokenswarm_job

ASK_EVERY_S = 0.2


class Asker:
    """Asks the master's page for its state from another thread, and looks at the master's CPU time."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/llm/live"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.took_ms: list[float] = []
        self.cpu: list[tuple[float, float]] = []

    def __enter__(self) -> Asker:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(ASK_EVERY_S):
            began = time.monotonic()
            try:
                with urllib.request.urlopen(f"{self._url}?since={time.time() - 2:.0f}", timeout=60) as answer:  # nosec B310: an http URL of ours
                    state = json.load(answer)
            except OSError:
                continue  # nobody listens: before the start, or after the end
            if state["state"] == "running":
                self.took_ms.append((time.monotonic() - began) * 1000.0)
                self._look_at_cpu()

    def _look_at_cpu(self) -> None:
        """CPU s of the process that listens on the page's port: the master, which is the workers' parent."""
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            parent = process.parent()
            if "--web-port" in command and (parent is None or "--web-port" not in parent.cmdline()):
                times = process.cpu_times()
                self.cpu.append((time.time(), times.user + times.system))


def master_row(workers: int, rate: float, seconds: float) -> dict[str, Any]:
    """One run at `rate` rows per second in all."""
    with tempfile.TemporaryDirectory() as name:
        folder, page, bus = Path(name), free_port(), free_port()
        with running_target("--ttft-ms", "50", "--tokens", "1") as target:
            users = max(workers, int(rate * 0.05 * 4))
            job = tokenswarm_job(Work(Path(sys.executable), folder, target.url, users, seconds))
            command = [part for part in job.command if part not in ("--headless", "--only-summary")]
            command += ["--processes", str(workers), "--master-bind-port", str(bus), "--master-port", str(bus)]
            command += ["--autostart", "--autoquit", "1", "--web-host", "127.0.0.1", "--web-port", str(page)]
            command += ["--arrival", "constant", "--rate", f"{rate * 60:g}", "--max-tokens", "1"]
            with Asker(page) as asker:
                run_pinned(Job(command, job.read, job.environment), folder, seconds + 120)
        rows = list(read_rows(folder))
        (directory,) = [path.parent for path in folder.glob("results/*/*/run.json")]
        facts = json.loads((directory / "run.json").read_text())
        ticks = _history_ticks(directory)
    sent = [row for row in rows if row["outcome"] != "dropped"]
    served = {row["client_request_id"] for row in target.rows} - {None}
    asked = {f"{row['call_id']}-{row['attempt']}" for row in sent}
    (first, cpu_first), (last, cpu_last) = asker.cpu[0], asker.cpu[-1]
    rows_between = sum(first <= float(row["started_at"]) <= last for row in sent)
    return {
        "workers": workers,
        "rows/s asked": rate,
        "rows/s": rows_between / (last - first),
        "planned": facts["accounting"]["planned"],
        "dropped": facts["accounting"]["dropped"],
        "served without a row": len(served - asked),
        "rows lost": sum(each["rows"] or 0 for each in facts["accounting"]["lost"]),
        "master CPU us/row": (cpu_last - cpu_first) / rows_between * 1e6,
        "master CPU %": (cpu_last - cpu_first) / (last - first) * 100.0,
        "page p50 ms": percentile(asker.took_ms, 50),
        "page p99 ms": percentile(asker.took_ms, 99),
        "page max ms": max(asker.took_ms),
        "page asked": len(asker.took_ms),
        "longest gap of Locust's history, s": max((after - before for before, after in pairwise(ticks)), default=None),
        "says saturated": (facts.get("generator") or {}).get("saturated"),
    }


def _history_ticks(directory: Path) -> list[int]:
    """Unix s of the lines that Locust's own history writes once a second."""
    (path,) = directory.glob("*_stats_history.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return sorted({int(row["Timestamp"]) for row in csv.DictReader(file) if row["Name"] == "Aggregated"})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rows-per-s", default="500,1000,2000")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    print_table(
        master_row(options.workers, rate, options.seconds) for rate in map(float, options.rows_per_s.split(","))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
