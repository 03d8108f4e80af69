"""The known-timing target's loop: accepts, reads requests, writes chunks when they are due, keeps the truth.

One thread. The wheel says which streams have a chunk due; between two looks at it only a few socket events are
handled, so that a burst of new connections does not hold up the chunks of the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import socket
import ssl
import struct
import sys
from collections import deque
from time import time
from typing import Any, TextIO

from simulator.known_timing.answer import Answer, Asked, Head, Timing, compose, parse_head, read_request, response_head
from simulator.known_timing.streams import Behaviour, Connection, Lateness, Stream
from simulator.known_timing.timing_wheel import TimingWheel

SO_TIMESTAMPNS = 35  # Linux; the socket module of Python 3.11 does not name it
KERNEL_STAMPS = sys.platform == "linux"
_RETRY = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Target:
    """The server: one listener, one loop, until `stop()`."""

    def __init__(
        self, listener: socket.socket, timing: Timing, behaviour: Behaviour, log: TextIO, tls: ssl.SSLContext | None
    ) -> None:
        self.timing = timing
        self.behaviour = behaviour
        self.log = log
        self.tls = tls
        self.lateness = Lateness()
        self.served = 0
        self.stopping = False
        self._listener = listener
        self._wheel: TimingWheel[Stream] = TimingWheel(time())
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, None)
        self._ready: deque[tuple[selectors.SelectorKey, int]] = deque()
        self._paused: list[tuple[float, Connection]] = []
        self._flushed_at = time()

    def stop(self, *_: object) -> None:
        self.stopping = True

    def run(self) -> None:
        """Serve until stopped; then log the answers that were cut short and close everything."""
        # select() waits in microseconds where epoll_wait() waits in milliseconds; so the selector itself is waited for.
        waitable = [self._selector.fileno()]
        while not self.stopping:
            now = time()
            for stream in self._wheel.take(now):
                self._emit(stream)
            if self._ready:
                self._handle_some()
            else:
                self._housekeep(now)
                if select.select(waitable, (), (), self._wait_s())[0]:
                    self._ready.extend(self._selector.select(0))
        self._close_all()

    def _wait_s(self) -> float:
        return self._wheel.wait_s(time(), 0.001 if self._paused else 0.1)

    def _housekeep(self, now: float) -> None:
        if now - self._flushed_at > 0.5:
            self.log.flush()
            self._flushed_at = now
        for entry in [entry for entry in self._paused if entry[0] <= now]:
            self._paused.remove(entry)
            self._resume(entry[1])

    # sending

    def _emit(self, stream: Stream) -> None:
        connection = stream.connection
        if connection.closed:
            return
        index = stream.index
        now = time()
        late = now - stream.due
        self.lateness.add(late)
        if late > stream.late:
            stream.late = late
        if index == 0:
            stream.row["first_token_at"] = now
        self._send(connection, stream.pieces[index])
        index += 1
        stream.index = index
        if index == len(stream.pieces):
            self._finish(stream, now)
        else:
            stream.due = stream.start + stream.offsets[index]
            self._wheel.put(stream)

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.backlog:
            connection.backlog += data
            return
        try:
            sent = connection.sock.send(data)
        except _RETRY:
            sent = 0
        except OSError:
            self._close(connection)
            return
        if sent < len(data):
            connection.backlog += data[sent:]
            self._watch(connection)

    def _drain(self, connection: Connection) -> None:
        data, connection.backlog = bytes(connection.backlog), bytearray()
        self._send(connection, data)
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        """Tell the selector what the connection waits for."""
        if connection.closed:
            return
        events = 0 if connection.paused else selectors.EVENT_READ
        if connection.backlog:
            events |= selectors.EVENT_WRITE
        registered = connection.sock in self._selector.get_map()
        if events and registered:
            self._selector.modify(connection.sock, events, connection)
        elif events:
            self._selector.register(connection.sock, events, connection)
        elif registered:
            self._selector.unregister(connection.sock)

    def _finish(self, stream: Stream, now: float) -> None:
        connection = stream.connection
        connection.stream = None
        connection.served += 1
        self.served += 1
        stream.row.update(last_token_at=now, finished_at=time(), chunks=len(stream.pieces))
        self._log(stream, "ok")
        if stream.then_close:
            self._close_after_backlog(connection)
        elif connection.inbox:
            self._advance(connection)

    def _close_after_backlog(self, connection: Connection) -> None:
        if connection.closed:
            return
        with contextlib.suppress(OSError):
            if connection.backlog:
                connection.sock.setblocking(True)
                connection.sock.sendall(connection.backlog)
            if isinstance(connection.sock, ssl.SSLSocket):
                connection.sock.unwrap()  # says that this is the end, not a cut
        self._close(connection)

    def _log(self, stream: Stream, outcome: str) -> None:
        row = {**stream.row, "outcome": outcome, "late_max_ms": round(stream.late * 1000.0, 3)}
        self.log.write(json.dumps(row) + "\n")

    # receiving

    def _handle_some(self) -> None:
        for _ in range(min(len(self._ready), 4 + len(self._ready) // 16)):
            key, events = self._ready.popleft()
            connection = key.data
            if connection is None:
                self._accept()
            elif not connection.closed:
                if events & selectors.EVENT_READ:
                    self._read(connection)
                if events & selectors.EVENT_WRITE and connection.backlog:
                    self._drain(connection)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is not None:
            sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        elif KERNEL_STAMPS:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._selector.register(sock, selectors.EVENT_READ, Connection(sock, self.tls is not None))

    def _read(self, connection: Connection) -> None:
        try:
            if connection.shaking:
                connection.sock.do_handshake()  # type: ignore[attr-defined]
                connection.shaking = False
            data = self._receive(connection)
        except _RETRY:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.inbox += data
        self._advance(connection)

    def _receive(self, connection: Connection) -> bytes:
        if self.tls is not None or not KERNEL_STAMPS:
            return connection.sock.recv(65536)
        data, ancillary, _, _ = connection.sock.recvmsg(65536, 64)
        if ancillary:
            seconds, nanoseconds = struct.unpack_from("qq", ancillary[0][2])
            connection.stamp = seconds + nanoseconds * 1e-9
        return data

    def _advance(self, connection: Connection) -> None:
        """Take the next request out of the inbox when it is whole; one at a time on a connection."""
        if connection.head is None and connection.stream is None and not self._take_head(connection):
            return
        head = connection.head
        if head is None or len(connection.inbox) < head.length or connection.closed:
            return
        body = bytes(connection.inbox[: head.length])
        del connection.inbox[: head.length]
        connection.head = None
        if connection.early is not None:
            connection.early["received_at"] = time()
            connection.early = None
        else:
            self._respond(connection, head, body)

    def _take_head(self, connection: Connection) -> bool:
        end = connection.inbox.find(b"\r\n\r\n")
        if end < 0:
            return False
        try:
            head = parse_head(bytes(connection.inbox[:end]))
        except ValueError:
            self._close(connection)
            return False
        del connection.inbox[: end + 4]
        connection.head = head
        if head.method != "POST":
            return True
        if self.behaviour.continue_100 or head.headers.get("expect", "").lower() == "100-continue":
            self._send(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.behaviour.read_pause_ms and len(connection.inbox) < head.length:
            self._pause(connection)
        if self.behaviour.early_response:
            asked = Asked(stream=True, include_usage=True, max_tokens=None, prompt_tokens=1, timing=self.timing)
            connection.early = self._begin(connection, head, asked, received_at=None)
        return True

    def _pause(self, connection: Connection) -> None:
        connection.paused = True
        self._paused.append((time() + self.behaviour.read_pause_ms / 1000.0, connection))
        self._watch(connection)

    def _resume(self, connection: Connection) -> None:
        connection.paused = False
        self._watch(connection)

    def _respond(self, connection: Connection, head: Head, body: bytes) -> None:
        now = time()
        if head.method != "POST":
            self._reply(connection, head, 200, {"object": "list", "data": [{"id": "known-timing", "object": "model"}]})
        elif not head.path.split("?")[0].endswith("/chat/completions"):
            self._reply(connection, head, 404, {"error": {"code": "404", "message": f"no such route: {head.path}"}})
        else:
            try:
                asked = read_request(body, self.timing)
            except ValueError as problem:
                self._reply(connection, head, 400, {"error": {"code": "BadRequest", "message": str(problem)}})
            else:
                self._begin(connection, head, asked, received_at=now)

    def _reply(self, connection: Connection, head: Head, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        opening = response_head(status, "application/json", len(data), "", head.keep_alive)
        self._send(connection, opening + (b"" if head.method == "HEAD" else data))
        if not head.keep_alive:
            self._close_after_backlog(connection)

    def _begin(self, connection: Connection, head: Head, asked: Asked, received_at: float | None) -> dict[str, Any]:
        answer = compose(asked)
        row = self._row(connection, head, asked, answer, received_at)
        start = row["arrived_at"] or received_at or time()
        stream = connection.stream = Stream(connection, answer, start, row)
        limit = self.behaviour.requests_per_connection
        closing = answer.length is None and asked.timing.framing == "close"
        stream.then_close = closing or not head.keep_alive or bool(limit and connection.served + 1 >= limit)
        opening = response_head(
            200, answer.content_type, None if closing else answer.length, row["request_id"], not stream.then_close
        )
        if not closing and answer.length is None:
            opening = opening[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        row["headers_at"] = time()
        # A whole answer has its head and its body in one write, at the end; a stream opens at once.
        if answer.length is None:
            self._send(connection, opening + answer.opening)
        else:
            stream.pieces[0] = opening + stream.pieces[0]
        self._wheel.put(stream)
        return row

    def _row(
        self, connection: Connection, head: Head, asked: Asked, answer: Answer, received_at: float | None
    ) -> dict[str, Any]:
        names = head.headers
        return {
            "target": "chat",
            "client_request_id": names.get("x-ms-client-request-id", names.get("x-client-request-id")),
            "request_id": f"known-{os.getpid()}-{self.served:08d}-{connection.sock.fileno()}",
            "stream": asked.stream,
            "arrived_at": connection.stamp,
            "received_at": received_at,
            "status": 200,
            "prompt_tokens": asked.prompt_tokens,
            "completion_tokens": answer.tokens,
            "tokens_per_chunk": asked.timing.tokens_per_chunk,
            "max_tokens": asked.max_tokens,
            "connection_requests": connection.served + 1,
        }

    # ending

    def _close(self, connection: Connection) -> None:
        if connection.closed:
            return
        connection.closed = True
        if connection.stream is not None:
            connection.stream.row.update(finished_at=time(), chunks=connection.stream.index)
            self._log(connection.stream, "client_gone")
        if connection.sock in self._selector.get_map():
            self._selector.unregister(connection.sock)
        connection.sock.close()

    def _close_all(self) -> None:
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                self._close(key.data)
        self._selector.close()
        self._listener.close()
        self.log.flush()
