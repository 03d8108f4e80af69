"""Results of other tools, told apart by what is in the files, not by their names alone."""

from __future__ import annotations

from pathlib import Path

from analysis.sources import benchmark_log, locust_csv
from analysis.sources import jmeter_results as jmeter
from analysis.sources.run import Run

_SNIFFED = 65536


def load(path: Path) -> Run | None:
    """The run in a file or directory of another tool; `None` when it is none of those known.

    Raises `BadInput` when it is one, but cannot be read.
    """
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    heads = {file: _head(file) for file in files if file.suffix.lower() in (".csv", ".jtl", ".log", ".jsonl", ".txt")}
    results = [file for file, head in heads.items() if jmeter.is_results(head)]
    if results:
        return jmeter.load(path, results)
    stats = [file for file, head in heads.items() if locust_csv.is_stats(head) or locust_csv.is_history(head)]
    if stats:
        return locust_csv.load(path, stats)
    logs = [file for file, head in heads.items() if benchmark_log.is_log(head)]
    return benchmark_log.load(path, logs) if logs else None


def _head(path: Path) -> str:
    """The first part of a file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_SNIFFED).decode("utf-8-sig", "replace")
    except OSError:
        return ""
