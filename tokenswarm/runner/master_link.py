"""A worker's messages with its master: rows on their way, a plan that starts, the order to drain."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from tokenswarm.control.clock import MasterClock
from tokenswarm.control.mailbox import Mailbox
from tokenswarm.control.messages import Drain, IllFormed, PlanStart, Rows
from tokenswarm.control.search_driver import make_plan
from tokenswarm.control.seen_blocks import Memory, SeenTeller
from tokenswarm.control.workers import run_of
from tokenswarm.results.recorder import Batch
from tokenswarm.runner.run_part import RunPart
from tokenswarm.sender.sender import Condition, Sender
from tokenswarm.workload.arrivals import Assignment

if TYPE_CHECKING:
    from locust.runners import WorkerRunner

CLOCK_WITHIN_S = 5.0
"""How long a worker waits for its master to say what time it is."""


class MasterLink:
    """Of one worker, run after run. `current`: its part in the run that is on, `None` between runs."""

    def __init__(
        self,
        runner: WorkerRunner,
        mailbox: Mailbox,
        options: argparse.Namespace,
        current: Callable[[], RunPart | None],
    ) -> None:
        self._runner = runner
        self._mailbox = mailbox
        self._options = options
        self._current = current
        self._clock = MasterClock(mailbox)
        self._seen = SeenTeller(mailbox, self._memory, self._run_and_place)

    @property
    def name(self) -> str:
        """What the master calls this worker."""
        return f"w{self._runner.worker_index}"

    def listen(self) -> None:
        """Do from now on what the master says."""
        self._mailbox.listen(PlanStart, self._take_plan, concurrent=True)
        self._mailbox.listen(Drain, self._drain, concurrent=True)
        self._seen.listen()

    def ask_time(self, sender: Sender) -> None:
        """Place the rows of a sender by the master's clock, as soon as that is known."""
        clock = self._clock
        sender.clock_shift_s = lambda: clock.shift_s
        clock.on_known = sender.place_rows
        clock.start()

    def ship(self, batch: Batch, condition: Condition) -> None:
        """Rows on their way to the master."""
        self._mailbox.send(
            Rows(
                self.name, run_of(self._options.run_directory), batch.rows, batch.text, batch.started,
                batch.finished, batch.made, batch.written, str(batch.journal), batch.problem,
                [window.to_message() for window in condition.windows], [list(stall) for stall in condition.stalls],
                condition.offered, condition.overtaken,
                condition.self_check, condition.beyond, condition.left_at, self._clock_facts(), condition.done,
            )
        )  # fmt: skip
        if not condition.done:
            self._seen.tell()

    def _memory(self) -> Memory | None:
        part = self._current()
        return part.sender.seen if part is not None and part.sender is not None else None

    def _run_and_place(self) -> tuple[str, bool]:
        part = self._current()
        is_elsewhere = part is not None and part.sender is not None and part.sender.place.directory is None
        return run_of(self._options.run_directory), is_elsewhere

    def _clock_facts(self) -> list[float] | None:
        """What this worker takes off its instants, how far it is ahead of its master, and the error of that."""
        if self._clock.shift_s is None or (offset := self._clock.offset) is None:
            return None
        return [self._clock.shift_s, offset.ahead_s, offset.error_s]

    def _take_plan(self, message: PlanStart, _master: str) -> None:
        """The master says when a plan starts, or that the workers have changed."""
        self._clock.known.wait(CLOCK_WITHIN_S)  # an origin by another clock would be another instant
        part = self._current()
        if part is None or part.schedule is None:
            return
        begin, position, count = message.assignment
        assignment, level = Assignment(begin or 0, position, count or 0), message.level
        origin = self._clock.local(message.origin)
        settings = part.settings
        plan = settings.plan if level is None else make_plan(settings, level[0], int(level[1]), level[2])
        if part.schedule.origin == origin:
            part.schedule.assign(assignment)
        elif plan is not None:
            part.schedule.start(plan, origin, [assignment])

    def _drain(self, message: Drain, _master: str) -> None:
        """Stop for good, now, with everything that is known on its way before the answer."""
        part = self._current()
        if part is not None and message.run != run_of(self._options.run_directory):
            raise IllFormed(f"{message.NAME}.run: expected the run that is on, got {message.run[:60]!r}")
        if part is not None:
            part.ended_at = self._clock.local(message.until)
        sends = part is not None and part.sender is not None
        self._runner.stop()
        if not sends:  # the start was refused here, or never came: nothing to wait for
            self._mailbox.send(Rows(self.name, message.run, done=True))
