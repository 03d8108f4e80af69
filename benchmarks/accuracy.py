"""Accuracy and CPU per chunk by concurrency: our rows against the target's log, request by request.

    python -m benchmarks.accuracy [--streams 10,50,200,500,1000,1500,2000] [--seconds 14] [--tls] [--at-once]

One worker on one core, the target on the other. Streams begin at random moments within one answer's length, and
figures are of the requests that started after that. `--at-once` starts all at the same moment and counts those first
requests too: the worst case, in which requests go in waves for ever since the target's timing never varies. Without it
a run lasts three answers' length at least, as its first two do not count.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.certificate import make_certificate
from benchmarks.figures import chunks_between, markdown_table, percentile
from benchmarks.process_tree import Sample, cpu_between
from benchmarks.runs import describe_machine, run_pinned
from benchmarks.target import E2E_MS, ROOT, RunningTarget, running_target
from benchmarks.tools import Job, Work, read_rows, tokenswarm_job
from tokenswarm.generator.accuracy import client_request_id, compare, error_of, read_truth
from tokenswarm.record import Outcome, RequestRecord

E2E_S = E2E_MS / 1000.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One run at one concurrency."""

    streams: int
    records: list[RequestRecord]
    target: RunningTarget
    samples: list[Sample]
    run: dict[str, Any]


def run_cell(
    streams: int,
    seconds: float,
    tls: bool,
    at_once: bool,
    extra: list[str] | None = None,
    on_cores: set[int] | None = None,
) -> Cell:
    """Run our load generator once against a fresh target; `on_cores`, by default on all but the target's."""
    seconds = seconds if at_once else max(seconds, 3 * E2E_S)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments: list[str] = []
        trusting: list[str] = []
        if tls:
            certificate, key = make_certificate(folder)
            arguments = ["--tls-cert", str(certificate), "--tls-key", str(key)]
            trusting = ["--ca-file", str(certificate)]
        with running_target(*arguments) as target:
            job = tokenswarm_job(Work(Path(sys.executable), folder, target.url, streams, seconds))
            spread = [] if at_once else ["-f", str(ROOT / "benchmarks" / "spread_locustfile.py")]
            command = [*job.command, *spread, *trusting, *(extra or [])]
            samples = run_pinned(Job(command, job.read, job.environment), folder, seconds + 120, on_cores)
        records = [RequestRecord.from_row(row) for row in read_rows(folder)]
        run = _read_run(folder)
    return Cell(streams, records, target, samples, run)


def _read_run(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("results/*/*/run.json")
    return dict(json.loads(path.read_text()))


def window_of(records: list[RequestRecord], at_once: bool) -> tuple[float, float]:
    """Starts in [first, last] count: those after the ramp and its connections, and those that were answered."""
    starts = sorted(record.started_at for record in records if record.started_at is not None)
    answered = [r.started_at for r in records if r.outcome is Outcome.OK and r.started_at is not None]
    return (starts[0] if at_once else starts[0] + 2 * E2E_S), max(answered)


def row_of(cell: Cell, at_once: bool) -> dict[str, Any]:
    """One row of the table."""
    begin, end = window_of(cell.records, at_once)
    inside = [record for record in cell.records if record.started_at is not None and begin <= record.started_at <= end]
    truths = read_truth(cell.target.rows)
    found = compare(inside, truths)
    cpu, wall = cpu_between(cell.samples, begin, end)
    chunks = chunks_between(cell.target.rows, begin, begin + wall)
    generator = cell.run.get("generator") or {}
    return {
        "streams": cell.streams,
        "chunks/s": chunks / wall,
        "requests": found.requests,
        "TTFT err p50 ms": _ttft_percentile(inside, truths, 50),
        "TTFT err p95 ms": found.ttft_p95_ms,
        "TTFT err p99 ms": _ttft_percentile(inside, truths, 99),
        "TBT err mean ms": found.tbt_mean_ms,
        "E2E err p95 ms": found.e2e_p95_ms,
        "tokens wrong": found.tokens_wrong,
        "unmatched": found.unmatched,
        "read lag p95 ms": found.read_lag_p95_ms,
        "CPU %": cpu / wall * 100.0,
        "CPU us/chunk": cpu / chunks * 1e6,
        "RSS MB": max(sample.rss for sample in cell.samples if begin <= sample.at <= end) / 1e6,
        "says saturated": generator.get("saturated"),
        "accurate": found.accurate,
        "failed": sum(record.outcome not in (Outcome.OK, Outcome.CANCELLED) for record in cell.records),
        "target late p99 ms": cell.target.summary["late_p99_ms"],
    }


def _ttft_percentile(records: list[RequestRecord], truths: dict[str, Any], p: float) -> float:
    known = [(record, truths[client_request_id(record)]) for record in records if client_request_id(record) in truths]
    answered = [(record, truth) for record, truth in known if record.outcome is Outcome.OK]
    return percentile((abs(error_of(record, truth).ttft_ms) for record, truth in answered), p)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--streams", default="10,50,200,500,1000,1500,2000")
    parser.add_argument("--seconds", type=float, default=14.0)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--at-once", action="store_true", help="start all streams at the same moment and count that")
    options = parser.parse_args()
    rows = []
    for streams in map(int, options.streams.split(",")):
        cell = run_cell(streams, options.seconds, options.tls, options.at_once)
        rows.append(row_of(cell, options.at_once))
        print(rows[-1], file=sys.stderr, flush=True)
    kind = ("TLS" if options.tls else "plain") + (", all at once" if options.at_once else "")
    print(f"{describe_machine()}, {kind}\n")
    print(markdown_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
