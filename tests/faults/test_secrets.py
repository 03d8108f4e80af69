"""Canary keys through whole runs against a target that tells them back: no file, log, page or report has them.

The same target names its model and its errors as an attacker would, for spreadsheets, browsers and Markdown.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest

from tests.faults.locust_run import LocustRun, headless, run_locust, running_locust
from tests.ports import free_port
from tests.simulator_process import ROOT

CHAT_KEY = "canary/chat+key=7f3a9c"
RAG_KEY = "canary-function-key-51d2"
KEYS = {"AZURE_OPENAI_API_KEY": CHAT_KEY, "ORCHESTRATOR_FUNCTION_KEY": RAG_KEY}
SCRIPT = "<script>alert('owned')</script>"
FORMULA = "=cmd|' /C calc'!A0"


class Gossip(BaseHTTPRequestHandler):
    """Tells every key back, in errors and in names, and calls things what no reader should run."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_GET(self) -> None:
        self._answer(200, b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers.get("api-key") or self.headers.get("x-functions-key") or "none"
        type(self).count += 1
        if type(self).count % 3 == 0:
            choice = {"delta": {"content": "x"}, "finish_reason": None}
            events = [
                {"model": FORMULA + SCRIPT, "choices": [choice]},
                {"choices": [{"delta": {}, "finish_reason": key}]},
            ]
            body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
            self._answer(200, body, "text/event-stream")
            return
        texts = [f"Incorrect API key provided: {key}. [x](http://evil.example) | {SCRIPT}", f"{FORMULA} {quote(key)}"]
        error = {"error": {"code": FORMULA, "message": texts[type(self).count % 3 - 1]}}
        self._answer(401, json.dumps(error).encode())

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("x-request-id", self.headers.get("api-key") or "none")
        self.send_header("x-ms-region", FORMULA)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def gossip() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gossip)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def spellings(key: str) -> list[str]:
    return [key, quote(key), quote(key, safe=""), base64.b64encode(key.encode()).decode(), key.replace("/", r"\/")]


def check_texts(texts: dict[str, str]) -> None:
    found = [
        (name, text[max(0, text.find(spelling) - 60) :][:150])
        for name, text in texts.items()
        for key in KEYS.values()
        for spelling in spellings(key)
        if spelling in text
    ]
    assert not found


def texts_of(run: LocustRun, folder: Path) -> dict[str, str]:
    """Every file that the run left, its log, and its reports."""
    command = [sys.executable, "-m", "analysis", "report", str(run.directory), "--output", str(folder / "report")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    files = [path for path in folder.rglob("*") if path.is_file()]
    texts = {str(path): path.read_text(encoding="utf-8", errors="replace") for path in files}
    return texts | {"report": done.stdout, "log": run.output}


def check_hostile_texts(folder: Path) -> None:
    """What a spreadsheet, a browser or Markdown would run is in none of the exports."""
    report = folder / "report"
    for page in (report / "report.html", *folder.glob("results/*/*/locust.html")):
        assert SCRIPT not in page.read_text(encoding="utf-8")
    markdown = (report / "report.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert "](http" not in markdown
    for path in report.glob("*.csv"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not any(cell.strip('"').startswith(("=", "@", "+")) for cell in line.split(","))


@pytest.mark.parametrize("workers", [1, 2])
def test_no_file_log_or_report_of_a_headless_run_has_a_key(tmp_path: Path, workers: int) -> None:
    locustfile = "locustfiles/mixed_traffic.py"
    with gossip() as url:
        flags = ["--dataset", "scenarios/dataset.csv", "-L", "DEBUG", "--think-time", "0.05"]
        flags += ["--processes", str(workers)] if workers > 1 else []
        run = run_locust(tmp_path, *headless(url, *flags, users=6, run_time="2s", locustfile=locustfile), env=KEYS)
    rows = run.rows
    assert {row["target"] for row in rows} == {"chat", "rag"}
    assert any("***" in row["error"] for row in rows)
    check_texts(texts_of(run, tmp_path))
    check_hostile_texts(tmp_path)


def test_no_page_of_the_web_ui_has_a_key(tmp_path: Path) -> None:
    port = str(free_port())
    paths = ("/", "/stats/requests", "/stats/failures/csv", "/stats/requests/csv", "/exceptions", "/stats/report",
             "/tasks", "/logs", "/exceptions/csv", "/llm")  # fmt: skip
    with gossip() as url:
        arguments = headless(url, "--web-port", port, "--autostart", "--context-tokens", "10", run_time="60s")
        arguments.remove("--headless")
        with running_locust(tmp_path, *arguments, env=KEYS) as run:
            run.wait_until(lambda: run.rows_on_disk() > 10)
            texts = {}
            for path in paths:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
                        texts[path] = answer.read().decode()
                except urllib.error.HTTPError as error:
                    texts[path] = error.read().decode()
            run.process.terminate()
            run.wait(30)
            check_texts(texts | texts_of(run, tmp_path))


def test_a_refused_start_tells_no_key(tmp_path: Path) -> None:
    run = run_locust(tmp_path, *headless(f"https://user:{RAG_KEY}@127.0.0.1:9"), env=KEYS)
    assert run.process.returncode == 2
    check_texts({"log": run.output})


def test_a_key_with_a_line_break_injects_no_header(tmp_path: Path) -> None:
    with gossip() as url:
        env = {"AZURE_OPENAI_API_KEY": "canary\r\nX-Injected: yes"}
        run = run_locust(tmp_path, *headless(url, users=1, run_time="1s"), env=env)
    assert run.process.returncode == 2
    assert "Traceback" not in run.output
    assert "X-Injected" not in run.output
