"""Requests out, answers in: the only module that stamps time. Its sockets come from `connecting`.

A request is written by the user's greenlet, which then sleeps; the answer is read by an I/O watcher in gevent's hub:
read, stamp, frame, hand on. The time of received bytes is when they reached the machine: the kernel's receive
timestamp (`SO_TIMESTAMPNS`, Linux) where there is one, else the clock right after the read. Offsets are monotonic,
in ms since `Exchange.started_ns`; a step of the wall clock does not bend them.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import gevent
import gevent.event
from gevent import get_hub

from tokenswarm.transport.connect import READ_BYTES, Tls, ask_for_stamps, dial, open_tunnel, shake_hands
from tokenswarm.transport.http1 import HttpAnswer, ProtocolError
from tokenswarm.transport.keepalive import KeptConnections
from tokenswarm.transport.loop_clock import LoopClock
from tokenswarm.transport.proxies import Proxy
from tokenswarm.transport.run_queue import RunQueue

LOST_RACE_MS = 250.0
"""A peer that had closed a kept connection before a request reached it is heard of within a round trip. Whatever ends
the connection later than twice the time it took to connect, and this, may be the service's failure."""

MAX_BODY_BYTES = 16 * 1024 * 1024
"""A body that is collected whole (errors, non-streamed answers) may not be larger."""

_TIMESPEC = struct.Struct("qq")
_STAMP_SLACK_NS = 1_000_000
"""The two clocks are not looked at in the same instant."""


class Failure(StrEnum):
    """Why there is no whole answer."""

    TIMEOUT = "timeout"
    CONNECTION_ERROR = "connection_error"
    TRUNCATED = "truncated"
    STREAM_ERROR = "stream_error"
    CANCELLED = "cancelled"


class Sink(Protocol):
    """Takes the body of an answer as it arrives."""

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Take bytes that arrived between two instants, ms since the start. True: they have ended the answer."""
        ...


@dataclass(slots=True)
class Exchange:
    """One HTTP request and what came back. Offsets in ms since the start; `None`: did not happen."""

    started_at: float
    started_ns: int
    connect_ms: float | None = None
    sent_ms: float | None = None
    headers_ms: float | None = None
    first_byte_ms: float | None = None
    end_ms: float | None = None
    read_lag_ms: float | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    """What no sink has taken."""
    failure: Failure | None = None
    """`None` when the answer is whole."""
    error: str | None = None
    resent: bool = False
    """Whether it had been written to a kept connection before, which its peer had closed: nothing came back there."""

    def ms(self, now_ns: int) -> float:
        return (now_ns - self.started_ns) / 1e6


Origin = tuple[str, str, int]

SinkFor = Callable[[int, dict[str, str]], Sink | None]
"""Chooses by status and headers who takes the body; `None`: it is collected in `Exchange.body`."""


class Transport:
    """One virtual user's connection to one origin, kept alive between requests.

    `tls`: context for https origins. `proxy`: the HTTP proxy to go through, or `None`. Not for two requests at once.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, proxy: Proxy | None = None) -> None:
        self._tls = tls
        self._proxy = proxy
        self._connection: _Connection | None = None
        self._origin: Origin | None = None
        self._connected_in_ms = 0.0
        self._idle_s = 0.0
        self.last: Exchange | None = None

    def writes_absolute(self, origin: Origin) -> bool:
        """Whether requests to `origin` go to a plain proxy, which wants the whole URL as their target."""
        return self._proxy is not None and origin[0] == "http"

    def send(self, origin: Origin, request: bytes, sink_for: SinkFor, timeout_s: float) -> Exchange:
        """Send one request to (scheme, host, port) and wait until the answer is complete or has failed.

        Never raises for a failure of the network or the service: see `Exchange.failure`. Greenlet exits pass
        through with the connection closed and the exchange so far left in `last`.

        A request that is lost with a kept connection, which its peer had closed without our having seen it yet, is
        sent once more on a new connection: keeping it was our choice, and nothing of an answer had come (RFC 9112,
        9.3.1). All times are then of the second sending, and `Exchange.resent` says so.
        """
        if self._proxy is not None and self._proxy.authorization is not None and self.writes_absolute(origin):
            request = _with_header(request, f"Proxy-Authorization: {self._proxy.authorization}")
        reused = self._is_kept(origin)
        exchange = self._send_once(origin, request, sink_for, timeout_s, reused)
        if reused and self._was_lost(exchange):
            KeptConnections.of(get_hub()).note_lost(origin, self._idle_s)
            exchange = self._send_once(origin, request, sink_for, timeout_s, reused=False)
            exchange.resent = True
        if self._proxy is not None and exchange.status is None and exchange.failure not in (None, Failure.CANCELLED):
            exchange.error = f"{exchange.error}, through {self._proxy}"
        return exchange

    def _send_once(self, origin: Origin, request: bytes, sink_for: SinkFor, timeout_s: float, reused: bool) -> Exchange:
        self.last = None
        if not reused:
            self.close()
            RunQueue.of(get_hub()).pass_through()
        exchange = Exchange(started_at=time.time(), started_ns=time.monotonic_ns())
        self.last = exchange
        try:
            with gevent.Timeout(timeout_s, _Expired):
                if not reused:
                    self._connection = self._connect(origin)
                    self._origin = origin
                    exchange.connect_ms = self._connected_in_ms = exchange.ms(time.monotonic_ns())
                assert self._connection is not None
                self._connection.run(exchange, request, sink_for)
        except _Expired:
            _cut_short(exchange, Failure.TIMEOUT, f"no complete answer within {timeout_s:g} s")
        except (OSError, ssl.SSLError, ProtocolError) as error:
            _cut_short(exchange, Failure.CONNECTION_ERROR, _describe(error))
        except BaseException:
            _cut_short(exchange, Failure.CANCELLED, "cancelled: the run was stopped")
            raise
        finally:
            if exchange.failure is not None or self._connection is None or not self._connection.keep_alive:
                self.close()
        return exchange

    def _is_kept(self, origin: Origin) -> bool:
        """Whether there is a connection that can be used again."""
        if self._origin != origin or self._connection is None:
            return False
        usable, self._idle_s = self._connection.is_usable(), self._connection.idle_s
        kept = KeptConnections.of(get_hub())
        kept.note(origin, usable, self._idle_s)
        return usable and kept.worth_keeping(origin)

    def _was_lost(self, exchange: Exchange) -> bool:
        """Whether a request on a kept connection met with its end: no byte of an answer, and soon after the start."""
        if (
            exchange.failure is not Failure.CONNECTION_ERROR
            or exchange.first_byte_ms is not None
            or exchange.end_ms is None
        ):
            return False
        return exchange.end_ms <= LOST_RACE_MS + 2.0 * self._connected_in_ms

    def try_connection(self, origin: Origin, timeout_s: float) -> str | None:
        """Connect, shake hands, send nothing. What kept it from working, `None` when it worked."""
        try:
            with gevent.Timeout(timeout_s, _Expired):
                self._connect(origin).close()
        except _Expired:
            problem = f"no connection within {timeout_s:g} s"
        except (OSError, ssl.SSLError) as error:
            problem = _describe(error)
        else:
            return None
        return problem if self._proxy is None else f"{problem}, through {self._proxy}"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self, origin: Origin) -> _Connection:
        scheme, host, port = origin
        address = (host, port)
        if self._proxy is not None:
            address = (self._proxy.host, self._proxy.port)
        plain = dial(address)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._proxy is not None and scheme == "https":
                open_tunnel(plain, host, port, self._proxy)
            ask_for_stamps(plain)
            tls = shake_hands(plain, self._tls, host) if scheme == "https" else None
        except BaseException:
            plain.close()
            raise
        return _Connection(plain, tls)


