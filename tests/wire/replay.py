"""Answers as bytes with instants, read by the transport and an API without a server: what row becomes of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from tokenswarm.apis.api import Api, Reader
from tokenswarm.apis.chat_completions import ChatCompletions
from tokenswarm.apis.request import ChatRequest, Request
from tokenswarm.client.attempt import Caller
from tokenswarm.client.attempt_record import Call, attempt_record
from tokenswarm.record import RequestRecord
from tokenswarm.transport import reading
from tokenswarm.transport.connect import ReadBuffer
from tokenswarm.transport.reading import Exchange, Failure, Reading, cut_short

CALL = Call(lambda _record: None, "call", 1, None)
CALLER = Caller("w", 1)
OPEN_FOR_MS = 60_000.0
"""A body that is left open is waited for until then, unless its answer has ended."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer. `pieces`: instants in ms with bytes of the body, each a read of its own. `end`: how the connection
    goes on after them: `whole` (the body's proper end), `open`, `closed` or `reset`."""

    pieces: tuple[tuple[float, bytes], ...]
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})
    framing: str = "chunked"
    end: str = "whole"
    version: str = "1.1"
    before: bytes = b""
    """Interim answers before this one."""
    doubled: tuple[tuple[str, str], ...] = ()
    """Headers once more."""
    trailers: bytes = b""
    """After the last chunk."""

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    def reads(self) -> Iterator[tuple[float, bytes | OSError]]:
        """What a socket gives, with the instants."""
        named = (*self.headers.items(), *self.doubled)
        lines = [f"HTTP/{self.version} {self.status} X", *(f"{name}: {value}" for name, value in named)]
        if self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        elif self.framing == "length":
            lines.append(f"Content-Length: {len(self.body)}")
        first = self.pieces[0][0] if self.pieces else 0.0
        yield first, self.before + ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        last = first
        for last, data in self.pieces:
            yield last, b"%x\r\n%s\r\n" % (len(data), data) if self.framing == "chunked" and data else data
        if self.end == "whole" and self.framing == "chunked":
            yield last, b"0\r\n" + self.trailers + b"\r\n"
        elif self.end == "reset":
            yield last + 1.0, ConnectionResetError(104, "reset")
        elif (self.end != "open" and self.framing != "length") or self.end == "closed":
            yield last + 1.0, b""


class _Socket:
    """Gives what is to be read next, and the instant of it."""

    tls = None

    def __init__(self, answer: Answer) -> None:
        self.buffer = ReadBuffer()
        self._reads = deque(answer.reads())
        self.clock: Any = self
        self.now_ms = 0.0
        self.give_up: Callable[[], None] | None = None

    @property
    def earliest_ns(self) -> int:
        return int(self.now_ms * 1e6)

    def monotonic_ns(self) -> int:
        return int(self.now_ms * 1e6)

    def recvmsg_into(self, into: list[memoryview], _ancillary: int) -> Any:
        self.now_ms, data = self._reads.popleft()
        if isinstance(data, OSError):
            raise data
        if len(data) > len(into[0]):
            self._reads.appendleft((self.now_ms, data[len(into[0]) :]))
            data = data[: len(into[0])]
        into[0][: len(data)] = data
        return len(data), [], 0, None

    def stop_reading(self) -> None:
        self._reads.clear()

    def wait_for_end(self, give_up: Callable[[], None]) -> None:
        self.give_up = give_up

    @property
    def more(self) -> bool:
        return bool(self._reads)


@contextmanager
def _clock(socket: _Socket) -> Iterator[None]:
    with patch.object(reading, "time", socket):
        yield


def replay(answer: Answer, request: Request | None = None, api: Api[Any] | None = None) -> RequestRecord:
    """The row that becomes of an answer."""
    asked: Request = request or ChatRequest(messages=[], keep_text=False)
    how = api or ChatCompletions("m")
    made: list[Reader] = []

    def sink_for(status: int, headers: dict[str, str]) -> Reader | None:
        if 200 <= status < 300:
            made.append(how.reader(asked, status, headers))
        return made[-1] if made else None

    socket, exchange = _Socket(answer), Exchange(started_at=1.79e9, started_ns=0, sent_ms=0.0)
    run = Reading(socket, exchange, sink_for)
    with _clock(socket):
        while socket.more and not run.done:
            run.read()
        if not run.done and socket.give_up is not None:
            socket.give_up()
        if not run.done:
            socket.now_ms = OPEN_FOR_MS
            cut_short(exchange, Failure.TIMEOUT, "no complete answer within 60 s")
    run.release()
    return attempt_record(asked, made[-1] if made else None, exchange, CALL, CALLER).record
