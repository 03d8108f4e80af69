"""Beginnings that made-up prompts share: one that all of them have, and after it one of several documents. Pure."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from tokenswarm.workload.distributions import Length
from tokenswarm.workload.prompts import Shared

MAX_DOCUMENTS = 1_000_000
MAX_ZIPF = 5.0


class Beginning(NamedTuple):
    """How a prompt begins. `document`: its number, from 1; `None` without documents."""

    texts: tuple[Shared, ...]
    document: int | None

    @property
    def tokens(self) -> int:
        return sum(shared.tokens for shared in self.texts)


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """`tokens` that every prompt begins with, then one of `documents`, each as long as `document_tokens` says, always.
    Document n is drawn with a probability in proportion to n ** -`zipf`: 0 makes all alike."""

    tokens: int
    documents: int
    document_tokens: Length
    zipf: float
    seed: int
    _weights: array[float] = field(init=False, repr=False, compare=False, default_factory=lambda: array("d"))

    def __post_init__(self) -> None:
        self._weights.extend(accumulate(number**-self.zipf for number in range(1, self.documents + 1)))

    def draw(self, rng: random.Random) -> Beginning:
        """The beginning of the next prompt."""
        common = (Shared("prefix", self.tokens),) if self.tokens else ()
        if not self.documents:
            return Beginning(common, None)
        number = bisect_left(self._weights, rng.random() * self._weights[-1]) + 1
        return Beginning((*common, Shared(f"document {number}", self.length_of(number))), number)

    def length_of(self, document: int) -> int:
        """Tokens of a document."""
        return _length(self.document_tokens, f"{self.seed}:document {document}")

    def mean_tokens(self) -> float:
        """Tokens that a prompt shares on average, for a check of lengths."""
        return self.tokens + ((self.document_tokens.mean() or 0.0) if self.documents else 0.0)


@lru_cache(maxsize=10_000)
def _length(length: Length, seed: str) -> int:
    return length.sample(random.Random(seed)) or 1