class _Expired(BaseException):
    """The request's time is up. Not an Exception, so that no handler in between takes it."""


class _Connection:
    """A connected socket and what reads and writes it; kept between exchanges."""

    def __init__(self, plain: Any, tls: Tls | None) -> None:
        self._plain = plain
        self.raw = getattr(plain, "_sock", plain)
        self.tls = tls
        hub = get_hub()
        self._readable = hub.loop.io(plain.fileno(), 1)
        self._writable = hub.loop.io(plain.fileno(), 2)
        self.clock = LoopClock.of(hub)
        self._run_queue = RunQueue.of(hub)
        self._wake = gevent.event.Event()
        self.keep_alive = False
        self._last_read_ns = time.monotonic_ns()

    def is_usable(self) -> bool:
        """Whether the peer has neither closed nor sent anything while the connection lay idle."""
        try:
            self.raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
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
        self._readable.close()
        self._writable.close()
        self._plain.close()

    def run(self, exchange: Exchange, request: bytes, sink_for: SinkFor) -> None:
        """Send a request and wait for the end of its answer. Raises `OSError` when it cannot be written."""
        self._wake.clear()
        self.keep_alive = False
        reading = _Reading(self, exchange, sink_for)
        self._readable.start(reading.read)
        try:
            self._write(reading, self.tls.encrypt(request) if self.tls else request)
            while not reading.done:
                self._wake.wait()
                self._wake.clear()
        finally:
            self._readable.stop()
            self._writable.stop()
            self._last_read_ns = reading.last_read_ns
            self.keep_alive = reading.keep_alive
            reading.release()

    def stop_reading(self) -> None:
        """The answer has ended: its user goes on when its turn has come."""
        self._readable.stop()
        self._run_queue.wake_in_turn(self._wake)

    def _write(self, reading: _Reading, data: bytes) -> None:
        view = memoryview(data)
        while view and not reading.done:
            try:
                view = view[self.raw.send(view) :]
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

    def _wait_for_early_answer(self, reading: _Reading, error: OSError) -> None:
        while not reading.done:
            self._wake.wait()
            self._wake.clear()
        if reading.exchange.status is None:
            raise error


