"""The knee of a load curve, and the levels that no other beats: pure, from figures of levels.

The knee is the load at which power, throughput / latency, is greatest (Giessler and others 1978, Kleinrock 1979): up
to there more load buys more throughput than it costs in latency. Throughput is answers a second, latency the mean E2E.
How sure it is comes from resampling each level's blocks of time, which keeps what is alike in neighbouring requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.figures.populations import Values

BLOCKS = 20
"""Parts of a level's time that are resampled as one."""

RESAMPLES = 1000
TAIL = 0.025
FEWEST_LEVELS = 3
METHOD = "power: the greatest answers per second / mean E2E"


@dataclass(frozen=True, slots=True)
class LevelBlocks:
    """A level in blocks of equal time: requests answered in each, the sum of E2E (ms) of those started in it, and their
    number."""

    load: float
    length_s: float
    completed: Values
    total_ms: Values
    started: Values


@dataclass(frozen=True, slots=True)
class Knee:
    """`load`: the level with the greatest power. `low`, `high`: neighbouring levels between which the knee lies with
    95 % confidence; `None` where it may lie beyond the levels that were tried. `share_pct`: of the resamples in which
    it is this level."""

    load: float
    low: float | None
    high: float | None
    share_pct: float
    method: str = METHOD


def power(completed: float, length_s: float, total_ms: float, started: float) -> float:
    """Answers per second over mean E2E in s; 0 where nothing was answered."""
    if not length_s or not started or not total_ms:
        return 0.0
    return completed / length_s / (total_ms / started / 1000.0)


def find_knee(levels: Sequence[LevelBlocks], seed: int = 1) -> Knee | None:
    """The knee of levels with different loads; `None` of fewer than three, or where nothing was answered."""
    ordered = sorted(levels, key=lambda level: level.load)
    if len(ordered) < FEWEST_LEVELS:
        return None
    measured = [
        power(level.completed.sum(), level.length_s, level.total_ms.sum(), level.started.sum()) for level in ordered
    ]
    if not max(measured):
        return None
    best = int(np.argmax(measured))
    draws = np.random.default_rng(seed)
    places = np.argmax([_resampled(level, draws) for level in ordered], axis=0)
    lowest, highest = (int(at) for at in np.quantile(places, (TAIL, 1 - TAIL), method="inverted_cdf"))
    before, after = min(best, lowest) - 1, max(best, highest) + 1
    return Knee(
        ordered[best].load,
        ordered[before].load if before >= 0 else None,
        ordered[after].load if after < len(ordered) else None,
        100.0 * float((places == best).mean()),
    )


def _resampled(level: LevelBlocks, draws: np.random.Generator) -> Values:
    """The power of a level in each resample."""
    chosen = draws.integers(0, len(level.completed), (RESAMPLES, len(level.completed)))
    completed, total_ms, started = (
        part[chosen].sum(axis=1) for part in (level.completed, level.total_ms, level.started)
    )
    found = np.zeros(RESAMPLES)
    np.divide(1000.0 * completed * started, total_ms * level.length_s, out=found, where=total_ms > 0)
    return found


def pareto_front(points: Sequence[tuple[float | None, float | None]]) -> list[bool]:
    """Which points no other one beats, more being better on both axes: at least as good on both and better on one. A
    point that lacks a value is on no front."""
    known = [(x, y) for x, y in points if x is not None and y is not None]
    return [x is not None and y is not None and not any(_beats(other, (x, y)) for other in known) for x, y in points]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] >= other[0] and one[1] >= other[1] and one != other
