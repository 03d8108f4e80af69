"""One session on its way: its rows, of which the last says how it ended."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from tokenswarm.record import Outcome, RequestRecord, SessionEnd
from tokenswarm.sender.timer import Timer

FINE_S = 0.002
"""The end of a pause, which a timer finer than gevent's waits for: a session of twelve steps would else be some 10 ms
longer than its answers and tools."""
READY_S = 0.0004
"""A pause ends this long before the next request is due: its greenlet is woken and the request is written up to then,
and the transport starts it to within a turn of the loop."""


class Session:
    """`due_at`: Unix s at which it was due, `None` in closed load, where it counts from its first request."""

    def __init__(self, session_id: str, due_at: float | None, emit: Callable[[RequestRecord], None]) -> None:
        self.id = session_id
        self.due_at = due_at
        self.emit = emit
        self.is_on = False
        """Whether it has rows, and none that ended it."""
        self._steps = 0

    def next_step(self, path_before_s: float = 0.0) -> StepRows:
        """The next step that is sent. `path_before_s`: s of the longest chain of requests and pauses before it."""
        self._steps += 1
        return StepRows(self, self._steps, path_before_s)


class StepRows:
    """The rows of one step. Each is held back until it is known whether another attempt, or the end of the session,
    follows it."""

    def __init__(self, session: Session, number: int, path_before_s: float) -> None:
        self._session = session
        self.number = number
        self._path_before_s = path_before_s
        self._held: RequestRecord | None = None
        self._began_at: float | None = None
        self.path_s = path_before_s
        """s of the longest chain that ends with this step."""
        self.outcome: Outcome | None = None
        """Of the last attempt; `None` before it."""
        self.ended_at: float | None = None

    def take(self, record: RequestRecord) -> None:
        """One finished attempt."""
        self.flush()
        session, self.outcome, self.ended_at = self._session, record.outcome, record.ended_at
        if session.due_at is None:
            session.due_at = record.started_at
        self._began_at = record.started_at if self._began_at is None else self._began_at
        session_s = None
        if self.ended_at is not None and session.due_at is not None and self._began_at is not None:
            session_s = max(0.0, self.ended_at - session.due_at)
            self.path_s = self._path_before_s + max(0.0, self.ended_at - self._began_at)
        self._held = dataclasses.replace(
            record, session_id=session.id, step=self.number, session_s=session_s, path_s=self.path_s
        )

    def flush(self, end: SessionEnd | None = None) -> None:
        """What is held back has no later attempt; `end`: it was the last of the session."""
        held, self._held = self._held, None
        if held is not None:
            self._session.is_on = end is None
            self._session.emit(held if end is None else dataclasses.replace(held, session_end=end))

    def close(self, is_last: bool, gave_up: bool = False) -> bool:
        """The step's call has ended; whether the session has, too. What was cut by the end of the run ends nothing.
        `gave_up`: it is the last although what it asks for has still to be done."""
        if self.outcome is None or self.outcome is Outcome.CANCELLED:
            self.flush()
            return True
        if self.outcome is not Outcome.OK or is_last:
            self.flush(SessionEnd.DONE if self.outcome is Outcome.OK and not gave_up else SessionEnd.FAILED)
            return True
        self.flush()
        return False


def pause_until(stopping: Callable[[float], object], at: float) -> bool:
    """Wait until `READY_S` before Unix s `at`; True when the run has ended before, but for the last `FINE_S`."""
    while (left_s := at - time.time() - FINE_S) > 0:
        if stopping(left_s):
            return True
    if at - READY_S > time.time():
        timer = Timer()
        try:
            timer.wait_until(at - READY_S)
        finally:
            timer.close()
    return False
