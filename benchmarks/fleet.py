"""What one master carries of a large fleet: recorded messages of workers, replayed to a real master.

    python -m benchmarks.fleet [--workers 25,50,100] [--rows-per-s 200] [--seconds 15]

One process plays all workers: it answers the master as Locust's workers do, and each of them sends rows twice a second,
statistics every three seconds and a heartbeat each second, with the content that a worker's have. The master has a core
to itself, the fleet another. How late the master is: the time from a worker's question for its clock to the answer.
"""

from __future__ import annotations

import locust
from locust.rpc.protocol import Message
from locust.rpc.zmqrpc import Client
from locust.stats import RequestStats

import argparse
import contextlib
import csv
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import psutil

from benchmarks.figures import percentile
from benchmarks.rows import typical_record
from benchmarks.runs import free_port, print_table
from benchmarks.target import ROOT, cores
from tokenswarm.control.messages import ClockAsked, ClockTold, Drain, Rows, encode
from tokenswarm.control.workers import run_of
from tokenswarm.results.csv_rows import format_row

SHIP_EVERY_S, STATS_EVERY_S, BEAT_EVERY_S = 0.5, 3.0, 1.0
BEGAN = 1_500_000_000.25
"""Stands in a recorded row for its start."""
ID = "recorded"
"""Stands in a recorded row for what differs in its call id."""
ANSWER_S = 2.0


def recorded_rows(worker: str, count: int) -> str:
    """The text of one message of rows."""
    records = [dataclasses.replace(typical_record(n), worker=worker, call_id=f"{ID}{n:04d}") for n in range(count)]
    return "".join(format_row(dataclasses.replace(record, started_at=BEGAN)) for record in records)


def recorded_statistics(requests: int) -> dict[str, Any]:
    """What Locust's worker says of so many requests within `STATS_EVERY_S`."""
    stats = RequestStats()
    for number in range(requests):
        stats.log_request("POST", "chat", 2180 + number % 90, 208)
    total = stats.total.get_stripped_report()
    return {"stats": stats.serialize_stats(), "stats_total": total, "errors": {}}


@dataclass
class Fleet:
    """What its workers share: how many rows each message has, and what was seen of the master."""

    port: int
    rows_per_s: int
    delays_ms: list[float] = field(default_factory=list)
    begun: float = 0.0
    ended: float = 0.0
    sent: int = 0


