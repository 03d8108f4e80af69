from __future__ import annotations

import pytest

from tests.scripted_server import Action, close, scripted_server
from tests.tokenswarm.transport.test_exchange import CHUNKED, FINISH, TOKEN, framed, send
from tokenswarm.transport.exchange import Transport
from tokenswarm.transport.keepalive import ENOUGH, KeptConnections

ORIGIN = ("http", "example.org", 80)


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
            while transport._connection is not None and transport._connection.is_usable():
                pass  # until its end has come
        after = [send(server, transport) for _ in range(3)]
        assert server.accepted == ENOUGH + 3
    with scripted_server(whole) as another:
        assert send(another, transport).connect_ms is not None
        assert send(another, transport).connect_ms is None
    transport.close()
    assert all(exchange.failure is None and exchange.connect_ms is not None for exchange in after)
