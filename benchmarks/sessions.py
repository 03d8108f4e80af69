"""Sessions against the known-timing target: `python -m benchmarks.sessions [--graphs 100] [--seconds 90]`

First graphs of steps with known times, tools and parents, from a file: the wall time of each, from when it was due,
beside the one that is computed from its plan; and beside the one computed from the times that the target's log shows
(from a request's last byte to the answer's), which leaves what the generator and the network add. Then 200 made-up
sessions a minute, Poisson, of 3 to 12 steps with two workers: a Kolmogorov-Smirnov test of the gaps between their
beginnings, as due and as sent, against the exponential distribution of the asked rate. Exit code 1 when a wall time
differs by more than 5 ms, a session is missing, or a p is below 0.01.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import scipy.stats  # type: ignore[import-untyped]

from benchmarks.figures import asked_at, markdown_table, percentile
from benchmarks.runs import describe_machine, free_port, run_pinned
from benchmarks.target import ROOT, running_target
from benchmarks.tools import Job, Reported
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.recordings.graph import AgentStep

ALLOWED_MS = 5.0
SESSIONS_RPM = 200
USERS = 40


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=90, help="of the made-up sessions; 0: none")
    args = parser.parse_args()
    print(describe_machine() + "\n")
    rows = [graph_row(args.graphs)]
    print(markdown_table(rows) + "\n", flush=True)
    failed = rows[0]["wall - computed, max ms"] > ALLOWED_MS or rows[0]["done"] != args.graphs
    if args.seconds:
        arrivals = arrival_rows(args.seconds)
        print(markdown_table(arrivals), flush=True)
        failed |= any(row["KS p"] < 0.01 for row in arrivals)
    return int(failed)


def graph_row(count: int) -> dict[str, Any]:
    """Graphs from a file: how far their wall times are from what their plans come to."""
    rng = random.Random(7)
    plans = [_graph(rng) for _ in range(count)]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "graphs.jsonl")
        path.write_text("".join(json.dumps(_line(at, *plan)) + "\n" for at, plan in enumerate(plans)))
        options = ["--requests", str(path), "-u", str(USERS), "-r", str(USERS), "--stop-timeout", "30"]
        found, truth = _run(name, options)
    by_id = {row.question_id: row for row in found if row.outcome is Outcome.OK}
    walls_s, off_ms, own_ms = [], [], []
    for number, (steps, planned_s) in enumerate(plans, start=1):
        rows = [by_id[row_id] for step in range(1, len(steps) + 1) if (row_id := f"{number}.{step}") in by_id]
        if len(rows) == len(steps):
            wall_s = max(row.ended_at or 0.0 for row in rows) - (rows[0].scheduled_at or 0.0)
            served_s = [_served_s(truth[f"{row.call_id}-1"]) for row in rows]
            walls_s.append(wall_s)
            off_ms.append(1000 * abs(wall_s - _longest_s(steps, planned_s)))
            own_ms.append(1000 * (wall_s - _longest_s(steps, served_s)))
    return {
        "graphs": count,
        "steps": len(found),
        "done": len(walls_s),
        "wall time, mean s": sum(walls_s) / max(1, len(walls_s)),
        "wall - computed, p50 ms": percentile(off_ms, 50),
        "wall - computed, max ms": max(off_ms, default=math.inf),
        "wall - by the log, p50 ms": percentile(own_ms, 50),
        "wall - by the log, max ms": max(own_ms, default=math.inf),
        "lag of a step, p99 ms": percentile([row.lag_ms or 0.0 for row in found], 99),
    }


def _served_s(logged: dict[str, Any]) -> float:
    """s from a request's last byte at the target to the last chunk that it wrote."""
    return float(logged["last_token_at"]) - asked_at(logged)


def _graph(rng: random.Random) -> tuple[list[AgentStep], list[float]]:
    """Steps with parents among those before them, and s that each takes."""
    steps, took_s = [AgentStep((), 0.0)], [rng.randint(50, 300) / 1000]
    for position in range(1, rng.randint(3, 12)):
        parents = tuple(sorted(rng.sample(range(position), rng.randint(1, min(3, position)))))
        steps.append(AgentStep(parents, rng.randint(0, 200) / 1000))
        took_s.append(rng.randint(50, 300) / 1000)
    return steps, took_s


