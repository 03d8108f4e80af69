"""One answer while it is read: stamped, framed and handed on. No socket of its own.

The time of received bytes is when they reached the machine: the kernel's receive timestamp (`SO_TIMESTAMPNS`, Linux)
where there is one, else the clock right after the read. Offsets are monotonic, in ms since `Exchange.started_ns`; a
step of the wall clock does not bend them.
"""

from __future__ import annotations

import os
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from tokenswarm.transport.connect import READ_BYTES, Tls
from tokenswarm.transport.content_encoding import decoder_of
from tokenswarm.transport.http1 import HttpAnswer, ProtocolError, UsualChunk
from tokenswarm.transport.loop_clock import LoopClock
from tokenswarm.transport.websocket import SocketAnswer

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
    ABORTED = "aborted"


Usual = tuple[bytes, bytes, Callable[[bytes, int, int], object], Callable[[float], None]]
"""An event that a sink has seen before and need not be given any more when it comes alone, in a chunk of its own: what
stands before and after its text, what tells whether such a text stands between two places of some bytes, and what is
told the event's time, ms since the start."""


class Sink(Protocol):
    """Takes the body of an answer as it arrives. One that has a method `usual() -> Usual | None` is asked for it after
    each `feed`: `None` while the next byte may not begin such an event, or while it knows none."""

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
    end_note: str | None = None
    """How body or connection went on after the answer had ended; `None` when in good order."""
    resent: bool = False
    """Whether it had been written to a kept connection before, which its peer had closed: nothing came back there."""

    def ms(self, now_ns: int) -> float:
        return (now_ns - self.started_ns) / 1e6


SinkFor = Callable[[int, dict[str, str]], Sink | None]
"""Chooses by status and headers who takes the body; `None`: it is collected in `Exchange.body`."""


class Readable(Protocol):
    """What an answer is read from."""

    recvmsg: Callable[[int, int], Any]
    tls: Tls | None
    clock: LoopClock

    def stop_reading(self) -> None:
        """The answer has ended, or failed."""
        ...

    def wait_for_end(self, give_up: Callable[[], None]) -> None:
        """The answer has ended, its body has not: `give_up` after a while."""
        ...


