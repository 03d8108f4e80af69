"""Feeding readers: whole, and cut anywhere."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from tokenswarm.apis.api import Found, Reader


def events(*payloads: dict[str, Any], named: bool = True) -> list[bytes]:
    """Server-sent events as services send typed ones: the type stands as the event's name, too."""
    heads = [f"event: {payload['type']}\n".encode() if named and "type" in payload else b"" for payload in payloads]
    return [
        head + b"data: " + json.dumps(each, separators=(",", ":")).encode() + b"\n\n"
        for head, each in zip(heads, payloads, strict=True)
    ]


def read(reader: Reader, pieces: list[bytes]) -> Found:
    """What a reader makes of pieces that arrive 10 ms apart, the first at 10 ms; nothing after the answer's end."""
    for number, piece in enumerate(pieces, 1):
        if reader.feed(piece, 10.0 * number, 10.0 * (number - 1)):
            break
    return reader.finish()


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces that begin at `places`."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(edges)]
