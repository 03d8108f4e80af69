"""Scaling over workers: cost per chunk and accuracy with 1, 2, 4 worker processes at the same load per worker.

    python -m benchmarks.workers [--workers 1,2,4] [--streams-per-worker 200] [--seconds 14]

A worker's cost should stay the same until the cores run out. Here, unlike elsewhere, the workers may use all cores, the
target's too. The cost of a worker is its CPU time for each chunk that came to it; the master's is told beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from benchmarks.accuracy import row_of, run_cell, window_of
from benchmarks.figures import chunks_between
from benchmarks.runs import free_port, print_table


def scaling_row(workers: int, per_worker: int, seconds: float) -> dict[str, Any]:
    """One run with a master and `workers` processes, on all cores."""
    bus = str(free_port())
    extra = ["--processes", str(workers), "--master-bind-port", bus, "--master-port", bus]
    everywhere = set(os.sched_getaffinity(0))
    cell = run_cell(workers * per_worker, seconds, tls=False, at_once=False, extra=extra, on_cores=everywhere)
    begin, end = window_of(cell.records, at_once=False)
    inside = [sample for sample in cell.samples if begin <= sample.at <= end]
    first, last = inside[0], inside[-1]
    wall = last.at - first.at
    of_workers = last.children_cpu_s - first.children_cpu_s
    of_all = last.cpu_s - first.cpu_s
    row = row_of(cell, at_once=False)
    accounting = cell.run.get("accounting") or {}
    return {
        "workers": workers,
        "streams": row["streams"],
        "chunks/s": row["chunks/s"],
        "worker CPU us/chunk": of_workers / chunks_between(cell.target.rows, first.at, last.at) * 1e6,
        "a worker's CPU %": of_workers / wall / workers * 100.0,
        "master CPU %": (of_all - of_workers) / wall * 100.0,
        "TTFT err p95 ms": row["TTFT err p95 ms"],
        "TBT err mean ms": row["TBT err mean ms"],
        "tokens wrong": row["tokens wrong"],
        "unmatched": row["unmatched"],
        "rows": accounting.get("rows"),
        "lost": sum(entry["rows"] or 0 for entry in accounting.get("lost") or []),
        "RSS MB, all": row["RSS MB"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--streams-per-worker", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=14.0)
    options = parser.parse_args()
    print_table(
        scaling_row(workers, options.streams_per_worker, options.seconds)
        for workers in map(int, options.workers.split(","))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
