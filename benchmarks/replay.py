"""Recorded requests against the truth log: `python -m benchmarks.replay [--requests 10000] [--rate-per-s 250]`

A file of recorded requests with instants is sent by one process, then by four workers. The bodies that were served
are compared with those of the file, in the order of their due instants; then how late each was sent. Exit code 1 when
a body is missing, another or in another place.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import markdown_table, percentile
from benchmarks.runs import describe_machine, free_port, run_pinned
from benchmarks.tools import Job, Reported
from tests.simulator_process import API_KEY, ROOT, Simulator, fixed_times, running_simulator
from tokenswarm.record import RequestRecord

MODEL = "gpt-4.1-mini"
TOKENS = 4
USERS = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rate-per-s", type=float, default=250.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, running_simulator(_target(), seed=5) as simulator:
        recorded = Path(name, "requests.jsonl")
        expected = _record(recorded, args.requests, args.rate_per_s)
        rows = [_replayed(simulator, recorded, expected, processes, args) for processes in (1, 4)]
    print(f"{describe_machine()}\n")
    print(markdown_table(rows))
    return int(any(row["bodies as recorded"] != args.requests for row in rows))


def _target() -> str:
    return fixed_times(20, 1, MODEL) + "max_concurrent = 1000\n"


def _record(path: Path, count: int, rate_per_s: float) -> list[str]:
    """Write the file; the digest of each body as it has to arrive."""
    digests = []
    with path.open("w") as file:
        for number in range(count):
            text = f"{number} " + "what does the contract say of delivery " * 12
            body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
            body |= {"max_tokens": TOKENS, "stream": True, "stream_options": {"include_usage": True}}
            line = {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions"}
            file.write(json.dumps({**line, "timestamp": number / rate_per_s, "body": body}) + "\n")
            digests.append(hashlib.sha256(json.dumps(body).encode()).hexdigest())
    return digests


def _replayed(
    simulator: Simulator, recorded: Path, expected: list[str], processes: int, args: argparse.Namespace
) -> dict[str, Any]:
    before, seconds = len(simulator.truth()), args.requests / args.rate_per_s
    port = str(free_port())
    workers = ["--processes", str(processes), "--master-bind-port", port, "--master-port", port]
    with tempfile.TemporaryDirectory() as name:
        command = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            str(ROOT / "locustfiles" / "chat_completions.py"),
            "--headless",
        ]
        command += ["-H", simulator.chat_url + "/v1", "--deployment", MODEL, "--requests", str(recorded)]
        command += ["-u", str(USERS), "-r", str(USERS), "--stop-timeout", "30", *(workers if processes > 1 else [])]
        job = Job(
            command,
            lambda folder: Reported(0, 0.0, 0.0, 0.0, None),
            {"OPENAI_API_KEY": API_KEY, "PYTHONPATH": str(ROOT)},
        )
        run_pinned(job, Path(name), seconds + 120.0)
        (directory,) = {path.parent for path in Path(name).glob("results/*/*/run.json")}
        with (directory / "requests.csv").open(newline="") as file:
            rows = [RequestRecord.from_row(row) for row in csv.DictReader(file)]
    truth = {line["client_request_id"]: line["body_sha256"] for line in simulator.truth()[before:]}
    rows.sort(key=lambda row: row.scheduled_at or 0.0)
    served = [truth.get(f"{row.call_id}-{row.attempt}") for row in rows]
    begin = rows[0].scheduled_at or 0.0
    late_ms = [1000 * abs((row.scheduled_at or 0.0) - begin - at / args.rate_per_s) for at, row in enumerate(rows)]
    lags_ms = [row.lag_ms or 0.0 for row in rows]
    return {
        "processes": processes,
        "requests": len(rows),
        "bodies as recorded": sum(map(str.__eq__, expected, map(str, served))),
        "due instant off by, max ms": max(late_ms),
        "lag p50, ms": percentile(lags_ms, 50),
        "lag p99, ms": percentile(lags_ms, 99),
        "lag max, ms": max(lags_ms),
    }


if __name__ == "__main__":
    sys.exit(main())
