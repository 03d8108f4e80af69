"""Every fault as a client sees it on the wire, and what the truth log says about it."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.config.fault_specs import ALL, Fault, check_spec, parse_fault, pick_fault
from tests.simulator_process import API_KEY, FUNCTIONS_KEY, Simulator, running_simulator
from tests.waiting import wait_until

FAST = "ttft_base_ms = 1\nttft_std_ms = 0\nttft_per_token_ms = 0\ntbt_ms = 1\ntbt_std_ms = 0\n"
CONFIG = f"""
[deployments.'gpt-4.1-nano']
{FAST}
[deployments.shaky]
faults = [{{ fault = "http_500", share = 0.3 }}]
{FAST}
[deployments.later]
faults = [{{ fault = "reset", from_s = 1000 }}, {{ fault = "http_503:7", to_s = 1000 }}]
{FAST}
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG) as simulator:
        yield simulator


def exchange(simulator: Simulator, fault: str, stream: bool = True, mark: str = "", timeout: float = 10) -> bytes:
    """All bytes that come back until the connection ends; ConnectionResetError when it is reset."""
    where = urlsplit(simulator.chat_url)
    body = json.dumps(
        {
            "model": "gpt-4.1-nano",
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 8,
            "stream": stream,
        }
    ).encode()
    head = (
        f"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n"
        f"api-key: {API_KEY}\r\nx-simulate-fault: {fault}\r\nx-ms-client-request-id: {mark or fault}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    received = bytearray()
    with socket.create_connection((where.hostname, where.port), timeout) as connection:
        connection.sendall(head + body)
        try:
            while data := connection.recv(1 << 20):
                received += data
        except ConnectionResetError as error:
            error.received = bytes(received)  # type: ignore[attr-defined]
            raise
    return bytes(received)


def tokens_in(answer: bytes) -> int:
    return answer.count(b'"delta":{"content":"') - answer.count(b'"delta":{"content":"",')


def truth_of(simulator: Simulator, mark: str) -> tuple[int | None, str, str | None]:
    (row,) = [row for row in simulator.truth() if row["client_request_id"] == mark]
    return row["status"], row["outcome"], row["reason"]


@pytest.mark.parametrize("status", [401, 403, 404, 408, 413, 429, 500, 503])
def test_statuses(simulator, status):
    answer = exchange(simulator, f"http_{status}:9")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"retry-after: 9\r\n" in answer
    assert b'"error"' in answer
    outcome = "throttled" if status == 429 else "http_error"
    assert truth_of(simulator, f"http_{status}:9") == (status, outcome, f"http_{status}")


def test_a_page_an_empty_answer_and_a_redirect(simulator):
    assert b"text/html" in exchange(simulator, "html_502")
    assert exchange(simulator, "empty_200").endswith(b"content-length: 0\r\nconnection: close\r\n\r\n")
    redirect = exchange(simulator, "redirect")
    assert redirect.startswith(b"HTTP/1.1 307")
    assert f"location: http://localhost:{urlsplit(simulator.chat_url).port}/openai/v1/chat".encode() in redirect
    assert truth_of(simulator, "html_502") == (502, "http_error", "html_502")
    assert truth_of(simulator, "empty_200") == (200, "in_band_error", "empty_200")
    assert truth_of(simulator, "redirect") == (307, "http_error", "redirect")


def test_no_headers_at_all(simulator):
    with pytest.raises(ConnectionResetError):
        exchange(simulator, "reset")
    assert exchange(simulator, "close") == b""
    assert truth_of(simulator, "reset") == (None, "cut", "reset")
    assert truth_of(simulator, "close") == (None, "cut", "close")


def test_a_reset_in_mid_stream(simulator):
    with pytest.raises(ConnectionResetError) as caught:
        exchange(simulator, "reset_midway::4")
    assert tokens_in(caught.value.received) == 4  # type: ignore[attr-defined]
    assert truth_of(simulator, "reset_midway::4") == (200, "cut", "reset_midway")


@pytest.mark.parametrize("fault", ["close_midway", "end_midway", "bad_chunk"])
def test_a_stream_that_ends_early(simulator, fault):
    answer = exchange(simulator, fault)
    assert b"[DONE]" not in answer
    assert answer.endswith(b"0\r\n\r\n") == (fault == "end_midway")
    assert (b"\r\nzz\r\n" in answer) == (fault == "bad_chunk")
    assert truth_of(simulator, fault) == (200, "cut", fault)
    if fault != "bad_chunk":
        assert tokens_in(answer) == 3


def test_a_stall_goes_on_or_lasts_until_the_client_leaves(simulator):
    began = time.monotonic()
    assert exchange(simulator, "stall:0.3").count(b"[DONE]") == 1
    assert time.monotonic() - began >= 0.3
    with pytest.raises(TimeoutError):
        exchange(simulator, "stall", timeout=1.0)
    with pytest.raises(TimeoutError):
        exchange(simulator, "stall_before", timeout=1.0)
    assert truth_of(simulator, "stall:0.3") == (200, "ok", "stall")
    assert truth_of(simulator, "stall") == (200, "stalled", "stall")
    assert truth_of(simulator, "stall_before")[1:] == ("stalled", "stall_before")


@pytest.mark.parametrize("stream", [True, False])
def test_slow_headers_and_single_bytes_are_whole_answers(simulator, stream):
    began = time.monotonic()
    slow = exchange(simulator, "slow_headers:0.2", stream, f"slow-{stream}")
    assert time.monotonic() - began >= 0.2
    drip = exchange(simulator, "one_byte", stream, f"drip-{stream}")
    for answer in (slow, drip):
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"0\r\n\r\n" if stream else b"}")
        assert tokens_in(answer) == (8 if stream else 0)
    assert truth_of(simulator, f"slow-{stream}") == (200, "ok", "slow_headers")
    assert truth_of(simulator, f"drip-{stream}") == (200, "ok", "one_byte")


