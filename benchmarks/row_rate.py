"""Rows a second of workers that really send: nginx answers at once, and its own log says what it answered.

    python -m benchmarks.row_rate [--rows-per-s 5000] [--workers 4] [--seconds 15]

Workers, master and nginx share all cores. Each arrival must be a row, each row an answer that nginx logged, once. The
log is matched by `x-ms-client-request-id`. Where nginx is not installed this says so and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import percentile
from benchmarks.process_tree import Sample
from benchmarks.runs import free_port, print_table, run_pinned
from benchmarks.tools import Job, Work, read_rows, tokenswarm_job

_BESIDE_PATH = "/usr/sbin:/usr/local/sbin"
"""Where servers are that only the superuser's path has."""
_HEAD: dict[str, Any] = {"id": "c-1", "created": 1700000000, "model": "gpt-4o"}
_USAGE = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
_CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  log_format ids '$http_x_ms_client_request_id';
  access_log {folder}/ids.log ids buffer=256k flush=1s;
  keepalive_requests 100000000;
  server {{ listen 127.0.0.1:{port}; default_type {kind}; location / {{ return 200 '{answer}'; }} }}
}}
"""


def whole_answer() -> str:
    """An answer of one token."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
    return json.dumps({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE})


def streamed_answer() -> str:
    """The same as a stream, in four events and its end."""
    told: list[tuple[dict[str, str], str | None]]
    told = [({"role": "assistant", "content": ""}, None), ({"content": "yes"}, None), ({}, "stop")]
    choices = [[{"index": 0, "delta": delta, "finish_reason": reason}] for delta, reason in told]
    events = [{**_HEAD, "object": "chat.completion.chunk", "choices": each, "usage": None} for each in choices]
    events.append({**_HEAD, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE})
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


@dataclass
class Nginx:
    """A server that answers; `answered` (ids, with how often) and `cpu_s` are filled when it has stopped."""

    port: int
    answered: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0


@contextmanager
def running_nginx(program: str, folder: Path, kind: str, answer: str) -> Iterator[Nginx]:
    """Start nginx with one answer to whatever it is asked; stop it at the end. Raises `RuntimeError` if it does not."""
    server = Nginx(free_port())
    text = _CONFIGURATION.format(folder=folder, port=server.port, kind=kind, answer=answer)
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen([program, "-p", str(folder), "-c", "nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 10
        while not (folder / "pid").exists():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"nginx did not start: {(folder / 'error.log').read_text()[-500:]}")
            time.sleep(0.01)
        yield server
        times = psutil.Process(process.pid).cpu_times()
        server.cpu_s = times.user + times.system
    finally:
        process.terminate()
        process.wait(timeout=20)
    server.answered.update((folder / "ids.log").read_text().split())


def rate_row(program: str, streamed: bool, rate: float, workers: int, seconds: float) -> dict[str, Any]:
    """One run at `rate` rows per second in all."""
    kind, answer = ("text/event-stream", streamed_answer()) if streamed else ("application/json", whole_answer())
    with tempfile.TemporaryDirectory() as name:
        folder, bus = Path(name), str(free_port())
        with running_nginx(program, folder, kind, answer) as server:
            url = f"http://127.0.0.1:{server.port}/v1"
            job = tokenswarm_job(Work(Path(sys.executable), folder, url, max(workers, int(rate / 25)), seconds))
            command = [*job.command, "--processes", str(workers), "--master-bind-port", bus, "--master-port", bus]
            command += ["--arrival", "constant", "--rate", f"{rate * 60:g}", "--stream", "yes" if streamed else "no"]
            everywhere = set(os.sched_getaffinity(0))
            samples = run_pinned(Job(command, job.read, job.environment), folder, seconds + 120, everywhere)
        rows = list(read_rows(folder))
        (path,) = folder.glob("results/*/*/run.json")
        found = figures(rows, json.loads(path.read_text()), server, samples)
        return {"answers": "streamed" if streamed else "whole", "rows/s asked": rate, "asked": rate * seconds, **found}


def figures(rows: list[dict[str, str]], run: dict[str, Any], server: Nginx, samples: list[Sample]) -> dict[str, Any]:
    """Rows of a run, what it says of itself, and the server's own count, put side by side."""
    sent = Counter(f"{row['call_id']}-{row['attempt']}" for row in rows if row["outcome"] != "dropped")
    starts = sorted(float(row["started_at"]) for row in rows if row["started_at"])
    inside = [sample for sample in samples if starts[0] <= sample.at <= starts[-1]]
    wall, accounting = inside[-1].at - inside[0].at, run["accounting"]
    return {
        "rows/s": (len(starts) - 1) / (starts[-1] - starts[0]),
        "planned": accounting["planned"],
        "rows": len(rows),
        "ok": sum(row["outcome"] == "ok" for row in rows),
        "dropped": accounting["dropped"],
        "answered by nginx": server.answered.total(),
        "answers without their row": (server.answered - sent).total(),
        "rows without their answer": (sent - server.answered).total(),
        "rows lost": sum(each["rows"] or 0 for each in accounting["lost"]),
        "lag p95 ms": percentile((float(row["lag_ms"]) for row in rows if row["lag_ms"]), 95),
        "workers and master, cores": (inside[-1].cpu_s - inside[0].cpu_s) / wall,
        "nginx, cores": server.cpu_s / (starts[-1] - starts[0]),
        "says saturated": (run.get("generator") or {}).get("saturated"),
        "exit code": run["verdict"]["exit_code"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows-per-s", default="5000")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    program = shutil.which("nginx") or shutil.which("nginx", path=_BESIDE_PATH)
    if program is None:
        print("skipped: nginx is not on the path")
        return 0
    print_table(
        rate_row(program, streamed, rate, options.workers, options.seconds)
        for rate in map(float, options.rows_per_s.split(","))
        for streamed in (False, True)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
