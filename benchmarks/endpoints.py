"""Each API, streamed and whole, against the simulator's truth log: `python -m benchmarks.endpoints --streams 50`

Rows are compared one by one with what was served; then TTFT as measured with the instants at which the simulator had
written the first token, and the load generator's CPU time for each chunk beside that of chat completions in runs of the
same length. Exit code 1 when a row is missing or says another count of tokens.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.process_tree import Sample
from benchmarks.runs import describe_machine, run_pinned
from benchmarks.target import cores
from benchmarks.tools import Job, Reported
from tests.simulator_process import API_KEY, ROOT, Simulator, running_simulator
from tokenswarm.record import Outcome, RequestRecord

CONFIG = """
[deployments.fast]
ttft_base_ms = 200
ttft_std_ms = 20
tbt_ms = 20
tbt_std_ms = 2
max_concurrent = 1000
[deployments.vectors]
embedding_dimensions = 64
ttft_base_ms = 50
max_concurrent = 1000
"""
TOKENS = 100
SETTLED_S = 3.0
"""After the start, when all streams are on."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run came to. `late_p95_ms`: p95 of TTFT less that of the truth."""

    rows: int
    wrong: int
    late_p95_ms: float | None
    us_per_chunk: float | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--apis", default="chat,responses,completions,messages,embeddings")
    args = parser.parse_args()
    print(f"{describe_machine()}; {args.streams} streams of {TOKENS} tokens, {args.seconds} s each\n")
    print("| API | answers | rows | differ from truth | TTFT p95 beyond the truth's, ms | CPU/chunk, us | of chat |")
    print("|---|---|---:|---:|---:|---:|---:|")
    wrong, chat_us = 0, None
    with running_simulator(CONFIG, seed=5) as simulator:
        for endpoint in args.apis.split(","):
            for streamed in ("yes", "no") if endpoint != "embeddings" else ("no",):
                seen = _run(simulator, endpoint, streamed, args)
                wrong += seen.wrong
                chat_us = chat_us or seen.us_per_chunk
                print(_line(endpoint, streamed, seen, chat_us), flush=True)
    return int(wrong > 0)


def _line(endpoint: str, streamed: str, seen: Seen, chat_us: float | None) -> str:
    late = "" if seen.late_p95_ms is None else f"{seen.late_p95_ms:.2f}"
    cost = "" if seen.us_per_chunk is None else f"{seen.us_per_chunk:.1f}"
    share = "" if seen.us_per_chunk is None or not chat_us else f"{seen.us_per_chunk / chat_us:.2f}"
    how = "streamed" if streamed == "yes" else "whole"
    return f"| {endpoint} | {how} | {seen.rows} | {seen.wrong} | {late} | {cost} | {share} |"


def _run(simulator: Simulator, endpoint: str, streamed: str, args: argparse.Namespace) -> Seen:
    before = len(simulator.truth())
    deployment = "vectors" if endpoint == "embeddings" else "fast"
    with tempfile.TemporaryDirectory() as name:
        locustfile = str(ROOT / "locustfiles" / "chat_completions.py")
        command = [sys.executable, "-m", "locust", "-f", locustfile, "--headless"]
        command += ["-u", str(args.streams), "-r", str(args.streams), "-t", f"{args.seconds}s", "--stop-timeout", "30"]
        command += ["-H", simulator.chat_url + "/v1", "--deployment", deployment, "--endpoint", endpoint]
        command += ["--stream", streamed, "--max-tokens", str(TOKENS), "--context-tokens", "100"]
        job = Job(
            command,
            lambda folder: Reported(0, 0.0, 0.0, 0.0, None),
            {"OPENAI_API_KEY": API_KEY, "PYTHONPATH": str(ROOT)},
        )
        samples = run_pinned(job, Path(name), args.seconds + 90.0, cores()[0])
        (directory,) = {path.parent for path in Path(name).glob("results/*/*/run.json")}
        with (directory / "requests.csv").open(newline="") as file:
            rows = [RequestRecord.from_row(row) for row in csv.DictReader(file)]
    return _judge(rows, simulator.truth()[before:], endpoint, streamed == "yes", samples)


def _us_per_chunk(rows: list[RequestRecord], samples: list[Sample]) -> float | None:
    """CPU time for each chunk between `SETTLED_S` after the first request and the last full second of sending."""
    started = [row.started_at for row in rows if row.started_at is not None]
    begin, end = min(started) + SETTLED_S, max(started)
    inside = [sample for sample in samples if begin <= sample.at <= end]
    if len(inside) < 2:
        return None
    chunks = sum(_chunks_within(row, inside[0].at, inside[-1].at) for row in rows)
    return (inside[-1].cpu_s - inside[0].cpu_s) * 1e6 / chunks if chunks else None


def _chunks_within(row: RequestRecord, begin: float, end: float) -> float:
    """Chunks that came in a span of time, as if they had come evenly."""
    if not row.chunks or row.started_at is None or row.ttft_ms is None or row.last_token_ms is None:
        return 0.0
    first, last = row.started_at + row.ttft_ms / 1000.0, row.started_at + row.last_token_ms / 1000.0
    overlap = max(0.0, min(end, last) - max(begin, first))
    return row.chunks * overlap / (last - first) if last > first else 0.0


def _judge(
    rows: list[RequestRecord], lines: list[dict[str, Any]], endpoint: str, streamed: bool, samples: list[Sample]
) -> Seen:
    truth = {line["client_request_id"]: line for line in lines}
    answered = [row for row in rows if row.outcome is not Outcome.CANCELLED]
    wrong = sum(_differs(row, truth.get(f"{row.call_id}-{row.attempt}"), endpoint) for row in answered)
    wrong += len(truth.keys() - {f"{row.call_id}-{row.attempt}" for row in rows})
    chunks = sum(row.chunks or 0 for row in answered)
    if not streamed or not chunks:
        return Seen(len(answered), wrong, None, None)
    pairs = [(row.ttft_ms or 0.0, _true_ttft_ms(row, truth[f"{row.call_id}-{row.attempt}"])) for row in answered]
    measured, true = np.array(pairs).T
    late = float(np.percentile(measured, 95) - np.percentile(true, 95))
    return Seen(len(answered), wrong, late, _us_per_chunk(answered, samples))


def _true_ttft_ms(row: RequestRecord, line: dict[str, Any]) -> float:
    return float((line["first_token_at"] - (row.started_at or 0.0)) * 1000.0)


def _differs(row: RequestRecord, line: dict[str, Any] | None, endpoint: str) -> bool:
    if line is None or row.outcome is not Outcome.OK or line["outcome"] != "ok":
        return True
    completion = None if endpoint == "embeddings" else line["completion_tokens"]
    return (row.prompt_tokens, row.completion_tokens) != (line["prompt_tokens"], completion)


if __name__ == "__main__":
    sys.exit(main())
