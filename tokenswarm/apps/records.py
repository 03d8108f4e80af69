"""Streams of records that end with one character: JSON lines, and messages of a WebSocket as the transport gives them.

Bytes in, finished records out. No I/O, no clock.
"""

from __future__ import annotations

from tokenswarm.apis.sse import MAX_EVENT_BYTES, EventTooLarge

LINE_END = b"\n"
MESSAGE_END = b"\x1e"
"""The record separator of ASCII, which JSON cannot contain; SignalR ends its own messages so, too."""


class RecordDecoder:
    """Collects bytes, however they are cut, and gives each record that is complete, without its end and blanks."""

    __slots__ = ("_end", "_tail", "unread")

    def __init__(self, end: bytes) -> None:
        self._end = end
        self._tail = b""
        self.unread = False
        """Never: only server-sent events have fields."""

    def feed(self, data: bytes) -> list[bytes]:
        """The records that `data` completes, in order. Raises `EventTooLarge`."""
        if self._tail:
            data = self._tail + data
        *records, self._tail = data.split(self._end)
        if len(self._tail) > MAX_EVENT_BYTES:
            raise EventTooLarge(f"a record of more than {MAX_EVENT_BYTES} bytes without end")
        return [stripped for record in records if (stripped := record.strip())]

    def finish(self) -> list[bytes]:
        """The body has ended: the record that lacks its end, if any."""
        tail, self._tail = self._tail.strip(), b""
        return [tail] if tail else []

    @property
    def at_boundary(self) -> bool:
        """Whether the next byte begins a record."""
        return not self._tail

    @property
    def tail(self) -> bytes:
        """The record so far that lacks its end."""
        return self._tail