@pytest.mark.parametrize("stream", [True, False])
def test_a_wrong_length(simulator, stream):
    answer = exchange(simulator, "wrong_length", stream, f"length-{stream}")
    head, _, body = answer.partition(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length")]
    assert length >= 1000
    assert len(body) != length
    assert b"transfer-encoding" not in head
    assert truth_of(simulator, f"length-{stream}") == (200, "cut", "wrong_length")


@pytest.mark.parametrize("stream", [True, False])
def test_spoilt_text(simulator, stream):
    def answer(fault: str) -> bytes:
        return exchange(simulator, fault, stream, f"{fault}-{stream}").partition(b"\r\n\r\n")[2]

    with pytest.raises(UnicodeDecodeError):
        answer("invalid_utf8").decode()
    assert answer("invalid_json").count(b"{") != answer("invalid_json").count(b"}")
    assert b'"finish_reason":"content_filter"' in answer("filter_midway").replace(b": ", b":")
    assert b'"error"' in answer("error_event")
    assert b"x" * 900_000 in answer("huge_line:2").replace(b"\r\n", b"")
    for fault in ("invalid_utf8", "filter_midway", "error_event"):
        assert truth_of(simulator, f"{fault}-{stream}") == (200, "in_band_error", fault)


def test_a_content_filter_in_mid_stream_is_a_wellformed_stream(simulator):
    answer = exchange(simulator, "filter_midway", mark="filter-shape")
    assert tokens_in(answer) == 3
    assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize("fault", ["reset_midway", "close_midway", "end_midway"])
def test_half_a_body(simulator, fault):
    try:
        answer = exchange(simulator, fault, stream=False, mark=f"half-{fault}")
    except ConnectionResetError as error:
        answer = error.received  # type: ignore[attr-defined]
    head, _, body = answer.partition(b"\r\n\r\n")
    if fault != "reset_midway":  # a reset may overtake what was sent
        assert head.startswith(b"HTTP/1.1 200")
        assert body.startswith(b"{")
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(body)
    assert truth_of(simulator, f"half-{fault}") == (200, "cut", fault)


def test_other_requests_go_on_while_faults_strike(simulator):
    def works() -> bool:
        return exchange(simulator, "stall:0", mark="ok").count(b"[DONE]") == 1

    for fault in sorted(ALL):
        short = f"{fault}:0.05" if fault in ("stall", "stall_before", "slow_headers", "huge_line") else fault
        with contextlib.suppress(ConnectionResetError):
            exchange(simulator, short, mark="x")
        assert works()


def post(simulator: Simulator, deployment: str, n: int = 0) -> httpx2.Response:
    return httpx2.post(
        simulator.chat_url + "/v1/chat/completions",
        json={"model": deployment, "messages": [{"role": "user", "content": f"question {n}"}], "max_tokens": 1},
        headers={"api-key": API_KEY},
        verify=False,  # it is http; no time for certificates that are not needed
    )


def test_a_deployment_has_faults_by_share_and_by_window(simulator):
    statuses = [post(simulator, "shaky", n).status_code for n in range(60)]
    assert set(statuses) == {200, 500}
    assert 6 <= statuses.count(500) <= 32  # 18 expected; outside with a chance below 1 in 1000
    later = post(simulator, "later")
    assert (later.status_code, later.headers["retry-after"]) == (503, "7")


def test_an_unknown_fault_is_refused(simulator):
    answer = exchange(simulator, "earthquake")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"expected a fault of" in answer


def test_the_orchestrator_has_them_too(simulator):
    def ask(fault: str) -> httpx2.Response:
        return httpx2.post(
            simulator.rag_url + "/api/orc",
            json={"question": "hello", "conversation_id": ""},
            headers={"x-functions-key": FUNCTIONS_KEY, "x-simulate-fault": fault},
        )

    assert ask("http_503").status_code == 503
    assert ask("html_502").headers["content-type"] == "text/html"
    for fault in ("reset", "close", "close_midway"):
        with pytest.raises(httpx2.TransportError):
            ask(fault)
    assert ask("stall:0").json()["answer"]


def test_going_away_and_coming_back(simulator):
    assert post(simulator, "gpt-4.1-nano").status_code == 200
    simulator.admin("POST", "/admin/outage", {"seconds": 0.5})
    with pytest.raises(httpx2.ConnectError):
        post(simulator, "gpt-4.1-nano")
    assert wait_until(lambda: _answered(simulator), "the end of the outage").status_code == 200


def _answered(simulator):
    with contextlib.suppress(httpx2.ConnectError):
        return post(simulator, "gpt-4.1-nano")


def test_faults_are_parsed():
    assert parse_fault("stall") == Fault("stall")
    assert parse_fault("stall").value > 3600
    assert parse_fault(" stall:1.5:7 ") == Fault("stall", 1.5, 7)
    assert parse_fault("reset_midway::0") == Fault("reset_midway", None, 0)
    for wrong in ("", "stal", "stall:x", "stall:1:x", "stall:-1", "stall:nan", "stall:1:2:3", "stall:1:-2"):
        with pytest.raises(ValueError, match="expected"):
            parse_fault(wrong)


@given(st.text())
def test_any_text_is_a_fault_or_a_plain_mistake(text):
    try:
        assert parse_fault(text).name in ALL
    except ValueError as error:
        assert "expected" in str(error)


def test_entries_of_a_deployment_are_checked_and_picked_in_order():
    assert check_spec({"fault": "reset", "share": 0.5, "from_s": 1, "to_s": 2}) is None
    for wrong in ({}, {"fault": "x"}, {"fault": "reset", "share": 2}, {"fault": "reset", "from_s": "a"}, {"typo": 1}):
        assert "expected" in (check_spec(wrong) or "")
    specs = [{"fault": "reset", "from_s": 10, "to_s": 20}, {"fault": "close", "share": 0.0}, {"fault": "http_500"}]
    rng = random.Random(1)
    assert [pick_fault(specs, rng, at).name for at in (9.9, 10, 19.9, 20)] == ["http_500", "reset", "reset", "http_500"]
