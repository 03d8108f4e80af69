"""Counting prompt tokens cheaply and the same way every time, and finding how much of a prompt was seen before. Pure.

A token is a piece of text between white space; each message adds 4 (its role and its frame) and each prompt 3 (the
start of the answer). That equals the real count for prompts made of words that are one token each, which is what the
load generator sends; ordinary prose has about a third more real tokens.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

PER_MESSAGE = 4
PER_PROMPT = 3

CACHE_FROM = 1024
"""Shortest prefix, in tokens, that the prompt cache knows."""
CACHE_STEP = 128


def prompt_pieces(messages: Iterable[dict[str, Any]]) -> list[str]:
    """The tokens of a prompt without the frames: the pieces of all texts in order."""
    return [piece for message in messages for text in message_texts(message) for piece in text.split()]


def message_texts(message: dict[str, Any]) -> Iterator[str]:
    """The texts of one message, whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]


def count_tokens(pieces: int, messages: int) -> int:
    """Tokens of a prompt with this many pieces in this many messages."""
    return pieces + PER_MESSAGE * messages + PER_PROMPT


Prefix = tuple[int, bytes]
"""Length in tokens, and digest."""


class PromptCache:
    """Prefixes that were sent before: the first 1024 tokens, then steps of 128. Oldest prefixes are forgotten first."""

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


def prefixes(pieces: list[str]) -> list[Prefix]:
    """Each prefix of a prompt that the cache may hold, shortest first."""
    digest, start, found = hashlib.blake2b(digest_size=16), 0, []
    for length in range(CACHE_FROM, len(pieces) + 1, CACHE_STEP):
        digest.update(" ".join(pieces[start:length]).encode("utf-8", "surrogatepass") + b" ")
        start = length
        found.append((length, digest.digest()))
    return found
