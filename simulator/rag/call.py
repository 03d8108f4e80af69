"""One HTTP request on an orchestrator route: what every request has, plus pieces of text and one truth line."""

from __future__ import annotations

import time
from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from simulator.truth.log import INTERNAL_HEADER, TruthLog
from simulator.wire.exchange import Exchange


class RagCall(Exchange):
    """Writing raises `simulator.wire.exchange.Gone` once the client has left."""

    def __init__(self, target: str, stream: bool, scope: Scope, receive: Receive, send: Send, truth: TruthLog) -> None:
        super().__init__(scope, receive, send)
        self._truth = truth
        self._finished = False
        self.entry |= {"target": target, "stream": stream, "internal": INTERNAL_HEADER in self.headers}

    async def write_text(self, piece: bytes) -> None:
        """A piece of the answer: the only writes that count as tokens."""
        written_at = await self.write(piece)
        self.entry.setdefault("first_token_at", written_at)
        self.entry["last_token_at"] = written_at
        self.entry["chunks"] = self.entry.get("chunks", 0) + 1

    async def write_unless_empty(self, data: bytes) -> float | None:
        """The instant (Unix s) right after the write, None when there was nothing to write."""
        return await self.write(data) if data else None

    async def write_progress(self, data: bytes) -> None:
        """News of the work before the answer; the first of it is noted."""
        if (written_at := await self.write_unless_empty(data)) is not None:
            self.entry.setdefault("first_progress_at", written_at)

    async def respond_half(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Announce `body` and send the first half of it. The server closes the socket when nothing follows."""
        await self.start(status, {**headers, "content-length": str(len(body))})
        await self.write(body[: len(body) // 2])

    def finish(self, outcome: str, reason: str | None = None) -> None:
        """Write the truth line; later calls change nothing."""
        if not self._finished:
            self._finished = True
            entry = {"finished_at": time.time(), **self.entry, "outcome": outcome, "reason": reason}
            if outcome == "client_gone":
                entry["client_left_at"] = self.lost_at
            self._truth.write({**entry, **self.struck})
