from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import gevent
import pytest

from tests.ports import free_port
from tests.scripted_server import Action, ScriptedServer, close, reset, scripted_server
from tokenswarm.apis.chat_completions import ChatStream
from tokenswarm.transport.connect import kernel_timestamps
from tokenswarm.transport.exchange import MOMENT_S, Transport
from tokenswarm.transport.reading import Exchange

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
TOKEN = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
REQUEST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def pause(seconds: float) -> Callable[[socket.socket], None]:
    return lambda _connection: time.sleep(seconds)


def send(server: ScriptedServer, transport: Transport | None = None, timeout_s: float = 10.0) -> Exchange:
    sender = transport or Transport()
    exchange = sender.send(("http", "127.0.0.1", server.port), REQUEST, sink_for, timeout_s)
    if transport is None:
        sender.close()
    return exchange


streams: list[ChatStream] = []
"""Who took the answers that were streams, the last one last."""


def sink_for(status: int, headers: dict[str, str]) -> ChatStream | None:
    if "event-stream" not in headers.get("content-type", ""):
        return None
    streams.append(ChatStream())
    return streams[-1]


@pytest.mark.parametrize(
    "script",
    [
        [CHUNKED, framed(TOKEN), framed(TOKEN), framed(FINISH), b"0\r\n\r\n"],
        [CHUNKED + framed(TOKEN + TOKEN + FINISH) + b"0\r\n\r\n"],
        [UNTIL_CLOSE, TOKEN, TOKEN + FINISH, close],
        [UNTIL_CLOSE, (TOKEN + TOKEN + FINISH).replace(b"\n", b"\r\n"), close],
        [b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED, framed(TOKEN), framed(TOKEN + FINISH), b"0\r\n\r\n"],
    ],
    ids=["chunked", "one piece", "until close", "crlf", "after 100"],
)
def test_a_stream_is_read_whole_in_every_framing(script: list[Action]) -> None:
    with scripted_server(script) as server:
        exchange = send(server)
    assert exchange.failure is None
    assert exchange.status == 200
    assert len(streams[-1].times.at_ms) == 2
    assert streams[-1].done


def test_a_stream_that_comes_byte_by_byte() -> None:
    whole = CHUNKED + framed(TOKEN) + framed(FINISH) + b"0\r\n\r\n"
    with scripted_server([whole[i : i + 1] for i in range(len(whole))]) as server:
        exchange = send(server)
    assert exchange.failure is None
    assert len(streams[-1].times.at_ms) == 1


def test_offsets_follow_each_other_and_connect_is_absent_on_a_kept_connection() -> None:
    script = [CHUNKED, pause(0.03), framed(TOKEN), pause(0.03), framed(TOKEN), framed(FINISH), b"0\r\n\r\n"]
    with scripted_server(script) as server:
        transport = Transport()
        first, second = send(server, transport), send(server, transport)
        transport.close()
        assert server.accepted == 1
    assert first.connect_ms is not None
    assert second.connect_ms is None
    for exchange, stream in zip((first, second), streams[-2:], strict=True):
        times = list(stream.times.at_ms)
        offsets = [exchange.sent_ms, exchange.first_byte_ms, exchange.headers_ms, times[0], times[1], exchange.end_ms]
        assert all(offset is not None for offset in offsets)
        assert exchange.first_byte_ms == exchange.headers_ms
        assert times[0] >= 30.0
        assert times[1] - times[0] >= 29.0
        assert exchange.end_ms is not None and exchange.end_ms >= times[1]


def test_a_request_starts_no_sooner_than_it_may_and_waits_for_a_moment_at_most() -> None:
    with scripted_server([CHUNKED, framed(FINISH), b"0\r\n\r\n"]) as server:
        for ahead_s, least_s in ((0.003, 0.003), (60.0, MOMENT_S), (-1.0, 0.0)):
            begin = time.time()
            transport = Transport()
            address = ("http", "127.0.0.1", server.port)
            exchange = transport.send(address, REQUEST, sink_for, 10.0, start_at=begin + ahead_s)
            transport.close()
            assert exchange.failure is None
            assert least_s - 1e-4 <= exchange.started_at - begin < 50.0


