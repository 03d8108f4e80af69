"""Stopping a run of which nothing but one and the same refusal comes: a wrong path, key or model, a closed port.

The run is stopped when `limit` refusals in a row (`RequestRecord.refused`) say the same, from the first of them to the
last at least `AT_LEAST_S`, while no request of the run has been answered. One answer, and a run is never stopped so:
whatever comes later is a failure of the service, which auto-stop and criteria judge.
"""

from __future__ import annotations

from tokenswarm.record import GIVEN_UP, NOT_SENT, Outcome, RequestRecord, error_kind

AT_LEAST_S = 5.0
"""A burst of users that are refused at once says less than users that are refused for a while."""

DEFAULT_LIMIT = 10


class RefusalMonitor:
    """Watches the records of a run as they end."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._answered = False
        self._kind: str | None = None
        self._count = 0
        self._since = 0.0

    def add(self, record: RequestRecord) -> bool:
        """Take in a record; true when the run should stop."""
        if self._answered or record.outcome in GIVEN_UP | NOT_SENT:
            return False
        self._answered = record.outcome is Outcome.OK
        kind = error_kind(record.error or "") if record.refused else None
        at = (record.started_at or 0.0) + (record.e2e_ms or 0.0) / 1000.0
        if kind is None or kind != self._kind:
            self._kind, self._count, self._since = kind, 0, at
        self._count += 1
        return kind is not None and self._count >= self.limit and at - self._since >= AT_LEAST_S

    @property
    def description(self) -> str:
        """Why the run is stopped."""
        return f"refused: {self._count} times in a row and no answer before: {self._kind}"
