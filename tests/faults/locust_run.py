"""A real `locust` in a process (and workers) of its own, and what it left behind: rows, run.json, output, memory."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.locust_start import LocustProcess, start_locust
from tests.ports import free_port
from tests.run_health import note
from tests.simulator_process import API_KEY, FUNCTIONS_KEY, ROOT, Simulator

LOCUST = Path(sys.executable).parent / "locust"
CHAT = "locustfiles/chat_completions.py"
SENT_ENDS = ("ok", "throttled", "failed", "cancelled")


@dataclass
class LocustRun:
    """A run that may still be on. Its results directory, and the processes that belong to it."""

    process: LocustProcess | subprocess.Popen[bytes]
    results: Path
    log: Path
    peak_rss: int = 0
    peak_descriptors: int = 0
    began_at: float = field(default_factory=time.time)

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def directory(self) -> Path:
        """The one run directory."""
        (directory,) = [path.parent for path in self.results.glob("*/*/run.json")]
        return directory

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.directory / "run.json").read_text())
        note(self.directory, facts)
        return facts

    def truth(self, simulator: Simulator) -> list[dict[str, Any]]:
        """What the simulator received of this run."""
        lines = simulator.truth(30)
        return [line for line in lines if line["client_request_id"] and line["received_at"] > self.began_at]

    @property
    def rows(self) -> list[dict[str, str]]:
        return read_rows(self.directory / "requests.csv")

    def children(self) -> list[psutil.Process]:
        """The workers that locust forked."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait(self, timeout_s: float = 60.0) -> int:
        """The exit code. Raises `TimeoutError` with the output."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"locust is still there:\n{self.output[-3000:]}") from None

    def wait_until(self, condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
        """The condition's first true value. Raises `TimeoutError` with the output."""
        deadline = time.monotonic() + timeout_s
        while not (value := _try(condition)):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise TimeoutError(f"did not come (exit code {self.process.poll()}):\n{self.output[-3000:]}")
            time.sleep(0.02)  # files and processes of others tell nobody
        return value

    def rows_on_disk(self) -> int:
        """Whole rows in all files of the run so far."""
        files = [*self.results.glob("*/*/requests.csv"), *self.results.glob("*/*/journal-*.csv")]
        return max((len(read_rows(path)) for path in files), default=0)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Note the greatest size of any of its processes; each look goes through all processes of the machine."""
        over = threading.Event()
        thread = threading.Thread(target=self._look_at_size, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look_at_size(self, over: threading.Event) -> None:
        while not over.wait(0.05):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                tree = [psutil.Process(self.process.pid), *self.children()]
                self.peak_rss = max(self.peak_rss, *(each.memory_info().rss for each in tree))
                self.peak_descriptors = max(self.peak_descriptors, *(each.num_fds() for each in tree))


def _try(condition: Callable[[], Any]) -> Any:
    try:
        return condition()
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None


@contextlib.contextmanager
def running_locust(
    folder: Path, *arguments: str, env: dict[str, str] | None = None, before: Callable[[], None] | None = None
) -> Iterator[LocustRun]:
    """Start locust in a session of its own; at the end whatever is left of it is killed. `before` runs in the child."""
    if "--processes" in arguments:  # other tests may have a master, too
        arguments += ("--master-bind-port", port := str(free_port()), "--master-port", port)
    log = folder / "locust.log"
    results = folder / "results"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("LOCUST_", "OPENAI_", "AZURE_"))}
    clean["LOCUST_PREFLIGHT"] = "reach"
    keys = {"AZURE_OPENAI_API_KEY": API_KEY, "ORCHESTRATOR_FUNCTION_KEY": FUNCTIONS_KEY}
    command = ["--results-dir", str(results), *arguments]
    whole = {**clean, **keys, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "LOCUST_REPORT": "no", **(env or {})}
    with log.open("wb") as output:
        fileno = output.fileno()
        process = _start(command, whole, fileno, before) if before else start_locust(command, whole, fileno)
    try:
        yield LocustRun(process, results, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _start(
    arguments: list[str], env: dict[str, str], output: int, before: Callable[[], None]
) -> subprocess.Popen[bytes]:
    """A process that is limited before it is anything of Python or of Locust."""
    return subprocess.Popen(
        [str(LOCUST), *arguments], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        start_new_session=True, preexec_fn=lambda: _prepare(before),
    )  # fmt: skip


def _prepare(before: Callable[[], None]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever `nohup` has made of it
    before()


def run_locust(folder: Path, *arguments: str, env: dict[str, str] | None = None, timeout_s: float = 60.0) -> LocustRun:
    """Run locust to its end."""
    with running_locust(folder, *arguments, env=env) as run:
        run.wait(timeout_s)
    return run


def headless(url: str, *arguments: str, users: int = 2, run_time: str = "2s", locustfile: str = CHAT) -> list[str]:
    """Arguments of a short headless run against the simulator."""
    return [
        "-f", locustfile, "--headless", "-H", url, "--api", "azure", "--deployment", "gpt-4.1-nano",
        "-u", str(users), "-r", "100", "-t", run_time, "-s", "3", "--context-tokens", "20", "--max-tokens", "8",
        "--timeout", "1", *arguments,
    ]  # fmt: skip


def read_rows(path: Path) -> list[dict[str, str]]:
    """Whole rows of a CSV of ours."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [row for row in csv.DictReader(lines) if None not in row.values()]


def check_identity(run: LocustRun, truth: list[dict[str, Any]], silent: int = 0) -> None:
    """planned = sent + dropped + lost; sent = rows = ok + throttled + failed + cancelled; rows = requests served.

    `truth`: lines of the simulator's log; `silent`: rows whose request cannot have reached it.
    """
    accounting, rows = run.facts["accounting"], run.rows
    lost = sum(each["rows"] for each in accounting["lost"])
    assert accounting["rows"] == len(rows)
    assert accounting["sent"] == accounting["rows"] - accounting["dropped"]
    assert accounting["sent"] == sum(accounting[name] for name in SENT_ENDS)
    assert Counter(row["outcome"] == "dropped" for row in rows)[True] == accounting["dropped"]
    if accounting["planned"] is not None:
        assert accounting["planned"] == accounting["first_attempts"] + accounting["dropped"] + lost
    sent = {f"{row['call_id']}-{row['attempt']}" for row in rows if row["outcome"] != "dropped"}
    served = {line["client_request_id"] for line in truth if line["client_request_id"]}
    assert len(sent) == accounting["sent"], "a request has two rows"
    assert len(served - sent) <= lost, "a request was served that has no row and is not counted as lost"
    never = [
        row
        for row in rows
        if row["outcome"] not in ("dropped", "cancelled", "connection_error", "timeout")
        and f"{row['call_id']}-{row['attempt']}" not in served
    ]
    assert len(never) == silent, f"rows of requests that were never served: {never[:3]}"
