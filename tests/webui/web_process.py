"""A real `locust` with its web UI for tests, on a free port, with the LLM page; ended by its process id."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.locust_start import LocustProcess, start_locust
from tests.ports import free_port
from tests.simulator_process import ROOT

CANARY = "canary-key-73a1f0c2d9"


@dataclass
class WebProcess:
    """A running Locust. `url` is its front page without the last slash."""

    url: str
    results: Path
    log: Path
    process: LocustProcess
    headers: dict[str, str] = field(default_factory=dict)

    def token(self) -> dict[str, str]:
        """The header that a page of the UI adds to what changes something; empty where a login hides it."""
        status, text = self.get("/llm/form")
        return {"X-Tokenswarm-Token": json.loads(text)["token"]} if status == 200 and text.startswith("{") else {}

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        return self._send(urllib.request.Request(self.url + path, headers=self.headers | headers))

    def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, str]:
        data = urllib.parse.urlencode(form or {}).encode()
        headers = self.headers | self.token() | headers
        return self._send(urllib.request.Request(self.url + path, data=data, headers=headers))

    def post_json(self, path: str, body: Any) -> Any:
        headers = self.headers | self.token() | {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=json.dumps(body).encode(), headers=headers)
        return json.loads(self._send(request)[1])

    def live(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.get("/llm/live")[1])
        return answer

    def await_live(self, condition: Callable[[dict[str, Any]], bool], timeout_s: float = 40.0) -> dict[str, Any]:
        """Ask until the live data meet a condition."""
        deadline = time.monotonic() + timeout_s
        while not condition(live := self.live()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"live data stayed at {json.dumps(live)[:2000]}\n{self.log.read_text()}")
            time.sleep(0.1)  # the page asks, too: nothing tells it
        return live

    @staticmethod
    def _send(request: urllib.request.Request) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@contextlib.contextmanager
def running_locust(
    directory: Path, host: str, *arguments: str, base: str = "", file: str = "", env: Mapping[str, str] | None = None
) -> Iterator[WebProcess]:
    """Start Locust on a port of its own with `host` as its target; `file` is the locustfile, `base` the base path,
    `env` what else its environment has."""
    port, master_port = free_port(), free_port()
    log, results = directory / "log.txt", directory / "results"
    command = ["-f", file or "locustfiles/chat_completions.py", "--host", host]
    command += ["--web-port", str(port), "--results-dir", str(results), "--deployment", "gpt-4.1-nano"]
    command += ["--web-base-path", base] if base else []
    if "--processes" in arguments:
        command += ["--master-bind-port", str(master_port), "--master-port", str(master_port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "OPENAI_"))}
    environment["AZURE_OPENAI_API_KEY"] = "simulator-key"
    environment |= {"PYTHONPATH": str(ROOT), **(env or {})}
    with log.open("wb") as output:
        process = start_locust([*command, *arguments], environment, output.fileno())
    try:
        locust = WebProcess(f"http://127.0.0.1:{port}{base}", results, log, process)
        _await_answer(locust)
        yield locust
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(locust: WebProcess) -> None:
    deadline = time.monotonic() + 40
    while True:
        try:
            locust.get("/llm")
            return
        except OSError:
            if locust.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(locust.log.read_text()) from None
            time.sleep(0.02)  # nothing tells that a port is listened at
