"""A long steady load: nothing lost, memory flat, no descriptor leaked. `python -m benchmarks.soak --minutes 10`

Against the simulator, with a share of failing requests: resets, cut streams, 429 and 500. Rows are compared one by one
with the simulator's truth log. Exit code 1 when anything is lost or grows.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from tokenswarm.record import RequestRecord
from tokenswarm.results.csv_rows import parse_rows

ROOT = Path(__file__).resolve().parent.parent
FAULTS = ("reset", "close_midway", "bad_chunk", "http_429:1", "http_500", "error_event")
CONFIG = f"""
[deployments.'gpt-4.1-nano']
ttft_base_ms = 30
ttft_std_ms = 5
tbt_ms = 5
tbt_std_ms = 1
max_concurrent = 2000
faults = [{", ".join(f'{{ fault = "{fault}", share = 0.002 }}' for fault in FAULTS)}]
"""
MAX_GROWTH_BYTES = 20_000_000
"""Between the first and the last third of the run, per process. The run's own figures take 8 bytes each."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--users", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        return _soak(args, Path(name))


def _soak(args: argparse.Namespace, folder: Path) -> int:
    (folder / "simulator.toml").write_text(CONFIG)
    ready, truth = folder / "ready.json", folder / "truth.jsonl"
    simulator = subprocess.Popen(
        [sys.executable, "-m", "simulator", "--port", "0", "--ready-file", str(ready), "--truth-log", str(truth),
         "--config", str(folder / "simulator.toml"), "--log-level", "warning"], cwd=ROOT,
    )  # fmt: skip
    try:
        while not ready.exists():
            time.sleep(0.05)
        url = json.loads(ready.read_text())["chat_url"]
        command = [
            str(Path(sys.executable).parent / "locust"), "-f", "locustfiles/chat_completions.py", "--headless",
            "-H", url, "--api", "azure", "--deployment", "gpt-4.1-nano", "-u", str(args.users), "-r", "100",
            "--rate", str(args.rate * 60), "-t", f"{args.minutes * 60:.0f}s", "-s", "10",
            "--context-tokens", "50", "--max-tokens", "10", "--results-dir", str(folder / "results"),
        ]  # fmt: skip
        command += ["--processes", str(args.workers)] if args.workers > 1 else []
        environment = {
            **os.environ,
            "LOCUST_REPORT": "no",
            "LOCUST_PREFLIGHT": "none",
            "AZURE_OPENAI_API_KEY": "simulator-key",
        }
        with (folder / "locust.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            samples = _watch(process)
        request = urllib.request.Request(url + "/admin/flush", method="POST")
        urllib.request.urlopen(request, timeout=30).close()  # nosec B310: an http URL of ours
        return _report(args, folder, samples, process.returncode)
    finally:
        simulator.send_signal(signal.SIGTERM)
        simulator.wait()


def _watch(process: subprocess.Popen[bytes]) -> list[tuple[float, int, int]]:
    """(s since the start, greatest resident bytes, most descriptors) of the processes, twice a second."""
    began, samples = time.monotonic(), []
    while process.poll() is None:
        try:
            tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            rss, descriptors = max(each.memory_info().rss for each in tree), max(each.num_fds() for each in tree)
            samples.append((time.monotonic() - began, rss, descriptors))
        except psutil.Error:
            pass
        time.sleep(0.5)
    return samples


def _report(args: argparse.Namespace, folder: Path, samples: list[tuple[float, int, int]], code: int) -> int:
    (directory,) = [path.parent for path in folder.glob("results/*/*/run.json")]
    facts: dict[str, Any] = json.loads((directory / "run.json").read_text())
    text = (directory / "requests.csv").read_text(encoding="utf-8").partition("\n")[2]
    rows: list[RequestRecord] = parse_rows(text)
    sent = {f"{row.call_id}-{row.attempt}" for row in rows if row.outcome != "dropped"}
    served = set()
    with (folder / "truth.jsonl").open(encoding="utf-8") as lines:
        served = {line["client_request_id"] for line in map(json.loads, lines)} - {None}
    seconds = samples[-1][0]
    early = [sample for sample in samples if seconds * 0.2 < sample[0] < seconds * 0.4]
    late = [sample for sample in samples if seconds * 0.7 < sample[0] < seconds * 0.95]
    growth = max(sample[1] for sample in late) - max(sample[1] for sample in early)
    leaked = max(sample[2] for sample in late) - max(sample[2] for sample in early)
    accounting = facts["accounting"]
    missing = len(served - sent)
    print(f"{time.strftime('%Y-%m-%d')}, {len(os.sched_getaffinity(0))} cores, {args.workers} worker(s)")
    print(f"| planned | sent | dropped | rows | served | served without a row | rows lost |\n{'|---' * 7}|")
    lost = sum(each["rows"] for each in accounting["lost"])
    print(f"| {accounting['planned']} | {accounting['sent']} | {accounting['dropped']} | {len(rows)} | {len(served)} "
          f"| {missing} | {lost} |")  # fmt: skip
    print("outcomes: " + ", ".join(f"{accounting[name]} {name}" for name in ("ok", "throttled", "failed", "cancelled")))
    print(f"memory {max(sample[1] for sample in late) / 1e6:.0f} MB ({growth / 1e6:+.1f} MB over the run), "
          f"descriptors {max(sample[2] for sample in late)} ({leaked:+d}), exit code {code}")  # fmt: skip
    print(f"verdict: {facts['verdict']}")
    identity = accounting["planned"] == accounting["first_attempts"] + accounting["dropped"] + lost
    return int(missing > 0 or lost > 0 or not identity or growth > MAX_GROWTH_BYTES or leaked > 10)


if __name__ == "__main__":
    sys.exit(main())
