"""Peers against the same target in the same run: how far each tool's figures are from the truth, and what it costs.

    python -m benchmarks.peers [--tools tokenswarm,servebench,...] [--streams 10,50,200] [--seconds 18]

Each peer lives in a virtual environment of its own under the cache directory and is installed there when it is first
asked for. The tool has one core (all its processes), the target the other. A tool's figure less the target's own is
its error. Tools start all their streams at once; "after start" leaves out each stream's first request, for tools
that keep figures per request.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import (
    TrueFigures,
    asked_at,
    chunks_between,
    markdown_table,
    peak_streams,
    percentile,
    true_figures,
    true_ttft_ms,
)
from benchmarks.process_tree import Sample, cpu_between
from benchmarks.runs import describe_machine, run_pinned
from benchmarks.target import running_target
from benchmarks.tools import TOOLS, Reported, Tool, Work

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tokenswarm" / "peers"


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one tool: what it reported, what was true, what it used."""

    tool: str
    version: str
    streams: int
    reported: Reported
    true: TrueFigures
    after_start_ms: float | None
    peak: int
    cpu_us_per_chunk: float
    cpu_pct: float
    rss_mb: float
    processes: int


def measure(tool: Tool, version: str, python: Path, streams: int, seconds: float) -> Measured:
    """Run a tool against a fresh target. Raises `RuntimeError` when it fails or reports nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if tool.needs_tokenizer:
            maker = Path(__file__).with_name("make_tokenizer.py")
            subprocess.run([str(python), str(maker), str(folder / "tokenizer")], check=True, capture_output=True)
        with running_target() as target:
            job = tool.job(Work(python, folder, target.url, streams, seconds))
            samples = run_pinned(job, folder, seconds + 120)
        reported = job.read(folder)
    return _sum_up(tool.name, version, streams, reported, target.rows, samples)


def _sum_up(
    tool: str,
    version: str,
    streams: int,
    reported: Reported,
    rows: list[dict[str, Any]],
    samples: list[Sample],
) -> Measured:
    true = true_figures(rows)
    margin = (true.last_at - true.first_at) * 0.2
    start, end = true.first_at + margin, true.last_at - margin
    cpu, wall = cpu_between(samples, start, end)
    inside = [sample for sample in samples if start <= sample.at <= end]
    return Measured(
        tool=tool,
        version=version,
        streams=streams,
        reported=reported,
        true=true,
        after_start_ms=_after_start(reported, rows, streams),
        peak=peak_streams(rows),
        cpu_us_per_chunk=cpu / chunks_between(rows, start, start + wall) * 1e6,
        cpu_pct=cpu / wall * 100.0,
        rss_mb=max(sample.rss for sample in inside) / 1e6,
        processes=max(sample.processes for sample in inside),
    )


def _after_start(reported: Reported, rows: list[dict[str, Any]], streams: int) -> float | None:
    """TTFT p95 error without each stream's first request, ms."""
    later = sorted((row for row in rows if row["outcome"] == "ok"), key=asked_at)[streams:]
    if reported.ttfts_ms is None or len(reported.ttfts_ms) <= streams or not later:
        return None
    return percentile(reported.ttfts_ms[streams:], 95) - percentile(map(true_ttft_ms, later), 95)


def row_of(measured: Measured) -> dict[str, Any]:
    """One row of the table of errors."""
    reported, true = measured.reported, measured.true
    return {
        "tool": f"{measured.tool} {measured.version}",
        "streams": measured.streams,
        "peak": measured.peak,
        "TTFT p95 err ms": reported.ttft_p95_ms - true.ttft_p95_ms,
        "after start": measured.after_start_ms,
        "TTFT mean err ms": reported.ttft_mean_ms - true.ttft_mean_ms,
        "TBT mean err ms": reported.tbt_mean_ms - true.tbt_mean_ms,
        "E2E p95 err ms": None if reported.e2e_p95_ms is None else reported.e2e_p95_ms - true.e2e_p95_ms,
        "requests tool/true": f"{reported.requests}/{true.requests}",
        "CPU us/chunk": measured.cpu_us_per_chunk,
        "CPU % of a core": measured.cpu_pct,
        "RSS MB": measured.rss_mb,
        "processes": measured.processes,
    }


def ratio_rows(runs: list[Measured], own: str) -> list[dict[str, Any]]:
    """Each peer's error and cost as a multiple of `own`'s at the same number of streams."""
    ours = {run.streams: run for run in runs if run.tool == own}
    return [
        {
            "tool": f"{run.tool} {run.version}",
            "streams": run.streams,
            "TTFT p95 error": _times(_ttft_error(run), _ttft_error(ours[run.streams])),
            "CPU per chunk": _times(run.cpu_us_per_chunk, ours[run.streams].cpu_us_per_chunk),
            "memory": _times(run.rss_mb, ours[run.streams].rss_mb),
        }
        for run in runs
        if run.tool != own and run.streams in ours
    ]


def _ttft_error(run: Measured) -> float:
    return abs(run.reported.ttft_p95_ms - run.true.ttft_p95_ms)


def _times(theirs: float, ours: float) -> str:
    return f"{theirs / ours:.1f} x" if ours else "–"


def environment_of(tool: Tool) -> Path:
    """The interpreter of a tool's environment; made and filled when it is not there. Raises `CalledProcessError`."""
    if not tool.requirement:
        return Path(sys.executable)
    folder = CACHE / tool.name
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([_interpreter(), "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", tool.requirement], check=True)
        (folder / "installed").touch()
    return python


def _interpreter() -> str:
    """A Python 3.12 that really runs (a pyenv shim may not), which all peers support; else this one."""
    named = shutil.which("python3.12")
    if named and subprocess.run([named, "-c", "import venv"], capture_output=True).returncode == 0:
        return named
    return sys.executable


def version_of(tool: Tool, python: Path) -> str:
    """Version of the tool's package in its environment; ours says `this` where it is not installed."""
    query = f"from importlib.metadata import version; print(version({tool.package!r}))"
    found = subprocess.run([str(python), "-c", query], capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else "(this tree)"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tools", default=",".join(TOOLS), help="comma-separated; all by default")
    parser.add_argument("--streams", default="10,50,200")
    parser.add_argument("--seconds", type=float, default=18.0)
    options = parser.parse_args()
    names = options.tools.split(",")
    if unknown := [name for name in names if name not in TOOLS]:
        parser.error(f"tools: expected some of {', '.join(TOOLS)}, got {', '.join(unknown)}")
    runs: list[Measured] = []
    for name in names:
        tool = TOOLS[name]
        python = environment_of(tool)
        version = version_of(tool, python)
        for streams in map(int, options.streams.split(",")):
            try:
                runs.append(measure(tool, version, python, streams, options.seconds))
            except (RuntimeError, ValueError, OSError, LookupError, TypeError) as error:
                print(f"{name} at {streams}: no figures: {error}", file=sys.stderr, flush=True)
                break
            print(row_of(runs[-1]), file=sys.stderr, flush=True)
    print(f"{describe_machine()}\n")
    if runs:
        print(markdown_table([row_of(run) for run in sorted(runs, key=lambda run: run.streams)]))
    if ratios := ratio_rows(sorted(runs, key=lambda run: run.streams), "tokenswarm"):
        print("\nAs a multiple of Tokenswarm's:\n")
        print(markdown_table(ratios))
    return 0


if __name__ == "__main__":
    sys.exit(main())
