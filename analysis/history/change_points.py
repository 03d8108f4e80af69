"""Where a figure changes for good: Pettitt's test, and again on both sides of each change that it finds.

The statistic is the largest absolute rank sum over all splits, so that outliers weigh no more than their rank. Its
probability comes from permutations, which assume nothing about how the figure is spread, only that runs without a
change could have come in any order.

Source: A. N. Pettitt, A non-parametric approach to the change-point problem, Applied Statistics 28 (1979), 126-135.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
METHOD = "Pettitt's test by permutation"
ALPHA = 0.01
"""Probability of a false alarm in a history without a change, for each figure."""
FEWEST = 10
"""Runs below which no order of them has a probability under `ALPHA`."""
_PERMUTATIONS = 1999


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """The figure changes between `index - 1` and `index`. `before` and `after`: medians of the `n_before` and `n_after`
    values up to the neighbouring changes. `p_value`: of a split as clear as this without a change."""

    index: int
    before: float
    after: float
    n_before: int
    n_after: int
    p_value: float

    @property
    def change_pct(self) -> float | None:
        """Change in percent of the median before; `None` when that is 0."""
        return 100 * (self.after - self.before) / abs(self.before) if self.before else None


def find_change_points(values: Floats, seed: int = 1) -> list[ChangePoint]:
    """Changes of a series, in order. Values are finite."""
    splits = sorted(_splits(values, 0, np.random.default_rng(seed)))
    edges = [0, *(index for index, _ in splits), len(values)]
    return [
        ChangePoint(
            index,
            float(np.median(values[edges[at] : index])),
            float(np.median(values[index : edges[at + 2]])),
            index - edges[at],
            edges[at + 2] - index,
            p_value,
        )
        for at, (index, p_value) in enumerate(splits)
    ]


def _splits(values: Floats, first: int, rng: np.random.Generator) -> list[tuple[int, float]]:
    if len(values) < FEWEST:
        return []
    index, p_value = pettitt(values, rng)
    if p_value > ALPHA:
        return []
    left = _splits(values[:index], first, rng)
    right = _splits(values[index:], first + index, rng)
    return [*left, (first + index, p_value), *right]


def pettitt(values: Floats, rng: np.random.Generator) -> tuple[int, float]:
    """Where the most likely change is (the position of the first value after it), and its probability by chance."""
    centred = _ranks(values) - (len(values) + 1) / 2
    sums = np.abs(np.cumsum(centred)[:-1])
    shuffled = rng.permuted(np.tile(centred, (_PERMUTATIONS, 1)), axis=1)
    largest = np.abs(np.cumsum(shuffled, axis=1)[:, :-1]).max(axis=1)
    as_large = int((largest >= sums.max() - 1e-9).sum())
    return int(sums.argmax()) + 1, (as_large + 1) / (_PERMUTATIONS + 1)


def _ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Floats = (last - (counts - 1) / 2)[inverse]
    return mean
