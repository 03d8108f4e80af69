"""Applications on a WebSocket, over real connections to a server that another library frames."""

from __future__ import annotations

import json
from typing import Any

import gevent
import pytest
from wsproto.events import CloseConnection, Ping, TextMessage

from tests.scripted_server import ScriptedServer, scripted_server
from tests.tokenswarm.transport.socket_server import SocketServer, Step, socket_server
from tokenswarm.apis.request import ChatRequest
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import Client, Reply
from tokenswarm.client.sdk import chat_endpoint
from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.record import Outcome

MAPPING = {
    "app-path": "/ws",
    "app-stream": "websocket",
    "app-body": '{"q": "{{question}}", "id": "{{conversation_id}}"}',
    "app-text": "text",
    "app-conversation": "id",
    "app-end": "done",
    "app-progress": "step",
}
ALONE = {"app-body": '{"q": "{{question}}"}', "app-conversation": ""}


def say(**fields: Any) -> TextMessage:
    return TextMessage(json.dumps(fields, separators=(",", ":")))


START, DONE = say(id="c-1", step="search"), say(done=True)
ANSWER: list[Step] = [START, say(text="How"), say(text=" long"), DONE]


def client_of(server: SocketServer | ScriptedServer, timeout_s: float = 20.0, **more: str) -> Client[Any]:
    given = {"host": server.url, "endpoint": "app", "headers": "X-Key: k-1234567", "timeout": str(timeout_s)}
    options = {name.replace("-", "_"): value for name, value in {**given, **MAPPING, **more}.items()}
    settings = build_settings(options, Environment({}, {}), {"chat"})
    assert settings.chat is not None and settings.chat.app is not None
    endpoint = chat_endpoint(settings.chat, settings.sending)
    return Client(settings.chat.app, endpoint, settings.sending, Caller("w0", 1))


def ask(client: Client[Any], turn: int = 1, conversation: str = "made-up") -> Reply:
    messages = [{"role": "user", "content": f"Question {turn}?"}]
    request = ChatRequest(
        messages=messages, keep_text=True, turn=turn, session_id="made-up", conversation_id=conversation
    )
    return client.call(request, lambda _: None)


def one_answer(script: list[Step], **more: Any) -> Reply:
    with socket_server(script) as server:
        client = client_of(server, **more)
        reply = ask(client)
        client.close()
    return reply


def test_turns_of_a_conversation_share_a_connection_and_its_id() -> None:
    with socket_server(ANSWER) as server:
        client = client_of(server)
        first = ask(client)
        again = ask(client, 2, first.record.conversation_id or "")
        client.close()
    rows = [first.record, again.record]
    assert [(row.outcome, row.status, row.chunks, row.conversation_id) for row in rows] == [
        (Outcome.OK, 101, 2, "c-1")
    ] * 2
    assert (first.text, again.text) == ("How long", "How long")
    assert [json.loads(text) for _, text in server.messages] == [
        {"q": "Question 1?"},
        {"q": "Question 2?", "id": "c-1"},
    ]
    assert len(server.openings) == 1 and server.openings[0]["x-key"] == "k-1234567"
    assert server.openings[0]["x-ms-client-request-id"] == f"{first.record.call_id}-1"
    assert (rows[0].connect_ms is None, rows[1].connect_ms is None) == (False, True)
    assert (rows[0].headers_ms is None, rows[1].headers_ms is None) == (False, True)
    for row in rows:
        assert row.sent_ms is not None and row.first_progress_ms is not None and row.ttft_ms is not None
        assert row.first_progress_ms <= row.ttft_ms <= (row.e2e_ms or 0.0)


def test_without_an_id_in_the_message_a_conversation_is_a_connection() -> None:
    with socket_server(ANSWER) as server:
        client = client_of(server, **ALONE)
        replies = [ask(client, turn) for turn in (1, 2, 1)]
        client.close()
    assert {reply.record.outcome for reply in replies} == {Outcome.OK}
    assert [connection for connection, _ in server.messages] == [1, 1, 2]


def test_fragments_pings_and_messages_in_one_write() -> None:
    fragments = [
        TextMessage('{"text":"to', message_finished=False),
        Ping(b"in between"),
        TextMessage('gether"}', message_finished=True),
    ]
    with socket_server([Ping(b"first"), START, *fragments, DONE]) as server:
        client = client_of(server)
        reply = ask(client)
        with gevent.Timeout(10):
            while len(server.pongs) < 2:
                gevent.sleep(0.005)
        client.close()
    assert (reply.record.outcome, reply.text, reply.record.chunks) == (Outcome.OK, "together", 1)
    assert server.pongs == [b"first", b"in between"]


