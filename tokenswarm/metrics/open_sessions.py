"""How long sessions had taken that were not over when the run ended: one rule for the run itself and its analysis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class RunEnd(NamedTuple):
    """The end of a run for its sessions. `at`: Unix s of it; `measured_to`: Unix s of the start of the cool-down;
    `workers`: those that took part to the end with all their users, so that what they had begun went on until then."""

    at: float
    measured_to: float
    workers: frozenset[str]


class OpenSession(NamedTuple):
    """A session that no row ends, by its row that ended last: `since_s` from the session's due instant to the end of
    that row, `started_at` and `ended_at` Unix s of the row."""

    since_s: float
    started_at: float
    ended_at: float
    name: str
    worker: str

    def lasted_s(self, end: RunEnd | None) -> float:
        """s it has taken at least: to the end of the run, or of its last row where that is later. To that of its row
        where it is not known to have gone on: its user was stopped, its worker lost."""
        if end is None or self.worker not in end.workers:
            return self.since_s
        return self.since_s + max(0.0, end.at - self.ended_at)

    def lies_in(self, window: tuple[float, float], end: RunEnd | None) -> bool:
        """Whether its last row was started in the window; or before, and it went on through all of the window up to
        the cool-down."""
        low, high = window
        if low <= self.started_at <= high:
            return True
        goes_on = end is not None and self.worker in end.workers and high >= end.measured_to
        return goes_on and self.started_at < low <= high


def unfinished_s(
    sessions: Iterable[OpenSession], name: str | None, window: tuple[float, float] | None, end: RunEnd | None
) -> list[float]:
    """s that each session which had not ended in the window has taken at least; `name`: of its last row."""
    return [
        session.lasted_s(end)
        for session in sessions
        if name in (None, session.name) and (window is None or session.lies_in(window, end))
    ]
