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
from array import array
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from tokenswarm.transport.connect import READ_BYTES, ReadBuffer, Tls
from tokenswarm.transport.content_encoding import decoder_of
from tokenswarm.transport.http1 import CHUNK_LINES, HttpAnswer, ProtocolError, chunk_end
from tokenswarm.transport.loop_clock import LoopClock
from tokenswarm.transport.websocket import SocketAnswer

MAX_BODY_BYTES = 16 * 1024 * 1024
"""A body that is collected whole (errors, non-streamed answers) may not be larger."""

_timespec = struct.Struct("qq").unpack_from
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


Usual = tuple[bytes, bytes, Callable[[bytes | bytearray, int, int], object], "array[float]"]
"""An event that a sink has seen before and need not be given any more when it comes alone, in a chunk of its own: what
stands before and after its text, what tells whether such a text stands between two places of some bytes, and where the
event's time is added, ms since the start."""
_UNKNOWN: Usual = (b"", b"", lambda _data, _begin, _end: None, array("d"))
"""While no such event is known, or none may come next."""


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

    recvmsg_into: Callable[[list[memoryview], int], Any]
    buffer: ReadBuffer
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
        "_buffer",
        "_clock",
        "_collected",
        "_decode",
        "_reading",
        "_recvmsg_into",
        "_sink",
        "_sink_for",
        "_stop",
        "_tls",
        "_usual_of",
        "_wait_for_end",
        "done",
        "ended",
        "exchange",
        "keep_alive",
        "last_read_ns",
        "read",
    )

    def __init__(
        self, connection: Readable, exchange: Exchange, sink_for: SinkFor, socket: SocketAnswer | None = None
    ) -> None:
        """`socket`: of an answer on a WebSocket."""
        self._recvmsg_into = connection.recvmsg_into
        self._buffer = connection.buffer
        self._tls = connection.tls
        self._clock = connection.clock
        self._stop = connection.stop_reading
        self._wait_for_end = connection.wait_for_end
        self._decode: Callable[[bytes], bytes] | None = None
        self._sink_for = sink_for
        self._sink: Sink | None = None
        self._usual_of: Callable[[], Usual | None] | None = None
        self._answer: HttpAnswer | SocketAnswer = HttpAnswer() if socket is None else socket
        self._body: list[bytes] = []
        self._collected = 0
        self.exchange = exchange
        self.last_read_ns = exchange.started_ns
        self._reading = self.reads()
        self.read = self._reading.__next__
        """Read once."""
        self.ended = False
        self.done = False
        self.keep_alive = False
        if socket is not None and socket.headers_complete:
            self._take_answer_of_opening()

    def release(self) -> None:
        """Nothing more will be read."""
        self._reading.close()
        self.exchange.body = b"".join(self._body)
        self._answer.release()

    def reads(self) -> Generator[None]:
        """Reads once whenever it is resumed, in the hub: nothing may escape. What is needed for each chunk lies in the
        locals of one frame: with many streams, looking it up in the memory costs more than the work does."""
        clock, tls, started_ns = self._clock, self._tls, self.exchange.started_ns
        recvmsg_into, buffer, into, view = self._recvmsg_into, self._buffer.data, self._buffer.into, self._buffer.view
        monotonic_ns = time.monotonic_ns
        drained_ns = last_ns = started_ns
        lag_ns = -1
        before, after, is_text, times = _UNKNOWN
        before_bytes = after_bytes = 0
        try:
            while True:
                try:
                    size, ancillary, _, _ = recvmsg_into(into, 64)
                    now_ns = arrived_ns = monotonic_ns()
                    if ancillary:
                        seconds, nanoseconds = _timespec(ancillary[0][2])
                        stamp_ns = seconds * 1_000_000_000 + nanoseconds - clock.offset_ns
                        # What was there at the last read was read then: an older stamp is of another clock.
                        if drained_ns - _STAMP_SLACK_NS <= stamp_ns <= now_ns:
                            arrived_ns = stamp_ns
                    if size < READ_BYTES:
                        drained_ns = now_ns
                    if now_ns - arrived_ns > lag_ns:
                        lag_ns = now_ns - arrived_ns
                    if tls is not None and size and not (size := tls.decrypt(view, size)):
                        pass  # a record is not complete yet
                    elif (
                        before
                        and buffer.startswith(line := CHUNK_LINES[size])
                        and buffer.startswith(before, len(line))
                        and buffer.endswith(after, 0, size)
                        and is_text(buffer, len(line) + before_bytes, size - after_bytes)
                    ):
                        times.append((arrived_ns - started_ns) / 1e6)
                    else:
                        before, after, is_text, times = self._take(bytes(view[:size]), arrived_ns, last_ns)
                        before_bytes, after_bytes = len(before), len(after)
                    last_ns = now_ns
                except (BlockingIOError, InterruptedError):
                    pass
                except Exception as error:  # also of a parser or a reader: this exchange has failed, its loop goes on
                    self._fail_by(error)
                yield
        finally:
            self.last_read_ns = last_ns
            if lag_ns >= 0:
                self.exchange.read_lag_ms = lag_ns / 1e6

    def _take(self, data: bytes, arrived_ns: int, last_ns: int) -> Usual:
        """What has been read and is not one more usual event; `last_ns`: when was read before. Returns what may come
        next and need not be given to this, with the end of its chunk."""
        exchange = self.exchange
        at_ms = (arrived_ns - exchange.started_ns) / 1e6
        if not data:
            self._end_of_stream(at_ms)
            return _UNKNOWN
        answer = self._answer
        body = answer.feed(data)
        if exchange.first_byte_ms is None:
            exchange.first_byte_ms = at_ms
        if exchange.status is None and answer.headers_complete:
            self._take_headers(at_ms)
        if body and exchange.status is not None and not self.ended:
            since_ns = max(last_ns, self._clock.earliest_ns)
            self._take_body(body, at_ms, (since_ns - exchange.started_ns) / 1e6)
        if answer.failure is not None:
            self._fail(Failure.STREAM_ERROR, answer.failure)
        elif answer.complete:
            self._finish(at_ms, answer.keep_alive)
        elif self._usual_of is not None and answer.between_chunks and not self.ended:
            usual = self._usual_of()
            if usual is not None:
                return usual[0], chunk_end(usual[1]), usual[2], usual[3]
        return _UNKNOWN

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

    def _fail_by(self, error: Exception) -> None:
        failure = Failure.CONNECTION_ERROR if self.exchange.status is None else Failure.STREAM_ERROR
        self._fail(failure, describe(error))

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
