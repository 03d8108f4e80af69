"""The processes of a demo: started in sessions of their own, so that only the demo stops them, and stopped together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from tokenswarm.redaction import write_line
from tokenswarm.userinput import counted

PATIENCE_S = 15.0
"""How long processes may take to end once they are asked to."""

_STEP_S = 0.05


class DemoProcesses:
    """What was started in a `with` block, at whose end all of it has ended. A signal raises nothing by itself, or a
    process between its start and our note of it would be left behind: `wait` raises `KeyboardInterrupt`."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []
        self._signals = 0
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, self._count)

    def _count(self, _signal: int, _frame: object) -> None:
        self._signals += 1

    def start(
        self, command: Sequence[str], log: Path, environment: dict[str, str], directory: Path
    ) -> subprocess.Popen[bytes]:
        """Its output goes to `log`."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Until the condition holds, for at most so long: whether it does. Raises `KeyboardInterrupt` at a signal."""
        deadline = time.monotonic() + seconds
        while not (holds := condition()) and time.monotonic() < deadline and not self._signals:
            time.sleep(_STEP_S)
        if self._signals:
            raise KeyboardInterrupt
        return holds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """All that still run are asked to end, at once; after `PATIENCE_S`, or at another signal, they are killed with
        what they have started."""
        running = [process for process in self._started if process.poll() is None]
        if self._signals and running:
            write_line(f"\nStopping {counted(len(running), 'process', 'processes')}; Ctrl-C again kills them.")
        asked = self._signals
        for process in running:
            process.terminate()
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self._signals == asked and any(each.poll() is None for each in running):
            time.sleep(_STEP_S)
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
