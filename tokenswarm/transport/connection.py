"""A connected socket, and one exchange after another on it: of HTTP, or of a WebSocket's messages."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import gevent.event
from gevent import get_hub

from tokenswarm.transport.connect import ReadBuffer, Tls
from tokenswarm.transport.loop_clock import LoopClock
from tokenswarm.transport.reading import Exchange, Reading, SinkFor
from tokenswarm.transport.run_queue import RunQueue
from tokenswarm.transport.websocket import Opening, SocketAnswer, SocketSession

END_WITHIN_S = 0.1
"""A body whose answer has ended is waited for this long: usually its end comes at once, and the connection is kept."""

_LOOK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
"""Put together once: as flags they cost more than the look itself."""


class Connection:
    """A connected socket and what reads and writes it; kept between exchanges."""

    def __init__(self, plain: Any, tls: Tls | None) -> None:
        self._plain = plain
        self._raw = getattr(plain, "_sock", plain)
        self.recvmsg_into = self._raw.recvmsg_into
        self.tls = tls
        hub = get_hub()
        self._readable = hub.loop.io(plain.fileno(), 1)
        self._writable = hub.loop.io(plain.fileno(), 2)
        self.buffer = ReadBuffer.of(hub)
        self.clock = LoopClock.of(hub)
        self.run_queue = RunQueue.of(hub)
        self._end = hub.loop.timer(END_WITHIN_S)
        self._wake = gevent.event.Event()
        self.keep_alive = False
        self._last_read_ns = time.monotonic_ns()
        self._session: SocketSession | None = None

    def is_usable(self) -> bool:
        """Whether the peer has neither closed nor sent anything while the connection lay idle. On a WebSocket pings
        were answered meanwhile, and only its close counts."""
        if self._session is not None:
            return self._session.is_open
        try:
            self._raw.recv(1, _LOOK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False

    @property
    def idle_s(self) -> float:
        """s since something was last read."""
        return (time.monotonic_ns() - self._last_read_ns) / 1e9

    def close(self) -> None:
        self._readable.stop()
        self._writable.stop()
        if self._session is not None and (farewell := self._session.farewell()):
            self._reply(farewell)
        self._readable.close()
        self._writable.close()
        self._end.close()
        self._plain.close()

    def run(self, exchange: Exchange, request: bytes, sink_for: SinkFor) -> None:
        """Send a request and wait for the end of its answer. Raises `OSError` when it cannot be written."""
        self._wake.clear()
        self.keep_alive = False
        reading = Reading(self, exchange, sink_for)
        self._readable.start(reading.read)
        try:
            self._write(reading, request)
            while not reading.done:
                self._wake.wait()
                self._wake.clear()
        finally:
            self._readable.stop()
            self._writable.stop()
            self._end.stop()
            reading.release()
            self._last_read_ns = reading.last_read_ns
            self.keep_alive = reading.keep_alive

    def converse(self, exchange: Exchange, opening: Opening, message: bytes, sink_for: SinkFor) -> None:
        """Send a message on a WebSocket, opened first where it is not, and wait for the end of its answer. Raises
        `OSError` when it cannot be written."""
        self._wake.clear()
        self.keep_alive = False
        is_new, session = self._session is None, self._session or SocketSession(opening)
        self._session = session
        answer = SocketAnswer(session, self._reply, self._wake.set)
        reading = Reading(self, exchange, sink_for, answer)
        self._readable.start(reading.read)
        try:
            if is_new:
                self._write(reading, session.opening)
                while not (reading.done or answer.headers_complete):
                    self._wake.wait()
                    self._wake.clear()
            exchange.sent_ms = None
            if session.is_open and not reading.done:
                self._write(reading, session.message(message))
            while not reading.done:
                self._wake.wait()
                self._wake.clear()
        finally:
            self._readable.stop()
            self._writable.stop()
            reading.release()
            self._last_read_ns = reading.last_read_ns
            self.keep_alive = reading.keep_alive and session.is_open
            if self.keep_alive:
                self._readable.start(self._read_idle)

    def _reply(self, data: bytes) -> None:
        """Write what the protocol answers by itself: a few bytes, for which there is room but where the peer reads
        nothing any more."""
        with contextlib.suppress(OSError):
            self._raw.send(self.tls.encrypt(data) if self.tls else data)

    def _read_idle(self) -> None:
        """Runs in the hub while a WebSocket lies idle: pings are answered, and its close is seen."""
        assert self._session is not None
        try:
            view = self.buffer.view
            size = self._raw.recv_into(self.buffer.into[0])
            if not size:
                self._session.lose()
            elif self.tls is not None:
                size = self.tls.decrypt(view, size)
            self._session.take_idle(bytes(view[:size]))
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ssl.SSLError):
            self._session.lose()
        if reply := self._session.to_send():
            self._reply(reply)
        if not self._session.is_open:
            self._readable.stop()

    def wait_for_end(self, give_up: Callable[[], None]) -> None:
        """The answer has ended, its body has not: `give_up` after a while."""
        self._end.start(give_up)

    def stop_reading(self) -> None:
        """Nothing more is wanted: the user goes on when its turn has come."""
        self._readable.stop()
        self.run_queue.wake_in_turn(self._wake)

    def _write(self, reading: Reading, data: bytes) -> None:
        view = memoryview(self.tls.encrypt(data) if self.tls else data)
        while view and not reading.done:
            try:
                view = view[self._raw.send(view) :]
            except (BlockingIOError, InterruptedError):
                self._wait_writable()
            except OSError as error:
                # An early answer may be on its way even though the peer reads no more of the request.
                if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                    raise
                self._wait_for_early_answer(reading, error)
                return
        if not view:
            reading.exchange.sent_ms = reading.exchange.ms(time.monotonic_ns())

    def _wait_writable(self) -> None:
        self._writable.start(self._wake.set)
        try:
            self._wake.wait()
            self._wake.clear()
        finally:
            self._writable.stop()

    def _wait_for_early_answer(self, reading: Reading, error: OSError) -> None:
        while not reading.done:
            self._wake.wait()
            self._wake.clear()
        if reading.exchange.status is None:
            raise error
