"""A body that is collected whole, with a bound, and one that may be that or events."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from tokenswarm.apis.sse import EventDecoder

MAX_BODY_BYTES = 16 * 1024 * 1024

Usual = tuple[bytes, bytes, Callable[[bytes | bytearray, int, int], object], "array[float]"]
"""What stands before and after the text of a token's event, what tells whether a text may stand between them, and where
the time of such an event is added."""


class BodyTooLarge(ValueError):
    """A body that grew past `MAX_BODY_BYTES`."""


class WholeBody:
    """Collects the pieces of a body."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Raises `BodyTooLarge`."""
        self._size += len(data)
        if self._size > MAX_BODY_BYTES:
            raise BodyTooLarge(f"body larger than {MAX_BODY_BYTES} bytes")
        self._pieces.append(data)

    @property
    def data(self) -> bytes:
        return b"".join(self._pieces)


def begins_whole(data: bytes) -> bool | None:
    """Whether a body that begins so is one JSON value or page and not events; `None` while that cannot be told."""
    first = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return first in (b"{", b"[", b"<") if first else None


class EventsOrBody:
    """What an answer consists of: events, or one JSON value or page. Which, is seen by how it begins, whatever its type
    is said to be: streams come under `application/json` and errors under `text/event-stream`."""

    __slots__ = ("_decoder", "_started", "_tail", "_tail_ms", "_whole")

    def __init__(self) -> None:
        self._decoder = EventDecoder()
        self._started = False
        self._whole: WholeBody | None = None
        self._tail = b""
        self._tail_ms = 0.0
        """When the event that lacks its end came, ms."""

    def _events_in(self, data: bytes) -> list[bytes]:
        """The events that `data` completes; none of a body that is one value.

        Raises `EventTooLarge`, `BodyTooLarge`.
        """
        if not self._started:
            is_whole = begins_whole(data)
            self._started = is_whole is not None
            if is_whole:
                self._whole = WholeBody()
        if self._whole is None:
            return self._decoder.feed(data)
        self._whole.add(data)
        return []