def token_while_the_loop_is_blocked() -> tuple[float, float, float]:
    """When a token came that was sent while nobody could read it, when that had been at the latest, and its read lag,
    in ms."""
    is_blocked, is_sent = threading.Event(), threading.Event()
    script: list[Action] = [CHUNKED, lambda _connection: bool(is_blocked.wait(20)) or None, framed(TOKEN)]
    script += [lambda _connection: is_sent.set(), framed(FINISH), b"0\r\n\r\n"]
    sent_at: list[float] = []

    def block_the_loop(transport: Transport) -> None:
        while transport.last is None or transport.last.first_byte_ms is None:
            gevent.sleep(0.001)
        is_blocked.set()
        is_sent.wait(20)
        sent_at.append(time.time())
        time.sleep(0.1)  # the loop sees the token only now

    with scripted_server(script) as server:
        transport = Transport()
        gevent.spawn(block_the_loop, transport)
        exchange = send(server, transport)
        transport.close()
    (token_ms,) = streams[-1].times.at_ms
    assert exchange.first_byte_ms is not None and exchange.first_byte_ms <= token_ms
    return token_ms, (sent_at[0] - exchange.started_at) * 1000.0, exchange.read_lag_ms or 0.0


def test_bytes_have_the_time_they_reached_the_machine_not_the_time_they_were_read() -> None:
    if not kernel_timestamps():
        pytest.fail("this machine has no kernel timestamps; the suite's clock tests need Linux")
    # A process that is interrupted in the poll itself takes it for one that waited: the time is then that of the read.
    tries = (token_while_the_loop_is_blocked() for _ in range(10))
    assert any(token_ms <= latest_ms + 1.0 and lag_ms > 50.0 for token_ms, latest_ms, lag_ms in tries)


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ([close], "connection_error"),
        ([reset], "connection_error"),
        ([b"HTTP/1.1 200 OK\r\nContent-", close], "connection_error"),
        ([CHUNKED, framed(TOKEN), close], "truncated"),
        ([CHUNKED, framed(TOKEN), reset], "stream_error"),
        ([CHUNKED, framed(TOKEN), b"zz\r\n", pause(0.2)], "stream_error"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", close], "truncated"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n", pause(0.2)], "stream_error"),
    ],
    ids=["closed", "reset", "cut headers", "cut stream", "reset stream", "bad chunk", "short body", "not HTTP"],
)
def test_what_goes_wrong_is_told_and_what_came_is_kept(script: list[Action], failure: str) -> None:
    with scripted_server(script) as server:
        exchange = send(server)
    assert exchange.failure == failure
    assert exchange.error
    assert exchange.end_ms is not None
    if exchange.headers.get("content-type") == "text/event-stream":
        assert len(streams[-1].times.at_ms) == 1


def test_a_stall_ends_with_the_timeout_and_the_next_request_gets_a_new_connection() -> None:
    ok = [CHUNKED, framed(TOKEN), framed(FINISH), b"0\r\n\r\n"]
    stalled = threading.Event()
    with scripted_server([CHUNKED, framed(TOKEN), lambda _c: bool(stalled.wait(30)) or None, close], ok) as server:
        transport = Transport()
        exchange = send(server, transport, timeout_s=1.0)
        stalled.set()
        again = send(server, transport)
        transport.close()
    assert exchange.failure == "timeout"
    assert len(streams[-2].times.at_ms) == 1
    assert again.failure is None
    assert again.connect_ms is not None


def test_nobody_listens() -> None:
    exchange = Transport().send(("http", "127.0.0.1", free_port()), REQUEST, sink_for, 5.0)
    assert exchange.failure == "connection_error"
    assert exchange.status is None
    assert "refused" in str(exchange.error).lower()


