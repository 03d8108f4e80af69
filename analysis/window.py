"""Which part of a run is measured: warm-up and cool-down are cut off by time, and what is cut off is counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.metrics import ended, started
from analysis.run import Run

MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Window:
    """The measured part of a run, Unix s. A request lies in it by its start, completed ones and tokens by their end.

    Where nothing is cut off at an end, nothing is left out there either, even when a clock disagrees: `low` and
    `high` are then infinite. `measured` is false when there is nothing to measure.
    """

    start: float
    end: float
    warm_up_s: float = 0.0
    cool_down_s: float = 0.0

    @property
    def length_s(self) -> float:
        """Seconds that rates are taken over."""
        return max(0.0, self.end - self.start)

    @property
    def low(self) -> float:
        return self.start if self.warm_up_s > 0 else -math.inf

    @property
    def high(self) -> float:
        return self.end if self.cool_down_s > 0 else math.inf

    def contains(self, instants: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which instants lie inside; both ends belong to it."""
        return (instants >= self.low) & (instants <= self.high)

    def full_minutes(self) -> range:
        """Starts (Unix s) of the clock minutes that lie wholly inside."""
        first, last = math.ceil(self.start / MINUTE_S), math.floor(self.end / MINUTE_S)
        return range(first * MINUTE_S, max(first, last) * MINUTE_S, MINUTE_S)


def window_of(run: Run) -> Window | None:
    """The window a run was configured with; `None` without a request and without times.

    Start and end are those of run.json, else of the rows: first start or due instant, last end.
    """
    start, end = _bounds(run)
    if start is None or end is None:
        return None
    warm_up = max(0.0, run.number("window", "warm_up_s") or 0.0)
    cool_down = max(0.0, run.number("window", "cool_down_s") or 0.0)
    return Window(start + warm_up, end - cool_down, warm_up, cool_down)


def _bounds(run: Run) -> tuple[float | None, float | None]:
    start, end = run.number("started_at"), run.number("ended_at")
    if run.given is not None:
        return start or run.given.start, end or run.given.end
    if len(run.rows):
        start = _first(run.rows) if start is None else start
        end = float(np.nanmax(ended(run.rows))) if end is None else end
    return start, end


def _first(rows: pd.DataFrame) -> float:
    return float(np.nanmin(started(rows)))
