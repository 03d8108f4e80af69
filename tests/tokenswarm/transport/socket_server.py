"""A WebSocket server framed by `wsproto`, which the client does not use: each message is answered by a script."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError

Step = Event | bytes | Callable[[], None]
"""An event to send, bytes in its place, or something to do."""


@dataclass
class SocketServer:
    """`messages` came whole, with the connection's number; `openings` are headers; `pongs` and `closes` came, too."""

    port: int
    openings: list[dict[str, str]] = field(default_factory=list)
    messages: list[tuple[int, str]] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    closes: list[int] = field(default_factory=list)
    idle_ping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Served:
    """One connection."""

    def __init__(
        self, server: SocketServer, connection: socket.socket, scripts: Sequence[Sequence[Step]], refusal: int
    ):
        self._server = server
        self._socket = connection
        self._scripts = scripts
        self._refusal = refusal
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._text = ""

    def run(self) -> None:
        with contextlib.suppress(OSError), self._socket:
            while data := self._socket.recv(65536):
                self._protocol.receive_data(data)
                for event in self._protocol.events():
                    self._take(event)

    def _take(self, event: Event) -> None:
        server = self._server
        if isinstance(event, Request):
            server.openings.append({name.decode(): value.decode() for name, value in event.extra_headers})
            self._accept()
        elif isinstance(event, TextMessage):
            self._text += event.data
            if event.message_finished:
                server.messages.append((len(server.openings), self._text))
                self._text = ""
                self._play(self._scripts[min(len(server.messages), len(self._scripts)) - 1])
        elif isinstance(event, Pong):
            server.pongs.append(bytes(event.payload))
            server.idle_ping.set()
        elif isinstance(event, CloseConnection):
            server.closes.append(event.code)
            with contextlib.suppress(LocalProtocolError):  # it answers a close of ours
                self._socket.sendall(self._protocol.send(event.response()))
            self._socket.close()

    def _accept(self) -> None:
        if not self._refusal:
            self._socket.sendall(self._protocol.send(AcceptConnection()))
            return
        body = b'{"detail": "no entry"}'
        reject = RejectConnection(status_code=self._refusal, headers=[(b"content-length", b"22")], has_body=True)
        self._socket.sendall(self._protocol.send(reject) + self._protocol.send(RejectData(body)))

    def _play(self, script: Sequence[Step]) -> None:
        for step in script:
            if isinstance(step, bytes):
                self._socket.sendall(step)
            elif isinstance(step, Ping | Message | CloseConnection):
                self._socket.sendall(self._protocol.send(step))
            elif callable(step):
                step()


@contextmanager
def socket_server(*scripts: Sequence[Step], refusal: int = 0) -> Iterator[SocketServer]:
    """Answer message after message with the next script, the last one again and again. `refusal`: the status with which
    connections are refused."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = SocketServer(listener.getsockname()[1])

    def serve() -> None:
        with listener, contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                served = Served(server, connection, scripts, refusal)
                threading.Thread(target=served.run, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # closed by the thread: see tests/scripted_server.py