def test_an_unknown_host_is_a_connection_error() -> None:
    exchange = Transport().send(("http", "no-such-host.invalid", 80), REQUEST, sink_for, 10.0)
    assert exchange.failure in ("connection_error", "timeout")


def test_an_idle_connection_that_the_server_closed_is_not_used_again() -> None:
    script = [CHUNKED, framed(TOKEN), framed(FINISH), b"0\r\n\r\n", close]
    with scripted_server(script) as server:
        transport = Transport()
        assert send(server, transport).failure is None
        deadline = time.monotonic() + 30
        while transport.connection is not None and transport.connection.is_usable():
            assert time.monotonic() < deadline
            gevent.sleep(0.005)
        assert send(server, transport).failure is None
        transport.close()
        assert server.accepted == 2


def test_a_connection_that_the_server_means_to_close_is_not_kept() -> None:
    script = [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"]
    with scripted_server(script) as server:
        transport = Transport()
        exchange = send(server, transport)
        assert transport.connection is None
    assert exchange.body == b"ok"


def test_an_answer_before_the_request_has_been_read_is_an_answer() -> None:
    large = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n" + b"x" * 30_000_000
    answer = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig"

    def read_a_little(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1_000_000):
            pass

    with scripted_server([read_a_little], read_request=False) as server:
        exchange = Transport().send(("http", "127.0.0.1", server.port), large, sink_for, 10.0)
    assert exchange.status == 413
    assert exchange.body == b"big"


def test_a_killed_greenlet_leaves_its_exchange_and_no_open_connection() -> None:
    waiting = threading.Event()
    with scripted_server([CHUNKED, framed(TOKEN), lambda _c: bool(waiting.wait(30)) or None, close]) as server:
        transport = Transport()
        greenlet = gevent.spawn(send, server, transport)
        deadline = time.monotonic() + 30
        while transport.last is None or transport.last.first_byte_ms is None:
            assert time.monotonic() < deadline
            gevent.sleep(0.005)
        greenlet.kill()
        waiting.set()
    assert transport.last.end_ms is not None
    assert transport.connection is None


class EndlessQueue:
    """A run_queue before which there are always others."""

    def wake_in_turn(self, sleeper: object) -> None: ...


@pytest.mark.parametrize("timeout_s", [3.0, 60.0], ids=["its time is up", "the run is stopped"])
def test_an_answer_that_has_ended_is_whole_though_its_user_waits_for_a_turn(timeout_s: float) -> None:
    answered = threading.Event()
    script: list[Action] = [
        CHUNKED,
        framed(TOKEN),
        lambda _connection: bool(answered.wait(30)) or None,
        framed(FINISH) + b"0\r\n\r\n",
    ]
    transport = Transport()
    with scripted_server(script) as server:
        sending = gevent.spawn(send, server, transport, timeout_s)
        while transport.last is None or transport.last.first_byte_ms is None:
            gevent.sleep(0.001)
        assert transport.connection is not None
        transport.connection.run_queue = EndlessQueue()  # type: ignore[assignment]
        answered.set()
        while transport.last.end_ms is None:
            gevent.sleep(0.001)
        assert not sending.ready()
        sending.join(30.0) if timeout_s == 3.0 else sending.kill()
    transport.close()
    assert sending.ready()
    assert (transport.last.failure, transport.last.error) == (None, None)
    assert transport.last.end_ms < timeout_s * 1000.0


def test_a_huge_body_is_refused() -> None:
    def flood(connection: socket.socket) -> None:
        for _ in range(40):
            connection.sendall(b"x" * 1_000_000)

    with scripted_server([b"HTTP/1.1 500 Oops\r\nContent-Length: 40000000\r\n\r\n", flood]) as server:
        exchange = send(server)
    assert exchange.failure == "stream_error"
    assert "larger than" in str(exchange.error)
