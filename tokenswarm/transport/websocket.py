"""One WebSocket connection, from bytes: its opening, messages, pings and close. No I/O, no clock.

Framing is that of `websockets`, whose protocol is apart from its sockets: bytes are read and stamped as those of any
other answer. No compression is offered: it would cost both sides time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

MESSAGE_END = b"\x1e"
"""Put behind each message, so that messages are one stream of bytes to whoever takes them: the record separator."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_GOOD_CLOSES = frozenset({1000, 1001, 1005})
"""Normal, going away, and without a code."""
_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
_WRITTEN = frozenset({"host", "upgrade", "connection"})

_quiet = logging.getLogger(f"{__name__}.protocol")
_quiet.disabled = True


@dataclass(frozen=True, slots=True)
class Opening:
    """What a connection is opened with. `url`: ws or wss."""

    url: str
    headers: Mapping[str, str]


class SocketSession:
    """What is known of a connection between its messages."""

    __slots__ = ("_lost", "_protocol", "headers", "opening", "status")

    def __init__(self, opening: Opening) -> None:
        self._protocol = ClientProtocol(parse_uri(opening.url), max_size=MAX_MESSAGE_BYTES, logger=_quiet)
        request = self._protocol.connect()
        for name, value in opening.headers.items():
            if name.lower() not in _WRITTEN:
                request.headers[name] = value
        self._protocol.send_request(request)
        self.opening = self.to_send()
        self.status = 0
        self.headers: dict[str, str] = {}
        self._lost = False

    @property
    def is_open(self) -> bool:
        return self._protocol.state is State.OPEN and not self._lost

    def lose(self) -> None:
        """The peer has closed the connection without saying so."""
        self._lost = True

    def take_idle(self, data: bytes) -> None:
        """Bytes that came while nothing was asked: messages among them are nobody's."""
        try:
            self.feed(data)
        except (WebSocketException, EOFError):
            self.lose()

    def to_send(self) -> bytes:
        """What the protocol wants to be written now: a pong, an answer to a close."""
        return b"".join(self._protocol.data_to_send())

    def message(self, text: bytes) -> bytes:
        """The frame of a text."""
        self._protocol.send_text(text)
        return self.to_send()

    def farewell(self) -> bytes:
        """The frame that closes an open connection; nothing for one that is not."""
        if not self.is_open:
            return b""
        self._protocol.send_close(1000)
        return self.to_send()

    def feed(self, data: bytes) -> list[Frame | Response]:
        """What bytes of the peer complete."""
        self._protocol.receive_data(data)
        return [event for event in self._protocol.events_received() if isinstance(event, Frame | Response)]

    @property
    def fault(self) -> str | None:
        """What the peer did that the protocol forbids; `None` when nothing."""
        error = self._protocol.handshake_exc or self._protocol.parser_exc
        return None if error is None else f"WebSocket: {error}"


class SocketAnswer:
    """One answer on a connection, in the terms of an HTTP answer (`http1.HttpAnswer`).

    `reply`: writes what the protocol answers by itself; `opened`: called when the peer has answered the opening.
    """

    ends_with_connection = False
    ends_with_answer = True
    between_chunks = False

    __slots__ = (
        "_opened",
        "_reply",
        "_session",
        "complete",
        "failure",
        "headers",
        "headers_complete",
        "keep_alive",
        "status",
    )

    def __init__(self, session: SocketSession, reply: Callable[[bytes], None], opened: Callable[[], None]) -> None:
        self._session = session
        self._reply = reply
        self._opened = opened
        self.status = session.status
        self.headers = session.headers
        self.headers_complete = session.is_open
        self.complete = False
        self.keep_alive = False
        self.failure: str | None = None

    def feed(self, data: bytes) -> bytes:
        """The messages, or parts of them, in `data`, each whole one with `MESSAGE_END` behind it."""
        pieces: list[bytes] = []
        try:
            for event in self._session.feed(data):
                pieces += self._take_response(event) if isinstance(event, Response) else self._take(event)
        except (WebSocketException, EOFError) as error:  # bytes behind the end
            self.failure = f"WebSocket: {error}"
        if reply := self._session.to_send():
            self._reply(reply)
        if not self.complete and self.failure is None and self.status in (0, 101):
            self.failure = self._session.fault
        return b"".join(pieces)

    def release(self) -> None:
        """Nothing more will be fed."""

    def _take_response(self, response: Response) -> list[bytes]:
        """The peer's answer to the opening: whatever is not 101 is an answer of its own, and the only one."""
        self.status = self._session.status = response.status_code
        self.headers = self._session.headers = {name.lower(): value for name, value in response.headers.raw_items()}
        self.headers_complete = True
        self._opened()
        if self.status == 101:
            return []
        self.complete = self.status >= 300
        if not self.complete:
            self.failure = f"HTTP {self.status} in place of a WebSocket"
        return [bytes(response.body or b"")]

    def _take(self, frame: Frame) -> list[bytes]:
        if frame.opcode in _DATA:
            return [bytes(frame.data), MESSAGE_END] if frame.fin else [bytes(frame.data)]
        if frame.opcode is Opcode.CLOSE:
            code = int.from_bytes(frame.data[:2], "big") if len(frame.data) >= 2 else 1005
            reason = bytes(frame.data[2:]).decode("utf-8", "replace")
            self.complete = code in _GOOD_CLOSES
            if not self.complete:
                self.failure = f"WebSocket closed with code {code}{': ' if reason else ''}{reason}"
        return []
