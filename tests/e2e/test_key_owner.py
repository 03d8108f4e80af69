"""The keys of the environment against other hosts, in real processes: by flag, by form, by redirect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.e2e.locust_process import Target, credentials, run_locust, scenario
from tests.webui.web_process import running_locust

KEY = "canary-of-the-lab-2b7f"
FUNCTION_KEY = "canary-of-the-orchestrator-9c1d"
KEYS = {"AZURE_OPENAI_API_KEY": KEY, "ORCHESTRATOR_FUNCTION_KEY": FUNCTION_KEY}


class Keeper(BaseHTTPRequestHandler):
    """Keeps the head of every request; sends it on where it is told to."""

    protocol_version = "HTTP/1.1"
    heads: list[str]
    location: str | None = None

    def do_GET(self) -> None:
        self.heads.append(f"{self.requestline}\n{self.headers}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(307 if self.location else 200)
        if self.location:
            self.send_header("Location", self.location + self.path)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def keeper(location: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Its URL, and the heads it got."""
    handler = type("Handler", (Keeper,), {"heads": [], "location": location})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.heads  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("locustfile", ["chat_completions", "rag_orchestrator", "mixed_traffic"])
def test_a_flag_with_another_host_needs_a_key_of_its_own(target: Target, tmp_path: Path, locustfile: str) -> None:
    with keeper() as (url, heads):
        flags = ["-f", f"locustfiles/{locustfile}.py", "--dataset", "scenarios/dataset.csv", "--host", url]
        flags += ["--rag-host", url]
        finished = run_locust(scenario("smoke", *flags), {**credentials(target), **KEYS}, tmp_path)
    assert finished.code == 2
    assert f"API key: expected one of {url}'s own" in finished.output
    assert "Traceback" not in finished.output and "canary" not in finished.output
    assert heads == []


def test_an_explicit_yes_sends_it(target: Target, tmp_path: Path) -> None:
    with keeper() as (url, heads):
        flags = ["--host", url, "--send-keys-to", url, "--run-time", "1s"]
        run_locust(scenario("smoke", *flags), {**credentials(target), **KEYS}, tmp_path)
    assert any(KEY in head for head in heads)


def test_a_redirect_takes_no_key_along(tmp_path: Path) -> None:
    with keeper() as (elsewhere, taken), keeper(elsewhere) as (url, heads):
        values = {"AZURE_OPENAI_ENDPOINT": url, "ORCHESTRATOR_ENDPOINT": url, "AZURE_OPENAI_DEPLOYMENT": "d", **KEYS}
        flags = ["-f", "locustfiles/mixed_traffic.py", "--dataset", "scenarios/dataset.csv", "--run-time", "1s"]
        finished = run_locust(scenario("smoke", *flags), values, tmp_path)
    assert any(KEY in head for head in heads) and any(FUNCTION_KEY in head for head in heads)
    assert taken == []
    errors = {row.error[:31] for row in finished.run().rows if row.status == 307 and row.error}
    assert errors == {"HTTP 307: redirect not followed"}


def test_a_form_with_another_host_sends_no_key(target: Target, tmp_path: Path) -> None:
    with keeper() as (url, heads), running_locust(tmp_path, target.url) as locust:
        form = {"user_count": "1", "spawn_rate": "1", "run_time": "", "host": url}
        answer = json.loads(locust.post("/swarm", form)[1])
        assert answer["success"] is False
        assert f"API key: expected one of {url}'s own" in answer["message"]
        assert json.loads(locust.post("/swarm", {**form, "host": target.url})[1])["success"] is True
        locust.await_live(lambda live: live["is_on"])
        refused = json.loads(locust.post("/swarm", form)[1])
        assert refused["message"].startswith("host: expected no change while a test is running")
        assert locust.live()["state"] in ("running", "spawning")
    assert heads == []
