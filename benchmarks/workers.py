"""Scaling over workers: cost per chunk and accuracy with 1, 2, 4 worker processes at the same load per worker.

    python -m benchmarks.workers [--workers 1,2,4] [--streams-per-worker 100] [--seconds 16]

Per-worker cost should stay the same until the cores run out. The target takes one core; master and workers share the
others, so keep workers x streams within what they carry: the point is the cost, not the limit.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from typing import Any

from benchmarks.accuracy import row_of, run_cell
from benchmarks.figures import markdown_table


def scaling_row(workers: int, per_worker: int, seconds: float) -> dict[str, Any]:
    """One run with a master and `workers` processes (one process without a master for 0)."""
    extra = ["--processes", str(workers)] if workers else []
    cell = run_cell(max(1, workers) * per_worker, seconds, tls=False, at_once=False, extra=extra)
    row = row_of(cell, at_once=False)
    accounting = cell.run.get("accounting") or {}
    return {
        "workers": workers or "local",
        "streams": row["streams"],
        "chunks/s": row["chunks/s"],
        "CPU us/chunk, all": row["CPU us/chunk"],
        "TTFT err p95 ms": row["TTFT err p95 ms"],
        "TBT err mean ms": row["TBT err mean ms"],
        "tokens wrong": row["tokens wrong"],
        "unmatched": row["unmatched"],
        "rows": accounting.get("rows"),
        "lost": sum(entry["rows"] or 0 for entry in accounting.get("lost") or []),
        "RSS MB, all": row["RSS MB"],
        "CPU %, all": row["CPU %"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", default="0,1,2,4", help="0: one process without a master")
    parser.add_argument("--streams-per-worker", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=16.0)
    options = parser.parse_args()
    rows = []
    for workers in map(int, options.workers.split(",")):
        rows.append(scaling_row(workers, options.streams_per_worker, options.seconds))
        print(rows[-1], file=sys.stderr, flush=True)
    print(f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.platform()}\n")
    print(markdown_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
