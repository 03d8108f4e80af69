"""A server that answers each request with exactly the bytes it is told to, in its own thread."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

Action = bytes | Callable[[socket.socket], None]


@dataclass
class ScriptedServer:
    """`port`, the whole requests that came, and how many connections were accepted."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    accepted: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def reset(connection: socket.socket) -> None:
    """Close with a reset instead of a proper end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def close(connection: socket.socket) -> None:
    connection.close()


@contextmanager
def scripted_server(
    *scripts: Sequence[Action], tls: ssl.SSLContext | None = None, read_request: bool = True
) -> Iterator[ScriptedServer]:
    """Answer request after request with the next script; the last one again and again. An action is bytes to send or
    a function of the connection; after `close` or `reset` the next connection is accepted."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = ScriptedServer(listener.getsockname()[1])
    threading.Thread(target=_serve, args=(listener, server, list(scripts), tls, read_request), daemon=True).start()
    try:
        yield server
    finally:
        # Not closed here: the thread might accept at its descriptor what comes to the next one that gets its number.
        listener.shutdown(socket.SHUT_RDWR)


def _serve(
    listener: socket.socket,
    server: ScriptedServer,
    scripts: list[Sequence[Action]],
    tls: ssl.SSLContext | None,
    read_request: bool,
) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            listener.close()
            return
        server.accepted += 1
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            while connection.fileno() >= 0 and (not read_request or _read_request(connection, server)):
                script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
                for action in script:
                    if isinstance(action, bytes):
                        connection.sendall(action)
                    else:
                        action(connection)
                if not read_request:
                    break
        except OSError:
            pass
        finally:
            connection.close()


def _read_request(connection: socket.socket, server: ScriptedServer) -> bool:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return False
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    while len(body) < length:
        part = connection.recv(65536)
        if not part:
            return False
        body += part
    server.requests.append(head + b"\r\n\r\n" + body)
    return True
