from __future__ import annotations

import socket
import time
from collections.abc import Callable

import gevent
import pytest

from tests.scripted_server import Action, close, reset, scripted_server
from tests.tokenswarm.transport.test_exchange import CHUNKED, FINISH, TOKEN, framed, send
from tokenswarm.transport.exchange import Transport
from tokenswarm.transport.keepalive import ENOUGH, KeptConnections

ORIGIN = ("http", "example.org", 80)


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    """A port may have been that of a server in an earlier test, which is known to close connections."""
    vars(gevent.get_hub()).pop("tokenswarm_kept_connections", None)


def test_a_server_that_keeps_its_word_is_believed() -> None:
    kept = KeptConnections()
    for _ in range(1000):
        kept.note(ORIGIN, usable=True, idle_s=0.01)
    for _ in range(300):  # a restart closes all at once
        kept.note(ORIGIN, usable=False, idle_s=0.01)
    assert kept.worth_keeping(ORIGIN)


def test_connections_that_were_closed_while_they_lay_idle_say_nothing() -> None:
    kept = KeptConnections()
    for _ in range(100):
        kept.note(ORIGIN, usable=False, idle_s=5.0)
    assert kept.worth_keeping(ORIGIN)


def test_a_server_that_closes_them_at_once_is_given_up_once_and_alone(caplog: pytest.LogCaptureFixture) -> None:
    kept = KeptConnections()
    for number in range(10):
        assert kept.worth_keeping(ORIGIN) == (number < ENOUGH)
        kept.note(ORIGIN, usable=False, idle_s=0.01)
    assert len(caplog.records) == 1
    assert "example.org:80 closes connections that its answers said to keep (3 of 3)" in caplog.text
    assert kept.worth_keeping(("http", "example.net", 80))


def test_one_that_closes_every_second_time_is_given_up_too() -> None:
    kept = KeptConnections()
    for number in range(2 * ENOUGH):
        kept.note(ORIGIN, usable=number % 2 == 0, idle_s=0.01)
    assert not kept.worth_keeping(ORIGIN)


def test_a_server_that_was_given_up_gets_a_new_connection_for_each_request() -> None:
    whole: list[Action] = [CHUNKED, framed(TOKEN), framed(FINISH) + b"0\r\n\r\n"]
    with scripted_server(*[[*whole, close]] * ENOUGH, whole) as server:
        transport = Transport()
        for _ in range(ENOUGH):
            assert send(server, transport).failure is None
            while transport.connection is not None and transport.connection.is_usable():
                pass  # until its end has come
        after = [send(server, transport) for _ in range(3)]
        assert server.accepted == ENOUGH + 3
    with scripted_server(whole) as another:
        assert send(another, transport).connect_ms is not None
        assert send(another, transport).connect_ms is None
    transport.close()
    assert all(exchange.failure is None and exchange.connect_ms is not None for exchange in after)


def close_after(seconds: float) -> Callable[[socket.socket], None]:
    def action(connection: socket.socket) -> None:
        time.sleep(seconds)
        connection.close()

    return action


def reset_after(seconds: float) -> Callable[[socket.socket], None]:
    def action(connection: socket.socket) -> None:
        time.sleep(seconds)
        reset(connection)

    return action


@pytest.mark.parametrize("end", [close_after, reset_after])
@pytest.mark.parametrize("delay_ms", [0, 1, 2, 5, 20])
@pytest.mark.parametrize("pause_ms", [0, 1, 4])
def test_no_request_fails_because_its_kept_connection_had_been_closed(
    end: Callable[[float], Action], delay_ms: float, pause_ms: float
) -> None:
    answer: list[Action] = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", end(delay_ms / 1000)]
    with scripted_server(answer) as server:
        transport = Transport()
        exchanges = []
        for _ in range(30):
            exchanges.append(send(server, transport))
            gevent.sleep(pause_ms / 1000)
        transport.close()
    assert [exchange.error for exchange in exchanges if exchange.failure is not None] == []
    assert all(exchange.connect_ms is not None for exchange in exchanges if exchange.resent)
    assert sum(exchange.resent for exchange in exchanges) <= ENOUGH


def test_a_lost_request_is_sent_once_more_on_a_new_connection_and_says_so() -> None:
    ok: list[Action] = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]
    with scripted_server(ok, [reset], ok) as server:  # read, and then reset: the client cannot tell
        transport = Transport()
        first, second = send(server, transport), send(server, transport)
        transport.close()
    assert len(server.requests) == 3 and server.accepted == 2
    assert (first.failure, first.resent) == (None, False)
    assert (second.failure, second.resent, second.body) == (None, True, b"ok")
    assert second.connect_ms is not None and transport.last is second


def test_a_request_that_is_lost_twice_has_failed() -> None:
    ok: list[Action] = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]
    with scripted_server(ok, [close]) as server:
        transport = Transport()
        send(server, transport)
        exchange = send(server, transport)
    assert (exchange.failure, exchange.resent) == ("connection_error", True)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "then",
    [
        [close_after(0.4)],  # long after a closed connection would have been heard of: it has worked on the answer
        [b"HTTP/1.1 2", close],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", close],
    ],
    ids=["late", "first bytes", "headers"],
)
def test_what_the_service_itself_breaks_off_is_its_failure(then: list[Action]) -> None:
    ok: list[Action] = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]
    with scripted_server(ok, then, ok) as server:
        transport = Transport()
        send(server, transport)
        exchange = send(server, transport)
        transport.close()
    assert exchange.failure in ("connection_error", "truncated") and not exchange.resent
    assert len(server.requests) == 2


def test_a_request_on_a_new_connection_is_never_sent_again() -> None:
    with scripted_server([close]) as server:
        exchange = send(server)
    assert (exchange.failure, exchange.resent) == ("connection_error", False)
    assert len(server.requests) == 1


def test_connections_that_are_lost_to_the_race_are_given_up_like_those_seen_closed() -> None:
    kept = KeptConnections()
    for _ in range(ENOUGH):
        kept.note(ORIGIN, usable=True, idle_s=0.01)
        kept.note_lost(ORIGIN, 0.01)
    assert not kept.worth_keeping(ORIGIN)
