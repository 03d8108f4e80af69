"""Time and memory to read and sum up a large run directory, and the ratio to `pandas.read_csv` of the same file.

    python -m benchmarks.analysis [--rows 100000,1000000]

Each size is read in a process of its own, so that memory is that size's; pandas reads it in another.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import markdown_table
from benchmarks.rows import typical_record
from tokenswarm.record import COLUMNS
from tokenswarm.results.csv_rows import format_row


def write_run(directory: Path, rows: int) -> int:
    """A finished run of `rows` requests at 500 a second; bytes of its requests.csv."""
    path = directory / "requests.csv"
    with open(path, "w", encoding="utf-8") as file:
        file.write(",".join(COLUMNS) + "\n")
        for number in range(rows):
            file.write(format_row(typical_record(number)))
    began = typical_record(0).started_at or 0.0
    facts = {"schema_version": 1, "test_name": "large", "state": "finished", "started_at": began}
    (directory / "run.json").write_text(json.dumps({**facts, "ended_at": began + rows / 500.0 + 3.0}))
    return path.stat().st_size


def measure_here(directory: Path) -> dict[str, Any]:
    """Read and sum up in this process."""
    from analysis.findings.summarise import summarise
    from analysis.sources.loading import load_run

    began = time.perf_counter()
    run = load_run(directory)
    loaded = time.perf_counter()
    summarise(run)
    summed = time.perf_counter()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"read s": loaded - began, "sum up s": summed - loaded, "peak RSS MB": peak_mb}


def read_with_pandas(directory: Path) -> dict[str, Any]:
    """The yardstick: the whole file by `pandas.read_csv`, in this process."""
    import pandas as pd

    began = time.perf_counter()
    pd.read_csv(directory / "requests.csv", low_memory=False)
    return {"read_csv s": time.perf_counter() - began}


def measure(rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        size = write_run(Path(name), rows)
        ours, pandas = (_in_own_process(name, *how) for how in ((), ("--pandas",)))
    ratio = (ours["read s"] + ours["sum up s"]) / pandas["read_csv s"]
    return {"rows": f"{rows:,}", "file MB": size / 1e6, **ours, **pandas, "ours / read_csv": ratio}


def _in_own_process(directory: str, *how: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.analysis", "--directory", directory, *how]
    figures: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", default="100000,1000000")
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pandas", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.directory is not None:
        read = read_with_pandas if options.pandas else measure_here
        print(json.dumps(read(options.directory)))
        return 0
    print(markdown_table([measure(int(rows)) for rows in options.rows.split(",")]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