def test_pings_are_answered_while_nobody_asks() -> None:
    with socket_server([*ANSWER, Ping(b"still there?")]) as server:
        client = client_of(server)
        ask(client)
        with gevent.Timeout(10):
            while not server.pongs:
                gevent.sleep(0.005)
        reply = ask(client, 2)
        client.close()
    assert reply.record.outcome is Outcome.OK
    assert (server.pongs[0], len(server.openings)) == (b"still there?", 1)


def test_a_connection_that_was_closed_meanwhile_is_opened_again() -> None:
    with socket_server([*ANSWER, CloseConnection(1001)]) as server:
        client = client_of(server)
        ask(client)
        with gevent.Timeout(10):
            while not server.closes:
                gevent.sleep(0.005)
        reply = ask(client, 2)
        client.close()
    assert (reply.record.outcome, len(server.openings)) == (Outcome.OK, 2)
    assert reply.record.connect_ms is not None


def test_a_user_who_stops_says_so() -> None:
    with socket_server(ANSWER) as server:
        client = client_of(server)
        ask(client)
        client.close()
        with gevent.Timeout(10):
            while not server.closes:
                gevent.sleep(0.005)
    assert server.closes == [1000]


def masked() -> bytes:
    return b"\x81\x82\x00\x00\x00\x00hi"  # a server's frame must not be


@pytest.mark.parametrize(
    ("script", "outcome", "error"),
    [
        ([START, say(text="How"), CloseConnection(1000)], Outcome.TRUNCATED, "ended without app-end"),
        ([START, CloseConnection(1011, "no model")], Outcome.STREAM_ERROR, "WebSocket closed with code 1011: no model"),
        ([START, masked()], Outcome.STREAM_ERROR, "WebSocket: "),
        ([b"\xff\xff\xff"], Outcome.STREAM_ERROR, "WebSocket: "),
        ([TextMessage("no json"), DONE], Outcome.BAD_PAYLOAD, "event is not JSON"),
        ([DONE], Outcome.BAD_PAYLOAD, "no text at app-text"),
        ([say(text="How"), say(error={"code": "x", "message": "no index"})], Outcome.STREAM_ERROR, "x: no index"),
        ([b"\x81\x04\xff\xfe\xfd\xfc"], Outcome.TIMEOUT, "no complete answer"),
        ([START], Outcome.TIMEOUT, "no complete answer within 1.5 s"),
    ],
    ids=["closed", "1011", "masked", "garbage", "no json", "empty", "error", "no utf-8", "silence"],
)
def test_what_is_no_answer_is_one_row(
    script: list[Step], outcome: Outcome, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    reply = one_answer(script, timeout_s=1.5 if outcome is Outcome.TIMEOUT else 20.0)
    assert (reply.record.outcome, reply.record.status) == (outcome, 101)
    assert error in (reply.record.error or "") and not caplog.records


@pytest.mark.parametrize(
    ("status", "outcome"), [(401, Outcome.HTTP_ERROR), (429, Outcome.THROTTLED), (404, Outcome.HTTP_ERROR)]
)
def test_a_refused_opening(status: int, outcome: Outcome) -> None:
    with socket_server(ANSWER, refusal=status) as server:
        client = client_of(server)
        row = ask(client).record
        client.close()
    assert (row.outcome, row.status, server.messages) == (outcome, status, [])
    assert row.error is not None and row.error.startswith(f"HTTP {status}: no entry")
    assert row.sent_ms is None and row.ttft_ms is None


def test_a_server_that_speaks_no_websocket() -> None:
    with scripted_server([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"]) as server:
        client = client_of(server)
        row = ask(client).record
        client.close()
    assert (row.outcome, row.error) == (Outcome.STREAM_ERROR, "HTTP 200 in place of a WebSocket")


def test_a_message_without_end_is_refused() -> None:
    frame = b"\x81\x7f" + (64 * 1024 * 1024).to_bytes(8, "big") + b"x" * 1000
    row = one_answer([frame]).record
    assert row.outcome is Outcome.STREAM_ERROR and "WebSocket: " in (row.error or "")
