"""JSON as services send it. No I/O, no clock."""

from __future__ import annotations

import json
from typing import Any

import jiter


def read_json(data: bytes) -> Any:
    """The value of a JSON text. Raises `ValueError`.

    Halves of surrogate pairs, into which some servers cut a character between two chunks, are none for jiter but are
    JSON: the standard library reads them, as the openai SDK does with it.
    """
    try:
        return jiter.from_json(data)
    except ValueError:
        if b"\\u" not in data:
            raise
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            pass
        raise


def whole_characters(text: str) -> str:
    """A text whose halves of pairs have been put together; a half without its other one is replaced."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