class ReplayedWorker:
    """One worker as its master sees it."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self._fleet = fleet
        self._id = f"replayed_{number:04d}"
        self._client = Client("127.0.0.1", fleet.port, self._id)
        self._count = round(fleet.rows_per_s * SHIP_EVERY_S)
        self._statistics = recorded_statistics(round(fleet.rows_per_s * STATS_EVERY_S))
        self._name = f"w{number}"
        self._text = ""
        self._users: dict[str, int] = {}
        self._run = ""
        self._made = 0
        self._state = "ready"
        self._greenlets: list[gevent.Greenlet] = []

    def start(self) -> list[gevent.Greenlet]:
        self._say("client_ready", locust.__version__)
        return [gevent.spawn(self._listen), gevent.spawn(self._beat)]

    def _say(self, kind: str, data: Any = None) -> None:
        self._client.send(Message(kind, data, self._id))

    def _listen(self) -> None:
        while True:
            message = self._client.recv()
            if message.type == "quit":
                return
            self._take(message.type, message.data)

    def _take(self, kind: str, data: Any) -> None:
        if kind == "ack":
            self._name = f"w{data['index']}"
            self._text = recorded_rows(self._name, self._count)
        elif kind == "spawn":
            self._begin(data)
        elif kind == ClockTold.NAME:
            self._fleet.delays_ms.append((time.time() - data["asked_at"]) * 1000.0)
        elif kind == Drain.NAME:
            self._end()
        elif kind == "stop":
            self._say("client_stopped")

    def _begin(self, data: dict[str, Any]) -> None:
        self._users, self._run = data["user_classes_count"], run_of(data["parsed_options"]["run_directory"])
        self._say("spawning")
        self._say("spawning_complete", {"user_classes_count": self._users, "user_count": sum(self._users.values())})
        if self._state == "ready":
            self._state = "running"
            self._greenlets = [gevent.spawn(self._ship_regularly), gevent.spawn(self._report_regularly)]

    def _end(self) -> None:
        gevent.killall(self._greenlets)
        self._fleet.ended = self._fleet.ended or time.time()
        self._state = "stopping"
        self._ship(done=True)

    def _beat(self) -> None:
        while True:
            usage = {"state": self._state, "current_cpu_usage": 50.0, "current_memory_usage": 100_000_000}
            self._say("heartbeat", usage)
            if self._state == "running":
                self._say(ClockAsked.NAME, encode(ClockAsked(time.time())))
            gevent.sleep(BEAT_EVERY_S)

    def _ship_regularly(self) -> None:
        gevent.sleep(ANSWER_S + int(self._id[-4:]) % 50 / 100.0)
        self._fleet.begun = self._fleet.begun or time.time()
        while True:
            self._made += self._count
            self._fleet.sent += self._count
            self._ship()
            gevent.sleep(SHIP_EVERY_S)

    def _ship(self, done: bool = False) -> None:
        text = "" if done else self._text.replace(ID, f"{self._id}{self._made:08d}")
        text = text.replace(str(BEGAN), f"{time.time() - ANSWER_S:.6f}")
        message = Rows(
            self._name, self._run, 0 if done else self._count, text, self._made, self._made, self._made, self._made,
            clock=[0.0, 0.0, 0.001], done=done,
        )  # fmt: skip
        self._say(Rows.NAME, encode(message))

    def _report_regularly(self) -> None:
        while True:
            gevent.sleep(STATS_EVERY_S)
            now = int(time.time())
            recent = {now - 1: self._fleet.rows_per_s, now - 2: self._fleet.rows_per_s, now - 3: self._fleet.rows_per_s}
            for each in (*self._statistics["stats"], self._statistics["stats_total"]):
                each |= {"num_reqs_per_sec": recent, "last_request_timestamp": now, "start_time": now - 3}
            users = {"user_classes_count": self._users, "user_count": sum(self._users.values())}
            self._say("stats", self._statistics | users)


def master_command(port: int, folder: Path, workers: int, seconds: float) -> list[str]:
    command = [str(Path(sys.executable).parent / "locust"), "--config", str(ROOT / "scenarios" / "smoke.conf")]
    command += ["-f", str(ROOT / "locustfiles" / "chat_completions.py"), "-H", "http://127.0.0.1:9", "--headless"]
    command += ["--master", "--master-bind-port", str(port), "--expect-workers", str(workers), "--only-summary"]
    command += ["-u", str(10 * workers), "-r", str(10 * workers), "-t", f"{seconds:g}s", "--api", "openai"]
    return [*command, "--deployment", "gpt-4o", "--results-dir", str(folder / "results")]


def fleet_row(workers: int, rows_per_s: int, seconds: float) -> dict[str, Any]:
    """One run with so many workers."""
    fleet = Fleet(free_port(), rows_per_s)
    more = {"OPENAI_API_KEY": "none", "PYTHONPATH": str(ROOT), "LOCUST_REPORT": "no", "LOCUST_PREFLIGHT": "none"}
    with tempfile.TemporaryDirectory() as name, open(Path(name, "output.txt"), "w") as output:
        process = subprocess.Popen(
            master_command(fleet.port, Path(name), workers, seconds), env={**os.environ, **more}, cwd=name,
            stdout=output, stderr=subprocess.STDOUT, preexec_fn=lambda: os.sched_setaffinity(0, cores()[0]),
        )  # fmt: skip
        try:
            greenlets = [each for n in range(workers) for each in ReplayedWorker(fleet, n).start()]
            cpu = _watch(psutil.Process(process.pid), fleet)
            process.wait(timeout=seconds + 120)
        finally:
            process.kill()
            process.wait()
            gevent.killall(greenlets)
        try:
            (path,) = Path(name).glob("results/*/*/run.json")
        except ValueError:
            raise RuntimeError(Path(name, "output.txt").read_text()[-2000:]) from None
        facts = json.loads(path.read_text())
        with (path.parent / "requests.csv").open(newline="") as file:
            written = sum(1 for _ in csv.reader(file)) - 1
    during = [(at, used) for at, used in cpu if at <= fleet.ended]
    (first, used_first), (last, used_last) = during[0], during[-1]
    return {
        "workers": workers,
        "rows/s sent": fleet.sent / (fleet.ended - fleet.begun),
        "rows sent": fleet.sent,
        "rows not in requests.csv": fleet.sent - written,
        "master CPU %": (used_last - used_first) / (last - first) * 100.0,
        "master CPU us/row, the end included": (cpu[-1][1] - used_first) / fleet.sent * 1e6,
        "answer to a worker p50 ms": percentile(fleet.delays_ms, 50),
        "p95 ms": percentile(fleet.delays_ms, 95),
        "max ms": max(fleet.delays_ms),
        "RSS MB": max(each for each in _RSS) / 1e6,
        "refused": facts.get("messages_refused"),
        "verdict": facts["verdict"]["state"],
        "reasons": "; ".join(reason["text"] for reason in facts["verdict"]["reasons"])[:200] or None,
    }


_RSS: list[int] = []


def _watch(master: psutil.Process, fleet: Fleet) -> list[tuple[float, float]]:
    """The master's CPU s, with the instants, from the first rows until it has ended."""
    found: list[tuple[float, float]] = []
    _RSS.clear()
    with contextlib.suppress(psutil.NoSuchProcess):
        while master.status() != psutil.STATUS_ZOMBIE:
            gevent.sleep(0.25)
            times, memory = master.cpu_times(), master.memory_info()
            if fleet.begun and memory.rss:  # of a process that has ended, everything is 0
                found.append((time.time(), times.user + times.system))
                _RSS.append(memory.rss)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", default="25,50,100")
    parser.add_argument("--rows-per-s", type=int, default=200, help="of each worker")
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    os.sched_setaffinity(0, cores()[1])
    print_table(
        fleet_row(workers, options.rows_per_s, options.seconds) for workers in map(int, options.workers.split(","))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
