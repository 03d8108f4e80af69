"""Carrying out a fault: a stand-in for the ASGI `send` of one request, which spoils what passes through it.

Faults below HTTP (resets, wrong framing) write to the server's transport directly and end the connection.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulator.config.fault_specs import ALL, FAULT_HEADER, FRAMING, INSTEAD, MIDWAY, Fault, parse_fault, pick_fault
from simulator.config.live import LiveSettings
from simulator.wire.dialect import PLAIN, Dialect
from simulator.wire.exchange import CONNECTION, STRUCK, Exchange, Gone

ENDINGS = {
    "wrong_length": "cut",
    "invalid_utf8": "in_band_error",
    "invalid_json": "in_band_error",
    "error_event": "in_band_error",
    "failed_event": "in_band_error",
    "filter_midway": "in_band_error",
    "end_midway": "cut",
}
"""Outcome in the truth log of an answer that went on to its end with such a fault; the others are ok."""

ERRORS = ("error_event", "failed_event")
SPOILT = ("invalid_utf8", "invalid_json", "filter_midway", "huge_line")
"""Faults that change the text of a piece and nothing else."""

_MEGABYTE = b"x" * 1_000_000


class Struck(Gone):
    """The fault has ended the answer; to the target it is as if the client had left."""


def arm(exchange: Exchange, fault: Fault, dialect: Dialect) -> FaultySend:
    """Let everything that `exchange` sends from now on pass through the fault."""
    sender = FaultySend(fault, exchange.scope, exchange.send, dialect)
    exchange.send = sender
    return sender


class FaultGate:
    """An ASGI application before one that knows nothing of faults: the header asks for them, or `rag.faults` has them.

    A fault that this module does not know is left to the target.
    """

    def __init__(self, app: ASGIApp, live: LiveSettings, dialect: Dialect = PLAIN) -> None:
        self._app = app
        self._live = live
        self._dialect = dialect
        self._rng = random.Random(live.current.seed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = FAULT_HEADER.encode()
        asked = next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)
        if asked is None:
            fault = pick_fault(self._live.current.rag.get("faults", ()), self._rng, self._live.uptime_s)
        else:
            fault = parse_fault(asked) if asked.partition(":")[0] in ALL else None
        if fault is not None:
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != name]
            send = FaultySend(fault, scope, send, self._dialect)
        await self._app(scope, receive, send)


class FaultySend:
    """An ASGI `send` with a fault. What it did is under `STRUCK` in the scope."""

    def __init__(self, fault: Fault, scope: Scope, send: Send, dialect: Dialect) -> None:
        self._fault = fault
        self._dialect = dialect
        self._scope = scope
        self._connection: Any = scope[CONNECTION]
        raw = fault.name in FRAMING and fault.name != "stall_before"
        self._send: Callable[[Message], Awaitable[None]] = _RawSend(fault, self._connection) if raw else send
        self._pieces = 0
        self._struck = False
        self._held: Message | None = None
        if fault.name in FRAMING:
            self._note(ENDINGS.get(fault.name))

    def _note(self, outcome: str | None = None, **more: Any) -> None:
        known = {"outcome": outcome} if outcome else {}
        self._scope[STRUCK] = {"reason": self._fault.name, **known, **more}

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
        elif self._held is not None:
            await self._spoil_whole(self._held, message["body"])
        else:
            await self._send(await self._spoil_piece(message))

    async def answer_instead(self) -> None:
        """Carry out a fault of `INSTEAD`; always raises Struck. Does nothing for the others."""
        name = self._fault.name
        if name not in INSTEAD:
            return
        if name in ("reset", "close"):
            self._note("cut", status=None)
            await end_connection(self._connection, reset=name == "reset")
            raise Struck
        status, headers, body = _replacement(self._fault, self._scope, self._connection)
        outcome = "throttled" if status == 429 else "http_error" if status >= 300 else "in_band_error"
        self._note(outcome, status=status)
        await self._answer(status, headers, body)
        raise Struck

    async def _start(self, message: Message) -> None:
        await self.answer_instead()
        if self._fault.name == "stall_before":
            await self._pause()
        if self._fault.name in MIDWAY and any(name == b"content-length" for name, _ in message["headers"]):
            self._held = message
        else:
            await self._send(message)

    async def _answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        head = [(name, value) for name, value in headers if name != b"content-length"]
        head.append((b"content-length", b"%d" % len(body)))
        await self._send({"type": "http.response.start", "status": status, "headers": head})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _spoil_whole(self, start: Message, body: bytes) -> None:
        """A fault of `MIDWAY` on an answer that comes in one body."""
        name = self._fault.name
        self._note(ENDINGS.get(name))
        if name in SPOILT or name in ERRORS:
            text = self._dialect.error_body if name in ERRORS else self._spoil(body)
            await self._answer(start["status"], start["headers"], text)
            return
        half = len(body) // 2
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body[:half], "more_body": True})
        if name != "stall":
            await self._end(reset=name == "reset_midway")
        await self._pause()
        await self._send({"type": "http.response.body", "body": body[half:], "more_body": False})

    async def _spoil_piece(self, message: Message) -> Message:
        """A fault of `MIDWAY` on a stream, once enough content has passed."""
        name = self._fault.name
        if name not in MIDWAY or self._struck or not self._is_content(message["body"]):
            return message
        self._pieces += 1
        if self._pieces <= self._fault.after:
            return message
        self._struck = True
        self._note(ENDINGS.get(name))
        if name == "huge_line":
            return await self._send_huge_line(message)
        if name == "filter_midway":
            await self._finish(self._spoil(message["body"]))
        if name == "error_event":
            await self._finish(self._dialect.error_event)
        if name == "failed_event":
            await self._finish(self._dialect.failed_event or self._dialect.error_event)
        if name == "end_midway":
            await self._finish(b"")
        if name in SPOILT:
            return {**message, "body": self._spoil(message["body"])}
        if name == "stall":
            await self._pause()
            return message
        if name == "bad_chunk":
            self._connection.transport.write(b"zz\r\n" + message["body"] + b"\r\n")
        await self._end(reset=name == "reset_midway")
        return message

    def _is_content(self, body: bytes) -> bool:
        return bool(body) if not self._dialect.framed else self._dialect.content.search(body) is not None

    async def _finish(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
        raise Struck

    async def _send_huge_line(self, message: Message) -> Message:
        at = self._content_start(message["body"])
        await self._send({**message, "body": message["body"][:at], "more_body": True})
        for _ in range(round(self._fault.value)):
            await self._send({**message, "body": _MEGABYTE, "more_body": True})
            if self._connection.lost_at is not None:
                self._note("client_gone")
                raise Struck
        return {**message, "body": message["body"][at:]}

    async def _pause(self) -> None:
        until = time.monotonic() + self._fault.value
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.2))
            if self._connection.lost_at is not None:
                self._note("stalled")
                raise Struck

    async def _end(self, reset: bool) -> None:
        self._note("cut")
        await end_connection(self._connection, reset)
        raise Struck

    def _content_start(self, body: bytes) -> int:
        """Where the text begins in an event, a body or plain text."""
        found = self._dialect.content.search(body) or self._dialect.whole_content.search(body)
        return found.end() if found else 0

    def _spoil(self, body: bytes) -> bytes:
        """A piece of an answer with one of the faults in `SPOILT`."""
        at = self._content_start(body)
        if self._fault.name == "invalid_utf8":
            return body[:at] + b"\xff\xfe\xc3" + body[at:]
        if self._fault.name == "huge_line":
            return body[:at] + _MEGABYTE * round(self._fault.value) + body[at:]
        if self._fault.name == "invalid_json":
            cut = body[: max(len(body) // 2, len(body) - 30)]
            return cut + (b"\n\n" if body.startswith((b"data: ", b"event: ")) else b"")
        return self._dialect.filtered(body)


class _RawSend:
    """Writes an answer to the transport itself, framed as the fault wants it, and closes the connection."""

    def __init__(self, fault: Fault, connection: Any) -> None:
        self._fault = fault
        self._connection = connection
        self._chunked = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            head = self._head(message)
            pause_s = self._fault.value / len(head) if self._fault.name == "slow_headers" else 0.0
            await self._write(head, pause_s)
            return
        body, more = message["body"], message["more_body"]
        if self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        await self._write(body, 0.0)
        if not more:
            await end_connection(self._connection, reset=False)

    def _head(self, message: Message) -> bytes:
        headers = {name: value for name, value in message["headers"]}
        if self._fault.name == "wrong_length":
            headers[b"content-length"] = str(int(headers.get(b"content-length", 0)) + 1000).encode()
        self._chunked = b"content-length" not in headers
        if self._chunked:
            headers[b"transfer-encoding"] = b"chunked"
        headers[b"connection"] = b"close"
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers.items())
        return b"HTTP/1.1 %d Simulated\r\n%b\r\n" % (message["status"], lines)

    async def _write(self, data: bytes, pause_s: float) -> None:
        transport = self._connection.transport
        if self._fault.name == "one_byte" or pause_s:
            for at in range(len(data)):
                if self._connection.lost_at is not None:
                    return
                transport.write(data[at : at + 1])
                await asyncio.sleep(pause_s)
        elif self._connection.lost_at is None:
            transport.write(data)


async def end_connection(connection: Any, reset: bool, patience_s: float = 5.0) -> None:
    """End a connection from this side and wait until it is gone, so that the server has nothing left to say."""
    transport = connection.transport
    if reset:
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as copy:
            copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    until = time.monotonic() + patience_s
    while connection.lost_at is None:
        await asyncio.sleep(0.001)
        if time.monotonic() > until:
            transport.abort()


def _replacement(fault: Fault, scope: Scope, connection: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of a fault that answers in the target's place."""
    json_type = (b"content-type", b"application/json")
    if fault.name == "empty_200":
        return 200, [json_type], b""
    if fault.name == "html_502":
        page = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
        return 502, [(b"content-type", b"text/html")], page
    if fault.name == "redirect":
        port = connection.transport.get_extra_info("sockname")[1]
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        return 307, [(b"location", b"%s://localhost:%d%s" % (scope["scheme"].encode(), port, target))], b""
    status = int(fault.name.removeprefix("http_"))
    retry = [] if fault.parameter is None else [(b"retry-after", b"%d" % round(fault.parameter))]
    body = json.dumps({"error": {"code": str(status), "message": f"Simulated failure {status}."}}).encode()
    return status, [json_type, *retry], body
