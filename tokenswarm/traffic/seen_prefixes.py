"""How much of a prompt is the beginning of an earlier one: blocks are remembered, in 32 MB for any number of them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

BLOCK_BYTES = 128
"""Some 32 tokens. Prompt caches go by 16 to 128; half the bytes of a block cost twice the time."""
_SIZE = 1 << 25
_AT_ONCE = getattr(mmap, "MAP_POPULATE", 0)
"""Memory that is first touched while requests are put together doubles the time of each."""
SAID = ("tools", "system", "instructions", "messages", "input", "prompt", "conversations")
"""What a body says, in the order in which a service reads it."""


class SeenPrefixes:
    """Remembers a bit for each block, by the checksum of all up to its end: with ten million of them the prefix of one
    text in 25 seems a block longer than it is, never shorter."""

    def __init__(self, path: Path | None = None) -> None:
        """`path`: a file that the processes of a machine share; its room is taken at once. Raises `OSError`."""
        self._path = path
        if path is None:
            self._bits = mmap.mmap(-1, _SIZE, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | _AT_ONCE)
            return
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _SIZE)
            self._bits = mmap.mmap(descriptor, _SIZE, mmap.MAP_SHARED | _AT_ONCE)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """The file goes; processes that still use it keep their view."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def share(self, texts: Iterable[str]) -> float:
        """Which part of the texts, from the beginning of the first, has been seen; all of it has from now on."""
        data = "".join(texts).encode("utf-8", "surrogatepass")
        bits, key, size, seen = self._bits, 0, len(data), None
        for begin in range(0, size, BLOCK_BYTES):
            key = crc32(data[begin : begin + BLOCK_BYTES], key)
            place, bit = key >> 7, 1 << (key & 7)
            held = bits[place]
            if not held & bit:
                bits[place] = held | bit
                seen = begin if seen is None else seen
        return (size if seen is None else seen) / size if size else 0.0


def parts_of(body: dict[str, Any]) -> Iterable[Any]:
    """What a body says."""
    return (body[name] for name in SAID if body.get(name))
