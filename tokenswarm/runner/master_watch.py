"""A worker whose master has died stops by itself: nobody could stop it, and it would load the target unseen."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent

if TYPE_CHECKING:
    from locust.env import Environment

CHECK_S = 0.5
SILENCE_S = 15.0
"""Locust's master answers each heartbeat, so once a second; its own patience of 60 s is too long for a load."""

logger = logging.getLogger(__name__)


def end_with_parent(parent: int, until: Callable[[], bool]) -> None:
    """Of a worker that was forked and is not set up yet: it ends with process `parent`. Locust would try for five
    minutes to reach a master that is gone; `until` says that a `MasterWatch` has taken over."""
    while not until():
        if os.getppid() != parent:
            logger.error("The master is gone (its process has ended): this worker stops")
            gevent.get_hub().handle_system_error(SystemExit, SystemExit(1))
        gevent.sleep(CHECK_S)


class MasterWatch:
    """Of one worker: quits when the master's answers end, or, where the master forked it, as soon as that is gone."""

    def __init__(self, environment: Environment) -> None:
        assert environment.runner is not None
        self._runner = environment.runner
        self._parent = os.getppid() if getattr(environment.parsed_options, "processes", None) else None
        self._heard_at = time.monotonic()
        environment.events.heartbeat_received.add_listener(self._hear)
        self._greenlet = gevent.spawn(self._watch)

    def _hear(self, **_: Any) -> None:
        self._heard_at = time.monotonic()

    def _watch(self) -> None:
        checked_at = time.monotonic()
        while (reason := self._why_alone()) is None:
            gevent.sleep(CHECK_S)
            now = time.monotonic()
            # Time in which this process did not run, or was late, is no silence of the master's.
            self._heard_at += max(0.0, now - checked_at - 2 * CHECK_S)
            checked_at = now
        logger.error("The master is gone (%s): this worker stops", reason)
        self._runner.quit()

    def _why_alone(self) -> str | None:
        if self._parent is not None and os.getppid() != self._parent:
            return "its process has ended"
        silence_s = time.monotonic() - self._heard_at
        return f"silent for {silence_s:.0f} s" if silence_s > SILENCE_S else None
