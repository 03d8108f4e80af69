"""Whether a search finds what a target of known capacity carries: slots of a known time, and a line before them.

    python -m benchmarks.known_capacity

The simulator serves `SLOTS` requests at a time, `SERVICE_S` each (by its truth log a little more): so many by that
time is what it carries. Beyond, the line grows, and E2E with it. Searched are requests per minute and users, each
within the bounds that are printed. Takes about four minutes on an idle machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.simulator_process import API_KEY, Simulator, running_simulator

SLOTS, SERVICE_S = 4, 0.3
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

COMMON = (
    "--config", "scenarios/find-capacity.conf", "--headless", "--deployment", "slots", "--max-tokens", "2",
    "--context-tokens", "20", "--quota-tpm", "", "--failure-criteria", f"p95(e2e_ms) > {1000 * LIMIT_S:.0f}",
    "--think-time", "0",
)  # fmt: skip


def search(simulator: Simulator, results: Path, *options: str) -> dict[str, Any]:
    """The `search` part of one run."""
    command = [
        sys.executable,
        "-m",
        "locust",
        *COMMON,
        *options,
        "-H",
        simulator.chat_url,
        "--results-dir",
        str(results),
    ]
    environment = {**os.environ, "AZURE_OPENAI_API_KEY": API_KEY, "LOCUST_REPORT": "no", "LOCUST_PREFLIGHT": "reach"}
    subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    [path] = results.glob("*/*/run.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["search"]
    return found


def service_s(simulator: Simulator) -> float:
    """What an answer without a line really takes, by the truth log: the median of the quickest tenth."""
    took = sorted(line["finished_at"] - line["received_at"] for line in simulator.truth() if line["finished_at"])
    return float(statistics.median(took[: max(1, len(took) // 10)]))


def main() -> int:
    """Print what was found beside what was computed; 0 when both are right."""
    with running_simulator(CONFIG) as simulator, tempfile.TemporaryDirectory() as name:
        rates = search(simulator, Path(name, "rates"), "--search", "400..1600 rpm", "--search-hold", "15s")
        carried_rpm = 60 * SLOTS / service_s(simulator)
        users = search(simulator, Path(name, "users"), "--search", "1..16 users", "--search-hold", "5s")
    off_pct = 100 * ((rates["answer"] or 0) / carried_rpm - 1)
    print(f"requests: computed {carried_rpm:.1f} RPM, found {rates['answer']} ({off_pct:+.1f} %): {rates['sentence']}")
    print(f"users: computed {SLOTS}, found {users['answer']}: {users['sentence']}")
    return 0 if abs(off_pct) <= 3 and users["answer"] == SLOTS else 1


if __name__ == "__main__":
    sys.exit(main())
