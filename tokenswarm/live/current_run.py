"""Follows the runs of one Locust environment: a monitor for each, and whoever shows it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gevent.event import Event

from tokenswarm.control.messages import Rows
from tokenswarm.generator.heartbeat import HeartbeatWindow
from tokenswarm.live.monitor import Monitor
from tokenswarm.live.progress import Course

if TYPE_CHECKING:
    from tokenswarm.runner.load_test import LoadTest

PHASES = {
    "PREPARING": "preparing",
    "SPAWNING": "starting users",
    "RUNNING": "running",
    "DRAINING": "waiting for requests under way",
    "ENDED": "ended",
}
"""The phases of `runner.run_part`, by name, in words."""

logger = logging.getLogger(__name__)

Listener = Callable[[Monitor], None]


class CurrentRun:
    """`monitor` is of the run that is on, or of the last one; `None` before the first. Not for workers."""

    def __init__(self, load_test: LoadTest) -> None:
        self.load_test = load_test
        self.monitor: Monitor | None = None
        self.started: list[Listener] = []
        self.ended: list[Listener] = []
        self._is_on = False
        self._all_told = Event()
        self._all_told.set()

    def attach(self) -> None:
        """Listen to the environment's events; the load test's own listeners must come first."""
        events = self.load_test.environment.events
        events.test_start.add_listener(self._on_start)
        events.test_stop.add_listener(self._on_stop)
        events.quit.add_listener(lambda **_: self._all_told.wait())
        self.load_test.message_observers.append(self._hear)

    @property
    def is_on(self) -> bool:
        """Whether a run is on."""
        return self._is_on

    @property
    def phase(self) -> str:
        """Where the run is, in words; "ready" before the first one."""
        if self.monitor is None:
            return "ready"
        part = self.load_test.part
        return PHASES[part.phase.name if part is not None else "ENDED"]

    def course(self) -> Course | None:
        """Of the run that is on; `None` when none is."""
        part = self.load_test.part
        if self.monitor is None or part is None or part.run is None:
            return None
        return Course(
            settings=part.settings,
            begun_at=part.origin if part.origin is not None else part.run.started_at,
            run_time_s=self.load_test.options.run_time,
            rate_changes=part.run.rate_changes,
            step=part.run.judge.step,
        )

    def _on_start(self, **_: Any) -> None:
        load_test = self.load_test
        if load_test.run is None:
            return  # the start was refused
        self.monitor = Monitor(load_test.run, self._users, None if load_test.is_master else self._sending)
        self._is_on = True
        self.monitor.start()
        for listener in self.started:
            listener(self.monitor)

    def _on_stop(self, **_: Any) -> None:
        if self.monitor is None or not self._is_on:
            return
        self._is_on = False
        self._all_told.clear()  # whatever else ends this process meanwhile, a run time limit for one, waits for that
        try:
            self.monitor.finish()
            for listener in self.ended:
                listener(self.monitor)
        finally:
            self._all_told.set()

    def _hear(self, message: Rows) -> None:
        if self.monitor is not None:
            self.monitor.hear(message)

    def _users(self) -> int:
        return int(self.load_test.runner.user_count)

    def _sending(self) -> tuple[int, int | None, list[HeartbeatWindow]]:
        """Of this process: requests under way, arrivals offered so far, and its heartbeat's windows."""
        sender = self.load_test.sender
        if sender is None:
            return 0, None, []
        offered = sender.schedule.offered if sender.schedule is not None else None
        return sender.recorder.in_flight, offered, list(sender.heartbeat.windows)
