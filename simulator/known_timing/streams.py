"""What the known-timing target holds of its connections and of the answers that are under way on them."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

from simulator.known_timing.answer import Answer, Head

LATENESS_STEP_S = 1e-5


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the target treats connections, beside the timing of its answers."""

    continue_100: bool = False  # an interim 100 before every answer, asked for or not
    early_response: bool = False  # answer when the request's head is there, without waiting for its body
    read_pause_ms: float = 0.0  # leave the body of a request in the socket for so long
    requests_per_connection: int = 0  # close after so many; 0: never


@dataclass
class Lateness:
    """How late chunks left against their plan, as a histogram in steps of 10 us."""

    steps: list[int] = field(default_factory=lambda: [0] * 20_001)

    def add(self, late: float) -> None:
        self.steps[min(int(late / LATENESS_STEP_S), 20_000)] += 1

    def percentile_ms(self, p: float) -> float | None:
        """Upper edge of the step that holds the percentile, ms; `None` without chunks."""
        left = sum(self.steps) * p / 100.0
        for step, count in enumerate(self.steps):
            left -= count
            if count and left <= 0:
                return round((step + 1) * LATENESS_STEP_S * 1000.0, 3)
        return None


class Connection:
    """One client connection and what is going on on it."""

    __slots__ = (
        "backlog",
        "closed",
        "early",
        "head",
        "inbox",
        "paused",
        "served",
        "shaking",
        "sock",
        "stamp",
        "stream",
    )

    def __init__(self, sock: socket.socket, shaking: bool) -> None:
        self.sock = sock
        self.shaking = shaking  # in the TLS handshake
        self.closed = False
        self.paused = False
        self.inbox = bytearray()
        self.backlog = bytearray()  # what the kernel would not take yet
        self.head: Head | None = None  # of the request whose body is being read
        self.early: dict[str, Any] | None = None  # log row of the answer that did not wait for that body
        self.stamp: float | None = None  # when the kernel had the bytes that were read last
        self.stream: Stream | None = None  # the answer that is being sent
        self.served = 0


class Stream:
    """One answer on its way."""

    __slots__ = ("connection", "due", "index", "late", "offsets", "pieces", "row", "start", "then_close")

    def __init__(self, connection: Connection, answer: Answer, start: float, row: dict[str, Any]) -> None:
        self.connection = connection
        self.pieces = answer.pieces
        self.offsets = answer.offsets
        self.start = start
        self.due = start + answer.offsets[0]
        self.index = 0
        self.late = 0.0
        self.row = row
        self.then_close = False
