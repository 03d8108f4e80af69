from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.certificate import make_certificate
from simulator.known_timing.answer import Timing, chunk_offsets, chunk_sizes, override
from tests.known_target import Running, known_target, truth_of

TIMING = ("--ttft-ms", "30", "--tbt-ms", "2", "--tokens", "10")
STREAMED = {"model": "m", "messages": [], "stream": True, "stream_options": {"include_usage": True}}
PATH = "/openai/deployments/m/chat/completions?api-version=1"


def dial(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), timeout=10)


def ask(connection: http.client.HTTPConnection, body: dict[str, Any], **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", PATH, json.dumps(body), {"Content-Type": "application/json", **named})
    response = connection.getresponse()
    answer = response.read()
    assert response.status == 200, answer
    return answer


def events(answer: bytes) -> list[Any]:
    """Data of each event; the last must be `[DONE]` and is left out."""
    data = [line[6:] for line in answer.replace(b"\r\n", b"\n").split(b"\n") if line.startswith(b"data: ")]
    assert data.pop() == b"[DONE]"
    return [json.loads(item) for item in data]


def text_of(chunks: list[Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--framing", "close"),
        ("--line-end", "crlf"),
        ("--line-end", "crlf", "--framing", "close"),
        ("--piece-bytes", "7"),
        ("--role-early",),
        ("--continue-100",),
        ("--tokens-per-chunk", "4"),
    ],
)
def test_every_framing_carries_the_same_answer(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with known_target(tmp_path, *TIMING, *arguments) as running:
        chunks = events(ask(running.connect(), STREAMED))
    assert text_of(chunks) == " token" * 10
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 10
    assert truth_of(running)[0]["completion_tokens"] == 10


def test_the_log_is_what_the_client_got(tmp_path: Path) -> None:
    with known_target(tmp_path, *TIMING) as running:
        connection = running.connect()
        before = time.time()
        for number in range(3):
            ask(connection, STREAMED, x_ms_client_request_id=f"call-{number}-1")
        after = time.time()
    rows = truth_of(running)
    assert [row["client_request_id"] for row in rows] == ["call-0-1", "call-1-1", "call-2-1"]
    assert [row["connection_requests"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert (row["outcome"], row["status"], row["stream"], row["chunks"]) == ("ok", 200, True, 10)
        instants = [row[name] for name in ("received_at", "headers_at", "first_token_at", "last_token_at")]
        assert [before, *instants, after] == sorted([before, *instants, after])
        assert row["finished_at"] >= row["last_token_at"]
    assert running.summary["served"] == 3
    assert running.summary["chunks"] == 30


def test_no_chunk_leaves_early(tmp_path: Path) -> None:
    with known_target(tmp_path, *TIMING) as running:
        ask(running.connect(), STREAMED)
    (row,) = truth_of(running)
    start = row["arrived_at"] or row["received_at"]
    assert row["first_token_at"] - start >= 0.030
    assert row["last_token_at"] - start >= 0.030 + 9 * 0.002
    assert row["late_max_ms"] >= 0.0


def test_a_request_sets_its_own_timing(tmp_path: Path) -> None:
    with known_target(tmp_path, *TIMING) as running:
        own = {"tokens": 3, "tbt_ms": 0, "stall_ms": 60, "stall_after": 1, "usage": False}
        chunks = events(ask(running.connect(), {**STREAMED, "known_timing": own}))
        whole = json.loads(ask(running.connect(), {"messages": [], "known_timing": {"tokens": 5}}))
    assert text_of(chunks) == " token" * 3
    assert all(chunk["usage"] is None for chunk in chunks)
    assert whole["usage"]["completion_tokens"] == 5
    assert whole["choices"][0]["message"]["content"] == " token" * 5
    stalled = truth_of(running)[0]
    start = stalled["arrived_at"] or stalled["received_at"]
    assert stalled["last_token_at"] - start >= 0.030 + 0.060


def test_tokens_zero_follows_max_tokens(tmp_path: Path) -> None:
    with known_target(tmp_path, "--tokens", "0", "--ttft-ms", "0", "--tbt-ms", "0") as running:
        assert text_of(events(ask(running.connect(), {**STREAMED, "max_tokens": 7}))) == " token" * 7


def test_a_bad_request_is_answered_and_not_logged(tmp_path: Path) -> None:
    with known_target(tmp_path, *TIMING) as running:
        connection = running.connect()
        for path, body, status, said in (
            (PATH, b"{", 400, b"expected JSON"),
            (PATH, b'{"known_timing": {"pace": 1}}', 400, b"pace: expected one of"),
            ("/elsewhere", b"{}", 404, b"no such route"),
        ):
            connection.request("POST", path, body)
            response = connection.getresponse()
            assert (response.status, said in response.read()) == (status, True)
        connection.request("GET", "/v1/models")
        assert b"known-timing" in connection.getresponse().read()
    assert truth_of(running) == []


def test_a_client_that_leaves_is_logged_as_gone(tmp_path: Path) -> None:
    with known_target(tmp_path, "--ttft-ms", "1", "--tbt-ms", "1", "--tokens", "100000") as running:
        connection = running.connect()
        connection.request("POST", PATH, json.dumps(STREAMED))
        response = connection.getresponse()
        response.read(300)
        response.close()
        connection.close()
        ask(running.connect(), {**STREAMED, "known_timing": {"tokens": 1}})
    assert sorted(row["outcome"] for row in truth_of(running)) == ["client_gone", "ok"]


def test_answers_before_the_body_has_come(tmp_path: Path) -> None:
    body = json.dumps(STREAMED).encode()
    with known_target(tmp_path, *TIMING, "--early-response") as running, dial(running) as sock:
        sock.sendall(b"POST %b HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (PATH.encode(), len(body)))
        answer = b""
        while not answer.endswith(b"0\r\n\r\n"):
            answer += sock.recv(65536)
        sock.sendall(body)  # the connection goes on to serve: the late body is not taken for a request
        sock.sendall(b"GET /v1/models HTTP/1.1\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK")
    (row,) = truth_of(running)
    assert (row["outcome"], row["received_at"]) == ("ok", None)


def test_leaves_the_body_in_the_socket_for_a_while(tmp_path: Path) -> None:
    with known_target(tmp_path, *TIMING, "--read-pause-ms", "120") as running:
        before = time.time()
        ask(running.connect(), {**STREAMED, "messages": [{"role": "user", "content": "x" * 200_000}]})
    assert truth_of(running)[0]["received_at"] - before >= 0.120


def test_closes_after_so_many_requests(tmp_path: Path) -> None:
    with known_target(tmp_path, *TIMING, "--requests-per-connection", "2") as running:
        connection = running.connect()
        for _ in range(4):
            ask(connection, STREAMED)
    assert [row["connection_requests"] for row in truth_of(running)] == [1, 2, 1, 2]


def test_asks_for_the_body_of_a_client_that_waits(tmp_path: Path) -> None:
    body = json.dumps(STREAMED).encode()
    with known_target(tmp_path, *TIMING) as running, dial(running) as sock:
        head = b"POST %b HTTP/1.1\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
        sock.sendall(head % (PATH.encode(), len(body)))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_speaks_tls(tmp_path: Path, framing: str) -> None:
    certificate, key = make_certificate(tmp_path)
    arguments = ("--tls-cert", str(certificate), "--tls-key", str(key), "--framing", framing)
    with known_target(tmp_path, *TIMING, *arguments) as running:
        context = ssl.create_default_context(cafile=str(certificate))
        assert text_of(events(ask(running.connect(context), STREAMED))) == " token" * 10
    assert truth_of(running)[0]["arrived_at"] is None


def test_bad_options_are_all_named_and_nothing_starts() -> None:
    command = [sys.executable, "-m", "simulator.known_timing", "--tbt-ms", "-1", "--framing", "none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "tbt_ms: expected 0 or more, got -1.0" in done.stderr
    assert "framing: expected chunked or close, got 'none'" in done.stderr


def test_chunks_and_their_offsets_by_hand() -> None:
    timing = Timing(ttft_ms=100, tbt_ms=10, tokens=10, tokens_per_chunk=4, stall_ms=500, stall_after=2)
    assert chunk_sizes(10, 4) == [4, 4, 2]
    assert chunk_offsets(timing, [4, 4, 2]) == (0.100, 0.140, 0.680)


def test_override_names_every_problem() -> None:
    with pytest.raises(ValueError, match=r"pace: .*; ttft_ms: expected 0 or more, got -5"):
        override(Timing(), {"pace": 2, "ttft_ms": -5})
