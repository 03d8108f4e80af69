"""Whether searches and a sweep find what a target of known capacity carries: slots of a known time, a line before them.

    python -m benchmarks.known_capacity [--kinds requests,users,sessions,sweep,workers]

The simulator serves `SLOTS` requests at a time, `SERVICE_S` each (by its truth log a little more): so many by that
time is what it carries, and a session of `TURNS` turns takes as many of them. Beyond, the line grows, and E2E with it.
`workers` searches over users with `--processes 2`, and with a master and two workers started apart. The sweep is one
over users: answers a minute must be those of min(users, slots) by the time, and the knee at as many users as slots.
About seven minutes in all on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import markdown_table
from tests.simulator_process import API_KEY, Simulator, running_simulator

SLOTS, SERVICE_S, TURNS, THINK_S = 4, 0.3, 3, 0.2
CONFIG = f"""
[deployments.slots]
max_concurrent = {SLOTS}
max_waiting = 10000
ttft_base_ms = {1000 * SERVICE_S}
ttft_std_ms = 0
ttft_per_token_ms = 0
tbt_ms = 0.1
tbt_std_ms = 0
"""
LIMIT_S = 0.48
"""Of p95 of E2E, between one service time and two: users beyond the slots come to wait a whole turn each."""

TOLERANCE_PCT = 3.0
SWEPT_USERS = (1, 2, 4, 6, 8)
TARGET = ("--deployment", "slots", "--max-tokens", "2", "--context-tokens", "20")
CRITERIA = ("--failure-criteria", f"p95(e2e_ms) > {1000 * LIMIT_S:.0f}")
SEARCH = ("--config", "scenarios/find-capacity.conf", "--headless", *TARGET, *CRITERIA, "--quota-tpm", "")
REQUESTS = ("--search", "500..1000 rpm", "--search-hold", "15s")
SESSIONS = (
    "--search", "160..330 sessions", "--search-hold", "15s", "--turns", str(TURNS), "--think-time", str(THINK_S),
)  # fmt: skip
USERS = ("--search", "2..8 users", "--search-hold", "5s", "--think-time", "0")
SWEEP = ("--sweep", f"users={','.join(map(str, SWEPT_USERS))}", "--run-time", "8s")

Row = dict[str, Any]


def locust(simulator: Simulator, *options: str) -> subprocess.Popen[bytes]:
    """One process of a search."""
    return _start([sys.executable, "-m", "locust", *SEARCH, *options, "-H", simulator.chat_url])


def found_by(results: Path, *processes: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The `search` part of the one run of these processes, once they have ended."""
    for process in processes:
        process.wait()
    [path] = results.glob("*/*/run.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["search"]
    return found


def service_s(simulator: Simulator) -> float:
    """What an answer without a line really takes, by the truth log: the median of the quickest tenth."""
    took = sorted(line["finished_at"] - line["received_at"] for line in simulator.truth() if line["finished_at"])
    return float(statistics.median(took[: max(1, len(took) // 10)]))


def requests(simulator: Simulator, results: Path) -> list[Row]:
    found = found_by(results, locust(simulator, *REQUESTS, "--results-dir", str(results)))
    return [_near("requests", "RPM", 60 * SLOTS / service_s(simulator), found["answer"])]


def sessions(simulator: Simulator, results: Path) -> list[Row]:
    found = found_by(results, locust(simulator, *SESSIONS, "--results-dir", str(results)))
    return [_near("sessions", "sessions/min", 60 * SLOTS / (TURNS * service_s(simulator)), found["answer"])]


def users(simulator: Simulator, results: Path) -> list[Row]:
    return [_equal("users", "users", found_by(results, locust(simulator, *USERS, "--results-dir", str(results))))]


def workers(simulator: Simulator, results: Path) -> list[Row]:
    own, apart = (("--results-dir", str(results / name)) for name in ("own", "apart"))
    forked = found_by(results / "own", locust(simulator, *USERS, *own, "--processes", "2"))
    port = ("--master-bind-port", "5597", "--master-bind-host", "127.0.0.1", "--expect-workers", "2")
    joined = [locust(simulator, *USERS, *apart, "--worker", "--master-port", "5597") for _ in range(2)]
    started = found_by(results / "apart", locust(simulator, *USERS, *apart, "--master", *port), *joined)
    return [_equal("users, --processes 2", "users", forked), _equal("users, two workers", "users", started)]


def sweep(simulator: Simulator, results: Path) -> list[Row]:
    options = ("--into", str(results), *SWEEP, "-H", f"{simulator.chat_url}/openai/v1", *TARGET, *CRITERIA)
    _start([sys.executable, "-m", "tokenswarm", "sweep", "smoke", *options, "--think-time", "0"]).wait()
    summary = json.loads((results / "sweep_summary.json").read_text(encoding="utf-8"))
    [curve] = summary["curves"]
    each_rpm = 60 / service_s(simulator)
    answered = {level["figures"]["span"]["load"]: level["figures"]["rpm"] for level in curve["levels"]}
    knee, held = (curve["knee"] or {}).get("load"), curve["carried"]
    return [
        *(_near(f"sweep, {n} users", "RPM", each_rpm * min(n, SLOTS), answered.get(n)) for n in SWEPT_USERS),
        _row("sweep, knee", "users", SLOTS, knee, knee == SLOTS),
        _row("sweep, criteria held", "users", SLOTS, held, held == SLOTS),
    ]


KINDS: Mapping[str, Callable[[Simulator, Path], list[Row]]] = {
    "requests": requests, "users": users, "sessions": sessions, "sweep": sweep, "workers": workers
}  # fmt: skip


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "AZURE_OPENAI_API_KEY": API_KEY,
        "OPENAI_API_KEY": API_KEY,
        "LOCUST_REPORT": "no",
        "LOCUST_PREFLIGHT": "reach",
    }
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _near(what: str, unit: str, computed: float, found: float | None) -> Row:
    return _row(what, unit, computed, found, found is not None and abs(found / computed - 1) <= TOLERANCE_PCT / 100)


def _equal(what: str, unit: str, found: Mapping[str, Any]) -> Row:
    return _row(what, unit, SLOTS, found["answer"], found["answer"] == SLOTS)


def _row(what: str, unit: str, computed: float, found: float | None, is_right: bool) -> Row:
    off_pct = None if found is None else 100 * (found / computed - 1)
    return {
        "what": what,
        "unit": unit,
        "computed": computed,
        "found": found,
        "difference %": off_pct,
        "right": "yes" if is_right else "NO",
    }


def _measured(kind: str) -> list[Row]:
    with running_simulator(CONFIG) as simulator, tempfile.TemporaryDirectory() as name:
        return KINDS[kind](simulator, Path(name, kind))


def main() -> int:
    """Print what was found beside what was computed; 0 when all of it is right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)}")
    kinds = parser.parse_args().kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"--kinds: expected some of {', '.join(KINDS)}, got {', '.join(sorted(unknown))}")
    rows = [row for kind in kinds for row in _measured(kind)]
    print(markdown_table(rows))
    return 0 if all(row["right"] == "yes" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
