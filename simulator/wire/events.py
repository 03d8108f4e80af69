"""Server-sent events that carry their type in an `event` line as well. Pure."""

from __future__ import annotations

from typing import Any

from simulator.wire.azure import dump


def typed_event(body: dict[str, Any]) -> bytes:
    """One event; `body` has a `type`."""
    kind: str = body["type"]
    return b"event: " + kind.encode() + b"\ndata: " + dump(body) + b"\n\n"


class PreparedEvent:
    """An event with a number and a text in it, everything else prepared: one concatenation per event."""

    def __init__(self, body: dict[str, Any]) -> None:
        """`body` holds the text "\\x00" where the text belongs and the text "\\x01" where the number does."""
        whole = typed_event(body)
        self._text_first = whole.index(b"\\u0000") < (whole.find(b'"\\u0001"') + 1 or len(whole))
        marks = (b"\\u0000", b'"\\u0001"') if self._text_first else (b'"\\u0001"', b"\\u0000")
        self._head, _, rest = whole.partition(marks[0])
        self._middle, _, self._tail = rest.partition(marks[1])

    def event(self, text: str, number: int = 0) -> bytes:
        """`text` must be escaped for JSON already."""
        first, second = (text.encode(), b"%d" % number) if self._text_first else (b"%d" % number, text.encode())
        if not self._tail:
            return self._head + first + self._middle
        return self._head + first + self._middle + second + self._tail
