"""A session of steps that wait for one another, each sent as soon as what it needs has been answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gevent
import gevent.queue

from tokenswarm.record import Outcome, SessionEnd
from tokenswarm.recordings.graph import AgentStep, children_of
from tokenswarm.sender.session import Session, StepRows

Ask = Callable[[int, StepRows, "float | None", Callable[[], bool]], None]
"""Sends the step at a position at Unix s (`None`: now) and hands its attempts to the rows. It calls the last one, which
waits until then and is true where the run has ended before."""


class GraphRun:
    """One session on its way; `ask` runs in a greenlet of its own for each step under way. `pause` waits until Unix s
    and is true where the run has ended before; `prepare` is told of a step when the last one that it waits for has been
    started."""

    def __init__(
        self,
        steps: Sequence[AgentStep],
        session: Session,
        ask: Ask,
        stopped: Callable[[], bool],
        pause: Callable[[float], bool],
        prepare: Callable[[int], None] = lambda position: None,
    ) -> None:
        self._steps = steps
        self.session = session
        self._ask = ask
        self._stopped = stopped
        self._pause = pause
        self._prepare = prepare
        self._children = children_of(steps)
        self._open = [len(step.parents) for step in steps]
        """Parents of each step that have not been answered yet."""
        self._missing = list(self._open)
        """Parents of each step that have not been started yet."""
        self._ended: gevent.queue.Queue[tuple[int, StepRows]] = gevent.queue.Queue()
        self._rows: dict[int, StepRows] = {}
        self._running: dict[int, Any] = {}
        self._waiting: set[int] = set()
        """Running steps that have not been sent yet, as their tools take their time."""
        self._answered = 0
        self._failed = False

    def go_through(self) -> None:
        """From the first step to the end of the session, or of the run. What interrupts it ends all its steps."""
        roots = [position for position, step in enumerate(self._steps) if not step.parents]
        first_s = min(self._steps[position].tool_s for position in roots)
        try:
            for position in sorted(roots, key=lambda root: self._steps[root].tool_s):
                self._start(position, self.session.due_at, self._steps[position].tool_s - first_s)
            while self._running:
                self._take(*self._ended.get())
        finally:
            gevent.killall(list(self._running.values()))
            for rows in self._rows.values():
                rows.flush()

    def _start(self, position: int, after: float | None, tool_s: float, path_s: float = 0.0) -> None:
        rows = self._rows[position] = self.session.next_step(path_s + tool_s)
        due_at = None if after is None else after + tool_s
        self._waiting.add(position)
        self._running[position] = gevent.spawn(self._go, position, rows, due_at)
        self._prepare_children(position)

    def _prepare_children(self, position: int) -> None:
        """What follows a step is put together while that is under way, after all that is due now."""
        for child in self._children[position]:
            self._missing[child] -= 1
            if self._missing[child] == 0:
                gevent.spawn(self._prepare, child)

    def _go(self, position: int, rows: StepRows, due_at: float | None) -> None:
        try:
            self._ask(position, rows, due_at, lambda: self._wait(position, due_at))
        finally:
            self._ended.put((position, rows))

    def _wait(self, position: int, due_at: float | None) -> bool:
        has_ended = due_at is not None and self._pause(due_at)
        self._waiting.discard(position)
        return has_ended

    def _take(self, position: int, rows: StepRows) -> None:
        """A step has ended: those that have waited for it alone are sent, unless something has failed."""
        if self._running.pop(position, None) is None:
            return  # it was not sent any more
        if rows.outcome is Outcome.OK:
            self._answered += 1
            self._start_children(position)
        elif rows.outcome is not None and rows.outcome is not Outcome.CANCELLED:
            self._fail()
        if self._running:
            gevent.spawn(rows.flush)  # after what follows is sent: a row takes longer than all else between the two
            return
        for each in self._rows.values():
            if each is not rows:
                each.flush()
        rows.flush(self._end())

    def _fail(self) -> None:
        """Nothing more is sent, and what has not been sent yet is not waited for."""
        self._failed = True
        for position in self._waiting & self._running.keys():
            self._running.pop(position).kill(block=False)

    def _start_children(self, position: int) -> None:
        for child in self._children[position]:
            self._open[child] -= 1
            if self._open[child] == 0 and not self._failed and not self._stopped():
                parents = [self._rows[parent] for parent in self._steps[child].parents]
                after = max((parent.ended_at for parent in parents if parent.ended_at is not None), default=None)
                self._start(child, after, self._steps[child].tool_s, max(parent.path_s for parent in parents))

    def _end(self) -> SessionEnd | None:
        """How the session has ended; `None` where the run has cut it."""
        if self._answered == len(self._steps):
            return SessionEnd.DONE
        return SessionEnd.FAILED if self._failed else None
