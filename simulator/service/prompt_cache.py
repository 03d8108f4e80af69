"""How much of a prompt a deployment has seen before: the first 1024 tokens, then steps of 128. Pure."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict

CACHE_FROM = 1024
"""Shortest prefix, in tokens, that the prompt cache knows."""
CACHE_STEP = 128

Prefix = tuple[int, bytes]
"""Length in tokens, and digest."""


class PromptCache:
    """Prefixes that were sent before. The oldest are forgotten first."""

    def __init__(self, capacity: int = 20_000) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def look_up(self, prefixes: list[Prefix]) -> int:
        """How many first tokens of a prompt are cached."""
        for length, digest in reversed(prefixes):
            if digest in self._seen:
                return length
        return 0

    def remember(self, prefixes: list[Prefix]) -> None:
        for _, digest in prefixes:
            self._seen[digest] = None
            self._seen.move_to_end(digest)
        while len(self._seen) > self._capacity:
            self._seen.popitem(last=False)


def prefixes(ids: array[int]) -> list[Prefix]:
    """Each prefix of a prompt that the cache may hold, shortest first."""
    digest, start, found = hashlib.blake2b(digest_size=16), 0, []
    for length in range(CACHE_FROM, len(ids) + 1, CACHE_STEP):
        digest.update(ids[start:length].tobytes())
        start = length
        found.append((length, digest.digest()))
    return found
