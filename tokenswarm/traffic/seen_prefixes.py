"""How much of a prompt is the beginning of an earlier one: blocks are remembered, in 32 MB for any number of them."""

from __future__ import annotations

import mmap
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_intdigest

BLOCK_BYTES = 128
"""Some 32 tokens. Prompt caches go by 16 to 128; half the bytes of a block cost twice the time."""
PARTS = 20
"""A later block is a 20th of what is before it, where that is more, and has up to 20 parts."""
MOST_BYTES = 1 << 34
_SIZE = 1 << 25
_WHICH = _SIZE - 1
_AT_ONCE = getattr(mmap, "MAP_POPULATE", 0)
"""Memory that is first touched while requests are put together doubles the time of each."""
SAID = ("tools", "system", "instructions", "messages", "input", "prompt", "conversations", "items")
"""What a body says, in the order in which a service reads it."""


def _end_of(begin: int) -> int:
    return begin + max(BLOCK_BYTES, begin // PARTS)


def _ends_of_blocks() -> Iterator[int]:
    end = 0
    while end < MOST_BYTES:
        end = _end_of(end)
        yield end


_ENDS = (0, *_ends_of_blocks())
_BLOCKS = tuple(map(slice, _ENDS, _ENDS[1:]))


class SeenPrefixes:
    """Remembers a bit for each block, by the checksum of all up to its end: with ten million of them the prefix of one
    text in 25 seems a block longer than it is, never shorter. Parts of a block are remembered where it is a text's last
    one, or the one in which a text goes its own way: there others will, too."""

    def __init__(self, path: Path | None = None, tells: bool = False) -> None:
        """`path`: a file that the processes of a machine share; its room is taken at once. `tells`: whether others are
        to be told, as some do not share it. Raises `OSError`."""
        self._path = path
        self._fresh: array[int] | None = array("Q") if tells else None
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

    def take_fresh(self) -> bytes:
        """What came to be remembered since it was last asked for: eight bytes a block."""
        if not self._fresh:
            return b""
        fresh, self._fresh = self._fresh, array("Q")
        return fresh.tobytes()

    def remember(self, told: bytes) -> None:
        """What others have sent."""
        for key in array("Q", told):
            self._bits[key & _WHICH] |= 1 << (key >> 61)

    def share(self, texts: Sequence[bytes | memoryview]) -> float:
        """Which part of the texts, from the beginning of the first, has been seen; all of it has from now on. Less than
        it is by less than a block: by less than a part of one where an earlier text ended in that block, or left there
        what it shared with those before it."""
        data = texts[0] if len(texts) == 1 else b"".join(texts)
        if not (size := len(data)):
            return 0.0
        count = bisect_left(_ENDS, size)
        new, keys = self._add(data, _BLOCKS[:count], 0)
        if new == count:
            return 1.0
        keys.insert(0, 0)
        if new < count - 1:
            self._add(data, _parts(_ENDS[count - 1], size), keys[count - 1])
        parts = _parts(_ENDS[new], size)
        known, _ = self._add(data, parts, keys[new])
        return (parts[known - 1].stop if known else _ENDS[new]) / size

    def _add(self, data: bytes | memoryview, blocks: Sequence[slice], key: int) -> tuple[int, list[int]]:
        """Remember blocks that follow each other. How many of them have been seen, and the checksums up to their ends;
        `key`: that of all before them."""
        bits, seen = self._bits, 0
        keys = [key := xxh3_64_intdigest(data[block], key) for block in blocks]
        for key in keys:
            if not bits[key & _WHICH] & 1 << (key >> 61):
                break
            seen += 1
        for key in keys[seen:]:
            bits[key & _WHICH] |= 1 << (key >> 61)
        if self._fresh is not None:
            self._fresh.extend(keys[seen:])
        return seen, keys


def _parts(begin: int, size: int) -> list[slice]:
    """Those of the block that begins there, but for the last one."""
    step = max(BLOCK_BYTES, begin // PARTS**2)
    return [slice(at, at + step) for at in range(begin, min(_end_of(begin), size) - step, step)]


def parts_of(body: dict[str, Any]) -> Iterable[Any]:
    """What a body says."""
    return (body[name] for name in SAID if body.get(name))
