"""What the event loop knows of time: the bound on how long received bytes can have waited unseen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gevent.hub import Hub

_BLOCKED_NS = 100_000
"""A poll that took longer than this waited for data; a shorter one found data ready."""


class LoopClock:
    """Notes when a hub's loop starts polling and when it returns. One for each hub.

    A poll that blocked was woken by the first bytes to come, so whatever is read after it came together, just now. A
    poll that did not block found bytes that came while the loop was busy: at any time since the poll before it.
    """

    def __init__(self, loop: Any) -> None:
        self.earliest_ns = time.monotonic_ns()
        """Monotonic instant before which bytes that are read in this turn of the loop cannot have arrived."""
        self._started_ns = self.earliest_ns
        self._returned_ns = self.earliest_ns
        # Last before the poll, after the greenlets that run then; first after it.
        self._before = loop.prepare(ref=False, priority=-2)
        self._after = loop.check(ref=False, priority=2)
        self._before.start(self._note_start)
        self._after.start(self._note_return)

    def _note_start(self) -> None:
        self._started_ns = time.monotonic_ns()

    def _note_return(self) -> None:
        now_ns = time.monotonic_ns()
        blocked = now_ns - self._started_ns > _BLOCKED_NS
        self.earliest_ns = now_ns if blocked else self._returned_ns
        self._returned_ns = now_ns

    @classmethod
    def of(cls, hub: Hub) -> LoopClock:
        """The clock of a hub, made on first use."""
        clock = getattr(hub, "tokenswarm_clock", None)
        if clock is None:
            clock = cls(hub.loop)
            hub.tokenswarm_clock = clock
        assert isinstance(clock, cls)
        return clock
