"""What one process carries while it runs, held against what its machine measures accurately by its self-check."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent

from tokenswarm.generator.selfcheck_result import SelfCheck, describe, warn_beyond
from tokenswarm.record import RequestRecord

LOOK_S = 1.0
RATE_OVER_S = 10.0
"""Chunks are counted when their request ends, so in lumps: their rate is taken over several answers' length."""

logger = logging.getLogger(__name__)


class Overload:
    """Looks once a second, and warns once: when it first carries more. Without a self-check it has nothing to say."""

    def __init__(self, check: SelfCheck | None, in_flight: Callable[[], int]) -> None:
        self._check = check
        self._in_flight = in_flight
        self._chunks = 0
        self._seen: deque[tuple[float, int]] = deque()
        self._greenlet: Any = None
        self.warning: str | None = None

    def start(self) -> None:
        if self._check is not None:
            self._greenlet = gevent.spawn(self._look_regularly)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
            self._greenlet = None

    def add(self, record: RequestRecord) -> None:
        """One request has ended."""
        self._chunks += record.chunks or 0

    @property
    def description(self) -> str | None:
        """The self-check in one line; `None` without one."""
        return describe(self._check) if self._check is not None else None

    def look(self, now: float) -> None:
        """Compare, at a monotonic instant in s."""
        if self._check is None or self.warning is not None:
            return
        self.warning = warn_beyond(self._check, self._in_flight(), self._chunks_per_s(now))
        if self.warning is not None:
            logger.warning("Self-check: %s", self.warning)

    def _chunks_per_s(self, now: float) -> float | None:
        """Over the last `RATE_OVER_S`; `None` before so much time has passed."""
        self._seen.append((now, self._chunks))
        while len(self._seen) > 1 and now - self._seen[1][0] >= RATE_OVER_S:
            self._seen.popleft()
        since, chunks = self._seen[0]
        return (self._chunks - chunks) / (now - since) if now - since >= RATE_OVER_S else None

    def _look_regularly(self) -> None:
        while True:
            gevent.sleep(LOOK_S)
            self.look(time.monotonic())
