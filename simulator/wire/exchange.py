"""One HTTP request and its answer: reads, writes, and notes the instant of each in a truth entry."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

RECEIVED_AT = "simulator.received_at"
"""Scope key: when the last byte of the request had been parsed (Unix s), set by the server's protocol."""

CONNECTION = "simulator.connection"
"""Scope key: the server's protocol object, with `transport` and `lost_at`."""

STRUCK = "simulator.struck"
"""Scope key: what an injected fault did, as fields of the truth entry; they win over what the target thinks."""

SANE_ID = re.compile(r"[\x20-\x7e]{1,256}")
"""An id of the client's that may be repeated in a header."""

PATIENCE_S = 0.2
"""Longest sleep without looking whether the client is still there."""


class Gone(Exception):
    """The client has closed the connection."""


class Exchange:
    """`entry` is the truth entry in the making; every method that sends raises `Gone` once the client has left."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self.send = send
        self.connection = scope.get(CONNECTION)
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.started = False
        given = self.headers.get("x-ms-client-request-id") or self.headers.get("x-client-request-id") or ""
        self.entry: dict[str, Any] = {"client_request_id": given if SANE_ID.fullmatch(given) else None}

    @property
    def struck(self) -> dict[str, Any]:
        """Truth fields of the fault that struck this exchange; empty without one."""
        struck: dict[str, Any] = self.scope.get(STRUCK, {})
        return struck

    async def read_body(self) -> bytes:
        """The whole body; sets `received_at` and `body_sha256`."""
        parts: list[bytes] = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.entry["received_at"] = time.time()
                raise Gone
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        self.entry["received_at"] = self.scope.get(RECEIVED_AT) or time.time()
        body = b"".join(parts)
        self.entry["body_sha256"] = hashlib.sha256(body).hexdigest()
        return body

    @property
    def lost_at(self) -> float | None:
        """When the connection was lost (Unix s), or None."""
        return None if self.connection is None else self.connection.lost_at

    @property
    def gone(self) -> bool:
        return self.lost_at is not None

    async def sleep_unheard(self, deadline: float) -> None:
        """Wait until `deadline` on the monotonic clock, whether or not the client is there."""
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))

    async def sleep_until(self, deadline: float) -> None:
        """Wait until `deadline` on the monotonic clock."""
        while (delay := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(delay, PATIENCE_S))
            if self.gone:
                raise Gone

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status line and the headers."""
        self.entry["status"] = status
        if self.gone:
            raise Gone
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        self.started = True
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        self.entry["headers_at"] = time.time()

    async def write(self, data: bytes, more: bool = True) -> float:
        """Send a part of the body. Returns the instant (Unix s) right after the write."""
        if self.gone:
            raise Gone
        await self.send({"type": "http.response.body", "body": data, "more_body": more})
        return time.time()

    async def respond(
        self, status: int, headers: Mapping[str, str], body: bytes, content_type: str = "application/json"
    ) -> None:
        """A complete answer in one go."""
        head = {"content-type": content_type, "content-length": str(len(body)), **headers}
        await self.start(status, head)
        self.entry["finished_at"] = await self.write(body, more=False)
