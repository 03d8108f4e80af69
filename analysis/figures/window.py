"""Which part of a run is measured: warm-up and cool-down are cut off by time, and what is cut off is counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.figures.populations import ended, started
from analysis.sources.run import MINUTE_S, Run


@dataclass(frozen=True, slots=True)
class Window:
    """The measured part of a run, Unix s, both ends included. A request lies in it by its start (dropped: when it was
    due), completed ones and tokens by their end."""

    start: float
    end: float
    warm_up_s: float = 0.0
    cool_down_s: float = 0.0

    @property
    def length_s(self) -> float:
        """Seconds that rates are taken over."""
        return max(0.0, self.end - self.start)

    def contains(self, instants: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which instants lie inside."""
        return np.asarray((instants >= self.start) & (instants <= self.end))

    def full_minutes(self) -> range:
        """Starts (Unix s) of the clock minutes that lie wholly inside."""
        first, last = math.ceil(self.start / MINUTE_S), math.floor(self.end / MINUTE_S)
        return range(first * MINUTE_S, max(first, last) * MINUTE_S, MINUTE_S)


def window_of(run: Run) -> Window | None:
    """The window a run was configured with; `None` without a request and without times.

    It ends where the load did, as run.json says: the answers that come while the run drains belong to no rate, since
    nothing was offered any more. Without an end (a crash, another source) it spans every row.
    """
    start, end = _bounds(run)
    if start is None or end is None:
        return None
    warm_up = max(0.0, run.number("window", "warm_up_s") or 0.0)
    cool_down = max(0.0, run.number("window", "cool_down_s") or 0.0)
    return Window(start + warm_up, end - cool_down, warm_up, cool_down)


def _bounds(run: Run) -> tuple[float | None, float | None]:
    starts, ends = [run.number("started_at")], [run.number("ended_at")]
    if run.given is not None:
        starts.append(run.given.start)
        ends.append(run.given.end)
    if len(run.rows):
        starts.append(float(np.min(started(run.rows))))
        if ends == [None]:
            ends.append(float(np.max(ended(run.rows))))
    known_starts, known_ends = ([at for at in found if at is not None] for found in (starts, ends))
    if not known_starts or not known_ends:
        return None, None
    return min(known_starts), max(known_ends)
