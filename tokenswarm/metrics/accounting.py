"""The identity every run must satisfy: planned = sent + dropped + lost; sent = ok + throttled + failed + cancelled +
aborted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tokenswarm.record import NOT_FAILED, Outcome, RequestRecord, SessionEnd
from tokenswarm.userinput import counted


@dataclass(frozen=True, slots=True)
class Lost:
    """Requests that left no row. `begin` and `end`: Unix s between which they were due or under way; `at_least`: there
    may have been more, of which nobody knows. `worker`: had them, was last heard at `begin`; empty: none."""

    worker: str
    rows: int
    begin: float
    end: float
    reason: str
    at_least: bool = False

    def __str__(self) -> str:
        rows = ("at least " if self.at_least else "") + counted(self.rows, "row")
        heard = (
            f" ({self.worker}, last heard {self.end - self.begin:.1f} s before the run's end)" if self.worker else ""
        )
        return f"{rows} lost: {self.reason}{heard}"


class Accounting:
    """Counts records by outcome. `planned` and `delivered_pct` are `None` in closed loop."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.first_attempts = 0
        self.resent = 0
        """Requests that were lost with a kept connection and sent again: one row each."""
        self.sessions = 0
        """Sessions that were begun."""
        self.session_ends: Counter[SessionEnd] = Counter()
        self.planned: int | None = None
        self.lost: list[Lost] = []

    def add(self, record: RequestRecord) -> None:
        self.count(record.outcome, record.is_arrival, record.resent or 0, record.step == 1, record.session_end)

    def count(
        self, outcome: Outcome, is_arrival: bool, resent: int, in_session: bool = False, end: SessionEnd | None = None
    ) -> None:
        """One row more. `in_session`: it may be a session's first; `end`: how it ended one."""
        self.outcomes[outcome] += 1
        self.resent += resent
        if is_arrival and outcome is not Outcome.DROPPED:
            self.first_attempts += 1
            self.sessions += in_session
        if end is not None:
            self.session_ends[end] += 1

    def close(self, planned: int | None, lost: Sequence[Lost]) -> None:
        self.planned = planned
        self.lost = [each for each in lost if each.rows > 0 or each.at_least]

    @property
    def rows(self) -> int:
        return self.outcomes.total()

    @property
    def sent(self) -> int:
        return self.rows - self.outcomes[Outcome.DROPPED]

    @property
    def not_ok(self) -> int:
        """Rows that are neither answers nor left by their users: Locust's failures."""
        return self.rows - self.outcomes[Outcome.OK] - self.outcomes[Outcome.ABORTED]

    @property
    def delivered_pct(self) -> float | None:
        """Planned requests that were sent, in percent; `None` when nothing was planned."""
        return None if not self.planned else 100.0 * self.first_attempts / self.planned

    @property
    def unaccounted(self) -> int:
        """Planned requests that are neither sent, dropped nor known to be lost: 0, or the identity is broken."""
        if self.planned is None:
            return 0
        lost = sum(lost.rows for lost in self.lost)
        return self.planned - self.first_attempts - self.outcomes[Outcome.DROPPED] - lost

    @property
    def came_to_something(self) -> int:
        """Arrivals that are over: calls of which a row is there, sessions that have ended, and dropped ones."""
        over = self.session_ends.total() if self.sessions else self.first_attempts
        return over + self.outcomes[Outcome.DROPPED]

    def session_facts(self) -> dict[str, int] | None:
        """begun = done + failed + unfinished (the run, or the worker, ended first); `None` without sessions."""
        if not self.sessions:
            return None
        ends = {str(end): self.session_ends[end] for end in SessionEnd}
        return {"begun": self.sessions, **ends, "unfinished": self.sessions - self.session_ends.total()}

    def facts(self) -> dict[str, Any]:
        """The `accounting` part of run.json."""
        failed = sum(n for outcome, n in self.outcomes.items() if outcome not in NOT_FAILED)
        return {
            "planned": self.planned,
            "sent": self.sent,
            "first_attempts": self.first_attempts,
            "ok": self.outcomes[Outcome.OK],
            "throttled": self.outcomes[Outcome.THROTTLED],
            "failed": failed,
            "cancelled": self.outcomes[Outcome.CANCELLED],
            "aborted": self.outcomes[Outcome.ABORTED],
            "dropped": self.outcomes[Outcome.DROPPED],
            "rows": self.rows,
            "resent": self.resent,
            "sessions": self.session_facts(),
            "lost": [{**asdict(lost), "from": lost.begin, "to": lost.end} for lost in self.lost],
        }