def _longest_s(steps: Sequence[AgentStep], took_s: Sequence[float]) -> float:
    """s of the longest chain of steps and tools: the shortest that the session can take."""
    ends: list[float] = []
    for step, step_s in zip(steps, took_s, strict=True):
        ends.append(max((ends[parent] for parent in step.parents), default=0.0) + step.tool_s + step_s)
    return max(ends)


def _line(at: int, steps: Sequence[AgentStep], took_s: Sequence[float]) -> dict[str, Any]:
    entries = []
    for position, (step, step_s) in enumerate(zip(steps, took_s, strict=True)):
        timing = {"ttft_ms": step_s * 1000 - 20, "tbt_ms": 20.0, "tokens": 2}
        body = {"messages": [{"role": "user", "content": "go on"}], "stream": True, "known_timing": timing}
        parents = [str(parent) for parent in step.parents]
        entries.append({"id": str(position), "parents": parents, "tool_s": step.tool_s, "body": body})
    return {"timestamp": at * 0.2, "steps": entries}


def arrival_rows(seconds: int) -> list[dict[str, Any]]:
    """Made-up sessions: the gaps between their beginnings, as due and as sent."""
    port = str(free_port())
    options = ["--rate-stages", f"0s:{SESSIONS_RPM}, {seconds}s:{SESSIONS_RPM}", "--arrival", "poisson"]
    options += ["--steps", "3..12", "--fan-out", "1..3", "--tool-time", "lognormal(-2, 0.5)", "--step-tokens", "50"]
    options += ["--context-tokens", "200", "--max-tokens", "20", "-u", "100", "-r", "100", "--stop-timeout", "60"]
    options += ["--processes", "2", "--master-bind-port", port, "--master-port", port]
    with tempfile.TemporaryDirectory() as name:
        found, _ = _run(name, options, ["--ttft-ms", "100", "--tokens", "20", "--tbt-ms", "10"])
    first = [row for row in found if row.step == 1 and row.attempt == 1]
    ordered = sorted(found, key=lambda row: row.session_id or "")
    sizes = [len(list(rows)) for _, rows in groupby(ordered, lambda row: row.session_id)]
    instants = {"due": [row.scheduled_at for row in first], "sent": [row.started_at for row in first]}
    return [
        {
            "sessions": len(first),
            "requests of one": f"{min(sizes)} to {max(sizes)}",
            "instants": title,
            "a minute": len(first) / seconds * 60,
            "KS p": _exponential_p(sorted(each for each in found_s if each is not None)),
        }
        for title, found_s in instants.items()
    ]


def _exponential_p(instants_s: Sequence[float]) -> float:
    gaps = [after - before for before, after in pairwise(instants_s)]
    return float(scipy.stats.kstest(gaps, "expon", args=(0, 60 / SESSIONS_RPM)).pvalue)


def _run(
    folder: str, options: Sequence[str], timing: Sequence[str] = ()
) -> tuple[list[RequestRecord], dict[str, dict[str, Any]]]:
    """The rows of a run, and the target's by their request ids."""
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfiles" / "chat_completions.py"), "--headless"]
    with running_target(*timing) as target:
        command += ["-H", target.url + "/v1", "--deployment", "known", "--only-summary", *options]
        job = Job(
            command,
            lambda folder: Reported(0, 0.0, 0.0, 0.0, None),
            {"OPENAI_API_KEY": "known", "PYTHONPATH": str(ROOT)},
        )
        run_pinned(job, Path(folder), 300.0)
    (directory,) = {path.parent for path in Path(folder).glob("results/*/*/run.json")}
    with (directory / "requests.csv").open(newline="") as file:
        rows = [RequestRecord.from_row(row) for row in csv.DictReader(file)]
    return rows, {row["client_request_id"]: row for row in target.rows}


if __name__ == "__main__":
    sys.exit(main())
