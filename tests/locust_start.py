"""`python -m locust` for tests, in a session of its own; its libraries are not loaded each time: see preloaded.py."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.simulator_process import ROOT

_preloaded: list[socket.socket] = []
_starting = threading.Lock()
_CODE_BYTES = 20


class LocustProcess:
    """A process as `subprocess.Popen` shows one: `returncode` is None until its end has been looked for."""

    def __init__(self, answers: socket.socket, arguments: Sequence[str]) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self._answers = answers
        self.pid = int(answers.recv(_CODE_BYTES))

    def poll(self) -> int | None:
        """The exit code, minus the signal where one ended it; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises `subprocess.TimeoutExpired`."""
        if (code := self._look(timeout)) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._answers.settimeout(timeout)
            try:
                self.returncode = int(self._answers.recv(_CODE_BYTES))
            except (BlockingIOError, TimeoutError):
                return None
            self._answers.close()
        return self.returncode


def start_locust(
    arguments: Sequence[str], env: Mapping[str, str], output: int, cwd: Path = ROOT
) -> LocustProcess | subprocess.Popen[bytes]:
    """`locust` with these arguments; `output` is the descriptor of the file that both its outputs go to."""
    if sys.platform != "linux":
        command = [sys.executable, "-m", "locust", *arguments]
        return subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    request = {"arguments": list(map(str, arguments)), "env": dict(env), "cwd": str(cwd)}
    with theirs:
        socket.send_fds(_ask(), [json.dumps(request).encode()], [output, theirs.fileno()])
    return LocustProcess(ours, arguments)


def _ask() -> socket.socket:
    """The way to the one that forks, which is started by the first test that needs it."""
    with _starting:
        if not _preloaded:
            _preloaded.append(_start())
        return _preloaded[0]


def _start() -> socket.socket:
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "tests.preloaded", str(theirs.fileno())]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
        )
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours
