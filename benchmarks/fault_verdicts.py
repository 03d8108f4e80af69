"""What plain Locust and hey say of runs that ours does not pass: the same fault, the same seconds, exit code and words.

    python -m benchmarks.fault_verdicts

hey (Debian's package of that name) is left out where it is not installed.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

LOCUSTFILE = """
from locust import HttpUser, constant, task
class Plain(HttpUser):
    wait_time = constant(0.1)
    @task
    def ask(self):
        self.client.post("/chat/completions", json={"messages": []}, timeout=2)
"""
RUN_S = 4
PAGE = b"<html><body>Sign in</body></html>"
ANSWER = b'{"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "a word"}}]}'
Act = Callable[[subprocess.Popen[bytes], Path], None]


def _signal(number: int) -> Act:
    return lambda process, _folder: process.send_signal(number)


def _freeze(process: subprocess.Popen[bytes], _folder: Path) -> None:
    process.send_signal(signal.SIGSTOP)
    time.sleep(4.5)
    process.send_signal(signal.SIGCONT)


def _remove(_process: subprocess.Popen[bytes], folder: Path) -> None:
    shutil.rmtree(folder / "results")


@dataclass(frozen=True)
class Fault:
    """`status` of every answer, and what happens in the middle of the run."""

    name: str
    status: int = 200
    act: Act | None = None
    seconds: float = 0.0


FAULTS = (
    Fault("all answers 401", 401),
    Fault("all answers 429", 429),
    Fault("a login page under 203", 203),
    Fault("204, no answer", 204),
    Fault("SIGTERM in the middle", act=_signal(signal.SIGTERM)),
    Fault("Ctrl-C in the middle", act=_signal(signal.SIGINT)),
    Fault("results removed in the middle", act=_remove),
    Fault("stands still for 4.5 s, answers take 0.5 s, timeout 2 s", act=_freeze, seconds=0.5),
)


@contextlib.contextmanager
def serving(fault: Fault) -> Iterator[str]:
    """A target that has the fault."""
    body = {200: ANSWER, 204: b""}.get(fault.status, PAGE)

    class Target(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(fault.seconds)
            self.send_response(fault.status)
            self.send_header("Content-Type", "application/json" if body is ANSWER else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that go away
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def commands(url: str, folder: Path) -> dict[str, list[str]]:
    """Of each tool."""
    (folder / "plain.py").write_text(LOCUSTFILE)
    (folder / "results").mkdir()
    load = ["--headless", "-u", "4", "-r", "4", "-t", f"{RUN_S}s", "-H", url, "--csv", str(folder / "results" / "x")]
    found = {"plain Locust": [str(Path(sys.executable).parent / "locust"), "-f", str(folder / "plain.py"), *load]}
    if hey := shutil.which("hey"):
        body = ["-m", "POST", "-T", "application/json", "-d", "{}", "-t", "2"]
        found["hey"] = [hey, "-z", f"{RUN_S}s", "-c", "4", "-q", "10", *body, f"{url}/chat/completions"]
    return found


def run(fault: Fault, tool: str) -> str:
    """Exit code and the line that says how it went."""
    with serving(fault) as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "log").open("wb") as log:
            command = commands(url, folder)[tool]
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=name)
            if fault.act is not None:
                time.sleep(3)  # Locust needs one to start
                fault.act(process, folder)
            code = process.wait(60)
        text = (folder / "log").read_text(errors="replace")
    total = re.findall(r"^\s*Aggregated\s+\d+\s+\d+\(\S+\)", text, re.MULTILINE) or re.findall(
        r"\[\d+\]\t\d+ resp\w+", text
    )
    said = " ".join(total[-1].split()) if total else "no figures"
    return f"{code} ({said})"


def main() -> None:
    tools = [name for name in ("plain Locust", "hey") if name != "hey" or shutil.which("hey")]
    print(f"| fault | {' | '.join(tools)} |\n|---|{'---|' * len(tools)}")
    for fault in FAULTS:
        print(f"| {fault.name} | {' | '.join(run(fault, tool) for tool in tools)} |", flush=True)


if __name__ == "__main__":
    os.environ.pop("LOCUST_CONFIG", None)
    main()
