"""The known-timing target as a process for tests."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Running:
    port: int
    log: Path
    process: subprocess.Popen[str]
    summary: dict[str, Any] = field(default_factory=dict)
    clients: ExitStack = field(default_factory=ExitStack)

    def connect(self, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
        """A client connection that is closed when the target is stopped."""
        if tls is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=tls, timeout=60)
        self.clients.callback(connection.close)
        return connection


@contextmanager
def known_target(folder: Path, *arguments: str) -> Iterator[Running]:
    """The target as a process; when the block ends it is stopped, its log is whole and its summary is there."""
    log, ready = folder / "truth.jsonl", folder / "ready.json"
    command = [sys.executable, "-m", "simulator.known_timing", "--log", str(log), "--ready-file", str(ready)]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        process.stdout.readline()  # when the file is there
        url = json.loads(ready.read_text())["chat_url"]
        running = Running(int(url.rsplit(":", 1)[1]), log, process)
        with running.clients:
            yield running
    finally:
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    running.summary = json.loads(printed)


def truth_of(running: Running) -> list[Any]:
    """Lines of the target's log, whole once it has stopped."""
    return [json.loads(line) for line in running.log.read_text().splitlines()]


def answered(arrived: float, first: float, last: float, chunks: int = 10, tokens: int = 10) -> dict[str, Any]:
    """A log line of a complete answer that lasted from `arrived` to `last`, Unix s."""
    return {
        "outcome": "ok",
        "stream": True,
        "arrived_at": arrived,
        "received_at": arrived + 0.001,
        "first_token_at": first,
        "last_token_at": last,
        "finished_at": last + 0.0001,
        "chunks": chunks,
        "completion_tokens": tokens,
    }
