"""One session on its way: its rows, of which the last says how it ended."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from tokenswarm.record import Outcome, RequestRecord, SessionEnd


class Session:
    """`due_at`: Unix s at which it was due, `None` in closed load, where it counts from its first request. A row is
    held back until it is known whether another attempt, or the end of the session, follows it."""

    def __init__(self, session_id: str, due_at: float | None, emit: Callable[[RequestRecord], None]) -> None:
        self.id = session_id
        self._due_at = due_at
        self._emit = emit
        self._held: RequestRecord | None = None
        self.step = 1

    def take(self, record: RequestRecord) -> None:
        """One finished attempt of the current step."""
        self.flush()
        if self._due_at is None:
            self._due_at = record.started_at
        session_s = None
        if record.ended_at is not None and self._due_at is not None:
            session_s = max(0.0, record.ended_at - self._due_at)
        self._held = dataclasses.replace(record, session_id=self.id, step=self.step, session_s=session_s)

    def flush(self, end: SessionEnd | None = None) -> None:
        """What is held back has no later attempt; `end`: it was the last of the session."""
        held, self._held = self._held, None
        if held is not None:
            self._emit(held if end is None else dataclasses.replace(held, session_end=end))

    def end_of_step(self, is_last: bool) -> bool:
        """The step's call has ended; whether the session has, too. What was cut by the end of the run ends nothing."""
        held = self._held
        if held is None or held.outcome is Outcome.CANCELLED:
            self.flush()
            return True
        if held.outcome is not Outcome.OK or is_last:
            self.flush(SessionEnd.DONE if held.outcome is Outcome.OK else SessionEnd.FAILED)
            return True
        self.flush()
        self.step += 1
        return False


def pause_until(stopping: Callable[[float], bool], at: float) -> bool:
    """Wait until Unix s `at`; True when the run has ended before."""
    while (left_s := at - time.time()) > 0:
        if stopping(left_s):
            return True
    return False