class Reading:
    """One answer while it is read from a connection."""

    __slots__ = (
        "_answer",
        "_body",
        "_chunk",
        "_clock",
        "_collected",
        "_decode",
        "_drained_ns",
        "_is_text",
        "_lag_ns",
        "_note",
        "_recvmsg",
        "_sink",
        "_sink_for",
        "_stop",
        "_tls",
        "_usual",
        "_usual_chunk",
        "_usual_of",
        "_wait_for_end",
        "done",
        "ended",
        "exchange",
        "keep_alive",
        "last_read_ns",
    )

    def __init__(
        self, connection: Readable, exchange: Exchange, sink_for: SinkFor, socket: SocketAnswer | None = None
    ) -> None:
        """`socket`: of an answer on a WebSocket."""
        self._recvmsg = connection.recvmsg
        self._tls = connection.tls
        self._clock = connection.clock
        self._stop = connection.stop_reading
        self._wait_for_end = connection.wait_for_end
        self._decode: Callable[[bytes], bytes] | None = None
        self._sink_for = sink_for
        self._sink: Sink | None = None
        self._usual: Usual | None = None
        self._usual_chunk: UsualChunk | None = None
        self._chunk: UsualChunk | None = None
        self._is_text: Callable[[bytes, int, int], object]
        self._note: Callable[[float], None]
        self._usual_of: Callable[[], Usual | None] | None = None
        self._lag_ns = -1
        self._answer: HttpAnswer | SocketAnswer = HttpAnswer() if socket is None else socket
        self._body: list[bytes] = []
        self._collected = 0
        self.exchange = exchange
        self.last_read_ns = self._drained_ns = exchange.started_ns
        self.ended = False
        self.done = False
        self.keep_alive = False
        if socket is not None and socket.headers_complete:
            self._take_answer_of_opening()

    def release(self) -> None:
        """Nothing more will be read."""
        self.exchange.body = b"".join(self._body)
        if self._lag_ns >= 0:
            self.exchange.read_lag_ms = self._lag_ns / 1e6
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
            if now_ns - arrived_ns > self._lag_ns:
                self._lag_ns = now_ns - arrived_ns
            if self._tls is not None and data:
                data = self._tls.decrypt(data)
                if not data:
                    self.last_read_ns = now_ns
                    return
            chunk = self._chunk
            if (
                chunk is not None
                and data.startswith(head := chunk[len(data)])
                and data.endswith(chunk.after)
                and self._is_text(data, len(head), len(data) - chunk.after_bytes)
            ):
                self.last_read_ns = now_ns
                self._note((arrived_ns - self.exchange.started_ns) / 1e6)
                return
            self._take(data, arrived_ns, now_ns)
        except Exception as error:
            self._fail(
                Failure.STREAM_ERROR if self.exchange.status is not None else Failure.CONNECTION_ERROR, describe(error)
            )

    def _take(self, data: bytes, arrived_ns: int, now_ns: int) -> None:
        """What has been read and is not one more usual event."""
        exchange = self.exchange
        at_ms = (arrived_ns - exchange.started_ns) / 1e6
        since_ns = max(self.last_read_ns, self._clock.earliest_ns)
        self.last_read_ns = now_ns
        if not data:
            self._end_of_stream(at_ms)
            return
        answer = self._answer
        body = answer.feed(data)
        if exchange.first_byte_ms is None:
            exchange.first_byte_ms = at_ms
        if exchange.status is None and answer.headers_complete:
            self._take_headers(at_ms)
        if body and exchange.status is not None and not self.ended:
            self._take_body(body, at_ms, (since_ns - exchange.started_ns) / 1e6)
        if answer.failure is not None:
            self._fail(Failure.STREAM_ERROR, answer.failure)
        elif answer.complete:
            self._finish(at_ms, answer.keep_alive)
        elif self._usual_of is not None:
            self._expect(self._usual_of() if answer.between_chunks and not self.ended else None)

    def _expect(self, usual: Usual | None) -> None:
        """What may come next and need not be looked at more closely."""
        if usual is None:
            self._chunk = None
            return
        if usual is not self._usual:
            before, after, self._is_text, self._note = self._usual = usual
            self._usual_chunk = UsualChunk(before, after)
        self._chunk = self._usual_chunk

    def _take_headers(self, at_ms: float) -> None:
        self.exchange.headers_ms = at_ms
        self._take_answer_of_opening()

    def _take_answer_of_opening(self) -> None:
        """Status and headers; on a kept WebSocket they have been there since it was opened."""
        exchange = self.exchange
        exchange.status = self._answer.status
        exchange.headers = self._answer.headers
        if encoding := exchange.headers.get("content-encoding"):
            self._decode = decoder_of(encoding)
        self._sink = self._sink_for(self._answer.status, self._answer.headers)
        if self._decode is None:
            self._usual_of = getattr(self._sink, "usual", None)

    def _take_body(self, body: bytes, at_ms: float, since_ms: float) -> None:
        if self._decode is not None:
            body = self._decode(body)
        if self._sink is None:
            self._collect(body)
        elif self._sink.feed(body, at_ms, since_ms):
            self.ended = True
            self.exchange.end_ms = at_ms
            if self._answer.ends_with_answer:
                self._finish(at_ms, keep_alive=True)
            elif not self._answer.complete:
                self._wait_for_end(self._give_up)

    def _collect(self, body: bytes) -> None:
        self._collected += len(body)
        if self._collected > MAX_BODY_BYTES:
            raise ProtocolError(f"body larger than {MAX_BODY_BYTES} bytes")
        self._body.append(body)

    def _give_up(self) -> None:
        """The body has not ended though its answer has."""
        self.exchange.end_note = "body left open"
        self._end()

    def _end_of_stream(self, at_ms: float) -> None:
        if self.exchange.status is None:
            self._fail(Failure.CONNECTION_ERROR, "connection closed before an answer")
        elif self._answer.ends_with_connection:
            self._finish(at_ms, keep_alive=False)
        else:
            self._fail(Failure.TRUNCATED, "connection closed in the middle of the answer")

    def _finish(self, at_ms: float, keep_alive: bool) -> None:
        if not self.ended:
            self.exchange.end_ms = at_ms
        self.keep_alive = keep_alive and self.exchange.sent_ms is not None
        self._end()

    def _fail(self, failure: Failure, error: str) -> None:
        if self.ended:
            self.exchange.end_note = error.replace("in the middle of the answer", "before the end of the body")
        cut_short(self.exchange, failure, error)
        self._end()

    def _end(self) -> None:
        self.done = True
        self._stop()


def _with_header(request: bytes, header: str) -> bytes:
    """A request with one more header, after its first line."""
    line, _, rest = request.partition(b"\r\n")
    return b"\r\n".join([line, header.encode("latin-1"), rest])


def cut_short(exchange: Exchange, failure: Failure, error: str) -> None:
    """End an exchange now, unless its answer has ended already and its user only waits for a turn to go on."""
    if exchange.end_ms is None:
        exchange.end_ms = exchange.ms(time.monotonic_ns())
        exchange.failure = failure
        exchange.error = error


def describe(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS certificate not accepted: {error.verify_message}"
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ssl.SSLError):
        text = os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
        return f"{type(error).__name__}: {text}"
    return f"{type(error).__name__}: {error}"[:500]
