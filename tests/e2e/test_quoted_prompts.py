"""A service that quotes recorded requests in its errors, and everything that is written searched for them."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from threading import Thread

import pytest

from tests.e2e.locust_process import run_locust
from tests.e2e.test_canaries import report

NAME = "Zaphod Beeblebrox-Größer"
MARKS = ("zaphod", "beeblebrox", "4711-0815", "secret-tenant")
TEXT = f'My name is {NAME}, my number is "4711-0815".'
REQUESTS = (
    {"messages": [{"role": "user", "content": TEXT}], "user": "secret-tenant"},
    {"messages": [{"role": "system", "content": f"You speak with {NAME}."}, {"role": "user", "content": "Who am I?"}]},
)


class Quoting(BaseHTTPRequestHandler):
    """Answers each request with an error that quotes it, in one form after another."""

    protocol_version = "HTTP/1.1"
    forms: Iterator[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status, kind, answer = answers(body)[next(self.forms)]
        data = answer.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def answers(body: str) -> list[tuple[int, str, str]]:
    said = json.loads(body)["messages"][0]["content"]
    error = {"error": {"code": "bad_request", "message": f"cannot take {said}"}}
    return [
        (400, "application/json", json.dumps(error)),
        (400, "application/json", json.dumps({"error": {"message": f"cannot take {body}"}})),
        (422, "application/json", json.dumps({"odd": body})),
        (500, "text/html", f"<html><title>{html.escape(said)}</title></html>"),
        (500, "text/plain", "x " * 220 + said),
        (200, "text/event-stream", f"data: {json.dumps(error)}\n\n"),
        (200, "application/json", json.dumps({"error": said})),
        (429, "text/plain", said.upper()),
    ]


@contextmanager
def quoting() -> Iterator[str]:
    handler = type("Handler", (Quoting,), {"forms": cycle(range(len(answers(json.dumps(REQUESTS[0])))))})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "lines",
    [
        [{"body": body, "session_id": "secret-tenant"} for body in REQUESTS],
        [{"conversations": [{"from": "human", "value": TEXT}]}],
    ],
    ids=["requests", "conversations"],
)
def test_what_a_service_quotes_of_recorded_requests_reaches_no_result(tmp_path: Path, lines: list[object]) -> None:
    path, work = tmp_path / "requests.jsonl", tmp_path / "work"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    work.mkdir()
    flags = ["-f", "locustfiles/chat_completions.py", "--headless", "--requests", str(path), "-u", "2", "-r", "2"]
    flags += [
        "-t",
        "60s",
        "--max-total-requests",
        "16",
        "--think-time",
        "0.05",
        "--max-refusals",
        "0",
        "--loglevel",
        "DEBUG",
        "--preflight",
        "none",
    ]
    with quoting() as url:
        variables = {"AZURE_OPENAI_ENDPOINT": url, "AZURE_OPENAI_DEPLOYMENT": "d", "AZURE_OPENAI_API_KEY": "k"}
        finished = run_locust(flags, variables, work)
    rows = finished.run().rows
    answered = {row.status for row in rows if row.outcome != "cancelled"}  # by the end of the run
    assert answered == {200, 400, 422, 429, 500}, finished.output
    assert sum("[left out]" in (row.error or "") for row in rows) > len(rows) / 2
    printed = finished.output + report(finished)
    texts = {str(each): each.read_text(errors="replace") for each in work.rglob("*") if each.is_file()}
    found = {**texts, "printed": printed}.items()
    assert [(name, mark) for name, text in found for mark in MARKS if mark in text.lower()] == []
