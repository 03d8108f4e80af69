"""A real `python -m simulator` for tests: started on a free port, stopped by its process id, its truth log read back.

    with running_simulator(seed=7) as simulator:
        ...  # send requests to simulator.chat_url / simulator.rag_url
        rows = simulator.truth()

`config` is TOML text or a file; other flags are passed as `--name value` (`workers=2` -> `--workers 2`).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
API_KEY = "simulator-key"
FUNCTIONS_KEY = "simulator-function-key"


def fixed_times(ttft_ms: float, tbt_ms: float, deployment: str = "gpt-4.1-nano") -> str:
    """The configuration of a deployment whose answers take the same time each."""
    return (
        f"[deployments.'{deployment}']\nttft_base_ms = {ttft_ms}\nttft_std_ms = 0\ntbt_ms = {tbt_ms}\ntbt_std_ms = 0\n"
    )


@dataclass
class Simulator:
    """A running simulator. `process` may be killed by a test; the context manager copes."""

    chat_url: str
    rag_url: str
    fault_url: str
    truth_path: Path
    process: subprocess.Popen[bytes]

    def truth(self, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """All lines of the truth log, once no request is in flight and everything is flushed."""
        deadline = time.monotonic() + timeout_s
        while True:
            counters = self.admin("POST", "/admin/flush")
            lines = [json.loads(line) for line in self.truth_path.read_text().splitlines()]
            if counters["in_flight"] == 0 and len(lines) == counters["lines"]:
                return lines
            if time.monotonic() > deadline:
                raise TimeoutError(f"truth log: {len(lines)} lines in the file, counters say {counters}")
            time.sleep(0.02)  # answers under way, and what other processes have yet to write, tell nobody

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Call an admin route (`/admin/config`, `/admin/reset`, `/admin/truth`) and return its JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.chat_url + path, data=data, method=method, headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)


@contextlib.contextmanager
def running_simulator(config: str | Path | None = None, **flags: Any) -> Iterator[Simulator]:
    """Start a simulator, wait until it accepts requests, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="simulator-") as name:
        directory = Path(name)
        ready, truth = directory / "ready.json", directory / "truth.jsonl"
        options: dict[str, Any] = {"port": 0, "ready-file": ready, "truth-log": truth, "log-level": "warning"}
        if config is not None:
            path = config if isinstance(config, Path) else directory / "simulator.toml"
            if isinstance(config, str):
                path.write_text(config)
            options["config"] = path
        options |= {flag.replace("_", "-"): value for flag, value in flags.items()}
        command = [sys.executable, "-m", "simulator"]
        command += [part for flag, value in options.items() for part in (f"--{flag}", str(value))]
        with (directory / "log.txt").open("w+b") as log:
            # A killed simulator leaves its own temporary files: in this directory they go with it.
            environment = os.environ | {"TMPDIR": name}
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            try:
                urls = _wait_until_ready(process, ready, directory / "log.txt")
                yield Simulator(
                    urls["chat_url"], urls["rag_url"], urls.get("fault_url", urls["chat_url"]), truth, process
                )
            finally:
                _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> dict[str, str]:
    deadline = time.monotonic() + 60
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"simulator did not start (exit code {process.poll()}):\n{log.read_text()}")
        time.sleep(0.01)  # a file that appears tells nobody
    urls: dict[str, str] = json.loads(ready.read_text())
    return urls


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
