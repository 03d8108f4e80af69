"""A body that is collected whole, with a bound."""

from __future__ import annotations

MAX_BODY_BYTES = 16 * 1024 * 1024


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
