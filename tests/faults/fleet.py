"""A master and workers that are started by themselves, each as on a machine of its own."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from tests.faults.locust_run import CHAT, LocustRun, headless, running_locust
from tests.locust_start import LocustProcess, start_locust
from tests.ports import free_port
from tests.simulator_process import API_KEY, ROOT, Simulator

ALTERED = Path(__file__).parent / "altered"
"""See its sitecustomize.py."""


class Fleet:
    """A master and its workers, each worker in a folder of its own."""

    def __init__(self, run: LocustRun, port: str, folder: Path, env: Mapping[str, str]) -> None:
        self.run = run
        self.port = port
        self.workers: list[LocustProcess] = []
        self._folder = folder
        self._env = env

    def add(self, skew_s: float = 0.0) -> LocustProcess:
        """Start one more worker. What it cannot write to is not this machine's results directory."""
        home = self._folder / f"home-{len(self.workers)}"
        home.mkdir()
        env = {**os.environ, "PYTHONPATH": f"{ALTERED}:{ROOT}", "AZURE_OPENAI_API_KEY": API_KEY, **self._env}
        env["SKEW_S"] = str(skew_s)
        command = ["-f", str(ROOT / CHAT), "--worker", "--master-port", self.port]
        with (home / "log").open("wb") as log:
            worker = start_locust(command, env, log.fileno(), home)
        self.workers.append(worker)
        return worker

    def name(self, index: int) -> str:
        """What the master calls a worker: by the journal it has open."""
        files = [Path(file.path).stem for file in psutil.Process(self.workers[index].pid).open_files()]
        return next(stem.removeprefix("journal-") for stem in files if stem.startswith("journal-"))

    def end(self) -> None:
        """Kill what is left of the workers."""
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


@contextlib.contextmanager
def fleet(
    simulator: Simulator, folder: Path, *flags: str, skews: Sequence[float] = (0.0, 0.0), run_time: str = "60s",
    env: Mapping[str, str] | None = None, before: Callable[[], None] | None = None,
) -> Iterator[Fleet]:  # fmt: skip
    """A run of six users, with a worker for each of `skews`. `env`: beside what each process needs; `before` runs
    in the master."""
    port = str(free_port())
    master = ("--master", "--expect-workers", str(len(skews)), "--master-bind-port", port)
    given = headless(simulator.chat_url, *master, *flags, users=6, run_time=run_time)
    with running_locust(folder, *given, env={"PYTHONPATH": f"{ALTERED}:{ROOT}", **(env or {})}, before=before) as run:
        found = Fleet(run, port, folder, env or {})
        try:
            for skew_s in skews:
                found.add(skew_s)
            yield found
        finally:
            found.end()
