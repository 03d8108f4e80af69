"""How long sessions had taken that were not over when the run ended: one rule for the run itself and its analysis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class RunEnd(NamedTuple):
    """The end of a run for its sessions. `ended_at`: Unix s; `measured_to`: Unix s of the start of the cool-down;
    `until`: of each worker, Unix s up to which all went on that no row ends; none of a worker of which that is not
    known."""

    ended_at: float
    measured_to: float
    until: Mapping[str, float]


class OpenSession(NamedTuple):
    """A session that no row ends. `due_at`: Unix s from which it counts. Of its row that ended last: `since_s` to its
    end, `started_at` Unix s of its start."""

    due_at: float
    since_s: float
    started_at: float
    name: str
    worker: str

    def lasted_s(self, end: RunEnd | None) -> float:
        """s that it has taken at least: for as long as it is known to have gone on, or to the end of its last row."""
        until = end.until.get(self.worker) if end is not None else None
        return self.since_s if until is None else max(self.since_s, until - self.due_at)

    def lies_in(self, window: tuple[float, float], end: RunEnd | None) -> bool:
        """Whether its last row was started in the window; or before, and it went on into a window that lasts to the
        cool-down. What was started while the run was being stopped counts as of its end."""
        low, high = window
        if end is None:
            return low <= self.started_at <= high
        started_at = min(self.started_at, end.ended_at)
        goes_on = high >= end.measured_to and low <= end.until.get(self.worker, 0.0)
        return low <= started_at <= high or (goes_on and started_at < low <= high)


def unfinished_s(
    sessions: Iterable[OpenSession], name: str | None, window: tuple[float, float] | None, end: RunEnd | None
) -> list[float]:
    """s that each session which had not ended in the window has taken at least; `name`: of its last row."""
    return [
        session.lasted_s(end)
        for session in sessions
        if name in (None, session.name) and (window is None or session.lies_in(window, end))
    ]