class _Reading:
    """One answer while it is read from a connection."""

    __slots__ = (
        "_answer",
        "_body",
        "_clock",
        "_collected",
        "_drained_ns",
        "_recvmsg",
        "_sink",
        "_sink_for",
        "_stop",
        "_tls",
        "done",
        "exchange",
        "keep_alive",
        "last_read_ns",
    )

    def __init__(self, connection: _Connection, exchange: Exchange, sink_for: SinkFor) -> None:
        self._recvmsg = connection.raw.recvmsg
        self._tls = connection.tls
        self._clock = connection.clock
        self._stop = connection.stop_reading
        self._sink_for = sink_for
        self._sink: Sink | None = None
        self._answer = HttpAnswer()
        self._body: list[bytes] = []
        self._collected = 0
        self.exchange = exchange
        self.last_read_ns = self._drained_ns = exchange.started_ns
        self.done = False
        self.keep_alive = False

    def release(self) -> None:
        """Nothing more will be read."""
        self.exchange.body = b"".join(self._body)
        self._answer.release()

    def read(self) -> None:
        """Runs in the hub: nothing may escape."""
        try:
            try:
                data, ancillary, _, _ = self._recvmsg(READ_BYTES, 64)
            except (BlockingIOError, InterruptedError):
                return
            now_ns = time.monotonic_ns()
            arrived_ns = now_ns
            if ancillary:
                seconds, nanoseconds = _TIMESPEC.unpack_from(ancillary[0][2])
                age_ns = time.time_ns() - (seconds * 1_000_000_000 + nanoseconds)
                # What was there at the last read was read then: an older stamp is from before the clock was set.
                if 0 < age_ns <= now_ns - self._drained_ns + _STAMP_SLACK_NS:
                    arrived_ns = now_ns - age_ns
            if len(data) < READ_BYTES:
                self._drained_ns = now_ns
            self._take(data, arrived_ns, now_ns)
        except Exception as error:
            self._fail(
                Failure.STREAM_ERROR if self.exchange.status is not None else Failure.CONNECTION_ERROR, _describe(error)
            )

    def _take(self, data: bytes, arrived_ns: int, now_ns: int) -> None:
        exchange = self.exchange
        at_ms = (arrived_ns - exchange.started_ns) / 1e6
        lag_ms = (now_ns - arrived_ns) / 1e6
        if exchange.read_lag_ms is None or lag_ms > exchange.read_lag_ms:
            exchange.read_lag_ms = lag_ms
        since_ns = max(self.last_read_ns, self._clock.earliest_ns)
        self.last_read_ns = now_ns
        if not data:
            self._end_of_stream(at_ms)
            return
        if self._tls is not None:
            data = self._tls.decrypt(data)
            if not data:
                return
        answer = self._answer
        body = answer.feed(data)
        if exchange.first_byte_ms is None:
            exchange.first_byte_ms = at_ms
        if exchange.status is None and answer.headers_complete:
            self._take_headers(at_ms)
        if body and exchange.status is not None:
            self._take_body(body, at_ms, (since_ns - exchange.started_ns) / 1e6)
        if answer.failure is not None:
            self._fail(Failure.STREAM_ERROR, answer.failure)
        elif answer.complete:
            self._finish(at_ms, answer.keep_alive)

    def _take_headers(self, at_ms: float) -> None:
        exchange = self.exchange
        exchange.headers_ms = at_ms
        exchange.status = self._answer.status
        exchange.headers = self._answer.headers
        self._sink = self._sink_for(self._answer.status, self._answer.headers)

    def _take_body(self, body: bytes, at_ms: float, since_ms: float) -> None:
        if self._sink is not None:
            self._sink.feed(body, at_ms, since_ms)
            return
        self._collected += len(body)
        if self._collected > MAX_BODY_BYTES:
            raise ProtocolError(f"body larger than {MAX_BODY_BYTES} bytes")
        self._body.append(body)

    def _end_of_stream(self, at_ms: float) -> None:
        if self.exchange.status is None:
            self._fail(Failure.CONNECTION_ERROR, "connection closed before an answer")
        elif self._answer.ends_with_connection:
            self._finish(at_ms, keep_alive=False)
        else:
            self._fail(Failure.TRUNCATED, "connection closed in the middle of the answer")

    def _finish(self, at_ms: float, keep_alive: bool) -> None:
        self.exchange.end_ms = at_ms
        self.keep_alive = keep_alive and self.exchange.sent_ms is not None
        self._end()

    def _fail(self, failure: Failure, error: str) -> None:
        _cut_short(self.exchange, failure, error)
        self._end()

    def _end(self) -> None:
        self.done = True
        self._stop()


def _with_header(request: bytes, header: str) -> bytes:
    """A request with one more header, after its first line."""
    line, _, rest = request.partition(b"\r\n")
    return b"\r\n".join([line, header.encode("latin-1"), rest])


def _cut_short(exchange: Exchange, failure: Failure, error: str) -> None:
    """End an exchange now, unless its answer has ended already and its user only waits for a turn to go on."""
    if exchange.end_ms is None:
        exchange.end_ms = exchange.ms(time.monotonic_ns())
        exchange.failure = failure
        exchange.error = error


def _describe(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS certificate not accepted: {error.verify_message}"
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ssl.SSLError):
        text = os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
        return f"{type(error).__name__}: {text}"
    return f"{type(error).__name__}: {error}"[:500]
