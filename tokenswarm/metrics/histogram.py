"""Distributions in little memory: values counted in classes that are 1 % wide, so that they can be added up.

A percentile of a histogram is within 0.5 % of the exact one, whatever the number of values; histograms of two seconds,
processes or request names add up to the histogram of both. Final figures are never taken from here.
"""

from __future__ import annotations

import math
from collections import Counter

from tokenswarm.metrics.samples import carries

WIDTH = 1.01
RELATIVE_ERROR = math.sqrt(WIDTH) - 1.0
"""Of a percentile, at most: a value lies within half a class of its class's middle."""

SMALLEST_MS = 0.001
_SCALE = 1.0 / math.log(WIDTH)


class Histogram:
    """A distribution of ms. `total` is the exact sum of its values."""

    __slots__ = ("_classes", "n", "total")

    def __init__(self) -> None:
        self._classes: Counter[int] = Counter()
        self.n = 0
        self.total = 0.0

    def add(self, value: float) -> None:
        """Take in one value; below a microsecond all are one."""
        self._classes[round(math.log(max(value, SMALLEST_MS)) * _SCALE)] += 1
        self.n += 1
        self.total += value

    def merge(self, other: Histogram, times: int = 1) -> None:
        """Add another histogram's values (`times` = -1: take them out again)."""
        classes = self._classes
        for place, n in other._classes.items():
            left = classes[place] + n * times
            if left:
                classes[place] = left
            else:
                del classes[place]
        self.n += other.n * times
        self.total = self.total + other.total * times if self.n else 0.0

    @property
    def mean(self) -> float | None:
        return self.total / self.n if self.n else None

    def percentile(self, p: float) -> float | None:
        """Percentile `p`, between order statistics as everywhere; `None` where `n` values do not carry it."""
        if not carries(self.n, p):
            return None
        position = (self.n - 1) * (p / 100)
        below = math.floor(position)
        low, high = self._at_ranks(below, min(below + 1, self.n - 1))
        return low + (high - low) * (position - below)

    def _at_ranks(self, first: int, second: int) -> tuple[float, float]:
        passed = 0
        low: float | None = None
        for place in sorted(self._classes):
            passed += self._classes[place]
            if low is None and passed > first:
                low = _middle(place)
            if low is not None and passed > second:
                return low, _middle(place)
        raise IndexError(f"rank {second} of {self.n} values")


def _middle(place: int) -> float:
    return math.exp(place / _SCALE)
