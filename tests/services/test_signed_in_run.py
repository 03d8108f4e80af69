"""Whole runs that sign in: tokens that end in mid-run, keys from Key Vault, and a vault that refuses."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.run_health import code_of_run
from tests.services.fake_azure import Azure

PROJECT = Path(__file__).resolve().parents[2]
REFERENCE = "@Microsoft.KeyVault(VaultName=team;SecretName=aoai-key)"
EVENTS = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":"Hello"},"finish_reason":null}]}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},'
    b'"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":'
    b'{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}\n\n'
    b"data: [DONE]\n\n"
)


class Chat(BaseHTTPRequestHandler):
    """A chat target that notes how each request was authenticated."""

    protocol_version = "HTTP/1.1"
    server: _ChatServer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.credentials.append(self.headers.get("Authorization") or f"key {self.headers['api-key']}")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(EVENTS)))
        self.end_headers()
        self.wfile.write(EVENTS)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _ChatServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.credentials: list[str] = []
        super().__init__(("127.0.0.1", 0), Chat)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def chat() -> Iterator[_ChatServer]:
    server = _ChatServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def run(chat: _ChatServer, results: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "locust", "--config", "scenarios/smoke.conf", "--headless"]
    command += ["--host", chat.url, "--api", "azure", "--deployment", "gpt-4o", "--results-dir", results, *options]
    known = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "AZURE_OPENAI"))}
    known["LOCUST_REPORT"] = "no"  # while it is made, tokens are still renewed
    return subprocess.run(
        command, cwd=PROJECT, env=known | environment, capture_output=True, text=True, timeout=90, check=False
    )


def check_passed(done: subprocess.CompletedProcess[str], results: Path) -> None:
    """The run passed, or this machine was too busy to tell: the server answers at once, so any lag counts."""
    assert done.returncode == code_of_run(results, 0), done.stderr


def outcomes(results: Path) -> list[str]:
    (path,) = results.glob("smoke/*/requests.csv")
    with path.open(newline="") as file:
        return [row["outcome"] for row in csv.DictReader(file)]


def test_a_token_that_ends_in_mid_run_is_renewed_without_a_failed_request(
    azure: Azure, chat: _ChatServer, tmp_path: Path
) -> None:
    azure.expires_in_s = 2
    done = run(
        chat, tmp_path / "r", "--auth", "entra", "--think-time", "0.05", "--run-time", "4s", "--preflight", "none"
    )
    check_passed(done, tmp_path / "r")
    ended = outcomes(tmp_path / "r")
    assert set(ended) == {"ok"} and len(ended) == len(chat.credentials)
    numbers = [int(each.removeprefix("Bearer token-")) for each in dict.fromkeys(chat.credentials)]
    assert len(numbers) >= 2 and numbers == sorted(numbers)  # in the order of their first use
    assert azure.tokens_issued < len(ended) / 4


def test_no_identity_means_that_nothing_is_sent(azure: Azure, chat: _ChatServer, tmp_path: Path) -> None:
    azure.token_status = 401
    done = run(chat, tmp_path / "r", "--auth", "entra")
    assert done.returncode == 2
    assert "auth = entra: expected a token for" in done.stderr
    assert "Traceback" not in done.stderr
    assert chat.credentials == []


def test_a_key_from_the_vault_is_used_and_never_written(azure: Azure, chat: _ChatServer, tmp_path: Path) -> None:
    azure.secrets = {"team/aoai-key": "the-secret-of-the-vault"}
    done = run(chat, tmp_path / "r", "--run-time", "1s", AZURE_OPENAI_API_KEY=REFERENCE)
    check_passed(done, tmp_path / "r")
    assert set(chat.credentials) == {"key the-secret-of-the-vault"}
    written = b"".join(path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file())
    assert b"the-secret-of-the-vault" not in written + done.stderr.encode() + done.stdout.encode()


def test_a_vault_that_refuses_is_one_message_and_nothing_is_sent(
    azure: Azure, chat: _ChatServer, tmp_path: Path
) -> None:
    azure.forbidden = {"team/aoai-key"}
    done = run(chat, tmp_path / "r", AZURE_OPENAI_API_KEY=REFERENCE)
    assert done.returncode == 2
    assert "expected the secret https://team.vault.azure.net/secrets/aoai-key, got: forbidden" in done.stderr
    assert "Traceback" not in done.stderr
    assert chat.credentials == []
