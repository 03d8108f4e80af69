"""What an answer held, shortened, for the message that something was not found in it. No I/O, no clock."""

from __future__ import annotations

import json
from typing import Any

import jiter

FIRST = 3
MAX_TEXT = 24
MAX_ITEMS = 8
MAX_DESCRIPTION = 320


class Held:
    """The first events of an answer, and the last."""

    __slots__ = ("_first", "_last")

    def __init__(self) -> None:
        self._first: list[bytes] = []
        self._last = b""

    def add(self, event: bytes) -> None:
        if len(self._first) < FIRST:
            self._first.append(event)
        self._last = event

    def describe(self, last: bool = False) -> str:
        """`it held {...}`: the first events, or the last one, each text in it cut."""
        events = [self._last] if last and self._last else self._first
        if not events:
            return "it held nothing"
        shown = "  ".join(shorten(event) for event in events)
        return f"{'it ended with' if last else 'it held'} {shown:.{MAX_DESCRIPTION}}"


def shorten(event: bytes) -> str:
    """An event in little room: its structure, its texts cut."""
    try:
        value = jiter.from_json(event)
    except ValueError:
        return event[:MAX_TEXT].decode("utf-8", "replace") + ("..." if len(event) > MAX_TEXT else "")
    return json.dumps(_shortened(value), ensure_ascii=False)


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "..."
    if isinstance(value, dict):
        return {key: _shortened(each) for key, each in list(value.items())[:MAX_ITEMS]}
    return [_shortened(each) for each in value[:2]] if isinstance(value, list) else value
