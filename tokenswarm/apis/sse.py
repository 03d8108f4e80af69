"""Server-sent events: bytes in, the data of each finished event out. No I/O, no clock.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation. Ids, retry hints and
comments are passed over. Of event names two kinds matter: errors, whose data comes as an `ErrorEvent`, and heartbeats,
which are passed over. A block that is bare JSON or a page, as some services write their errors, is given as data.
"""

from __future__ import annotations

from tokenswarm.payload.errors import HEARTBEATS

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""An unfinished event larger than this is refused, so that a broken server cannot fill the memory."""

_BARE = (b"{", b"<")
"""What begins a block that is no event at all."""
_ERRORS = (b"error", b"exception")
_FIELDS = (b"data", b"event", b"id", b"retry", b":")
_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event that grew past `MAX_EVENT_BYTES` without ending."""


class ErrorEvent(bytes):
    """The data of an event that is named an error."""


def foreign_text(tail: bytes) -> str | None:
    """What a body said that is no event stream at all; `tail`: what is left of it. `None` where it may be one."""
    lines = [line for line in tail.strip().split(b"\n") if line.strip()]
    if not lines or any(line.startswith(name) or name.startswith(line) for line in lines for name in _FIELDS):
        return None
    return tail.decode("utf-8", "replace").strip()


def _is_foreign(line: bytes) -> bool:
    """Whether a line begins with no field, as behind a NUL byte or a mark of byte order that is not the stream's first:
    the rules want it to be passed over."""
    said = line.strip(b"\0 \t" + _BOM)
    return said != b"" and said.lower() not in HEARTBEATS and not line.startswith(_FIELDS)


class EventDecoder:
    """Collects bytes, however they are cut, and gives the data of each event that is complete."""

    __slots__ = ("_carriage_returns", "_scanned", "_skip_line_feed", "_started", "_tail", "unread")

    def __init__(self) -> None:
        self._tail = b""
        self._scanned = 0
        self._started = False
        self._carriage_returns = False
        self._skip_line_feed = False
        self.unread = False
        """Whether an event without data had a line that is none of an event stream, but is no heartbeat either."""

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that `data` completes, in order. Raises `EventTooLarge`."""
        if self._is_one_event(data):
            return [data[6:-2]]
        if self._carriage_returns or b"\r" in data:
            data = self._normalise(data)
        if self._tail:
            data = self._tail + data
        if not self._started:
            data = self._strip_bom(data)
        events: list[bytes] = []
        start = 0
        end = data.find(b"\n\n", self._scanned)
        while end >= 0:
            self._take(data, start, end, events)
            start = end + 2
            end = data.find(b"\n\n", start)
        self._keep(data[start:] if start else data)
        return events

    def finish(self) -> list[bytes]:
        """The body has ended: the event that lacks its blank line, if any."""
        tail, self._tail = self._tail, b""
        events: list[bytes] = []
        self._take(tail, 0, len(tail), events)
        return events

    @property
    def tail(self) -> bytes:
        """The event so far that lacks its blank line."""
        return self._tail

    @property
    def at_boundary(self) -> bool:
        """Whether the next byte begins an event, of a stream whose lines end with a line feed."""
        return not self._tail and not self._carriage_returns

    @property
    def unfinished(self) -> bool:
        """Whether bytes of an event without its closing blank line are left: the stream was cut."""
        return bool(self._tail.strip(b"\n"))

    def _is_one_event(self, data: bytes) -> bool:
        """Whether `data` is nothing but one event of one `data: ` line, as most reads are: the cheap way out."""
        return (
            self._started
            and not self._tail
            and data.find(b"\n") == len(data) - 2
            and data.startswith(b"data: ")
            and data.endswith(b"\n\n")
            and not self._carriage_returns
            and b"\r" not in data
        )

    def _strip_bom(self, data: bytes) -> bytes:
        if len(data) < 3 and _BOM.startswith(data):
            return data
        self._started = True
        return data[3:] if data.startswith(_BOM) else data

    def _normalise(self, data: bytes) -> bytes:
        """CRLF and CR become LF; of a CRLF that is cut in two, the LF is passed over when it comes."""
        self._carriage_returns = True
        if self._skip_line_feed and data:
            self._skip_line_feed = False
            if data.startswith(b"\n"):
                data = data[1:]
        self._skip_line_feed = self._skip_line_feed or data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, rest: bytes) -> None:
        if len(rest) > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event of more than {MAX_EVENT_BYTES} bytes without end")
        self._tail = rest
        self._scanned = max(0, len(rest) - 1)

    def _take(self, data: bytes, start: int, end: int, events: list[bytes]) -> None:
        """Append the data of the event in data[start:end]; an event without a data field has none."""
        if data.startswith(b"data: ", start) and data.find(b"\n", start, end) < 0:
            events.append(data[start + 6 : end])
            return
        block = data[start:end].strip(b"\n")
        if block.lstrip()[:1] in _BARE:
            events.append(block)
            return
        name, lines = b"", []
        for line in block.split(b"\n"):
            if line.startswith(b"data:"):
                lines.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line == b"data":
                lines.append(b"")
            elif line.startswith(b"event:"):
                name = line[6:].strip().lower()
        if name.endswith(_ERRORS):
            events.append(ErrorEvent(b"\n".join(lines)))
        elif not lines:
            self.unread = self.unread or any(map(_is_foreign, block.split(b"\n")))
        elif name not in HEARTBEATS and name != b"warning":
            events.append(b"\n".join(lines))
