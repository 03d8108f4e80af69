"""What the event loop knows of time: the bound on how long received bytes can have waited unseen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gevent.hub import Hub

_BLOCKED_NS = 100_000
"""A poll that took longer than this waited for data; a shorter one found data ready."""
_NOTICED_NS = 50_000
"""Two clocks looked at one after the other seem apart by this at most, but where the process was interrupted."""


class LoopClock:
    """Notes when a hub's loop starts polling and when it returns. One for each hub.

    A poll that blocked was woken by the first bytes to come, so whatever is read after it came together, just now. A
    poll that did not block found bytes that came while the loop was busy: at any time since the poll before it.
    """

    def __init__(self, loop: Any) -> None:
        self.earliest_ns = time.monotonic_ns()
        """Monotonic instant before which bytes that are read in this turn of the loop cannot have arrived."""
        self._wall_ahead_ns = wall_ahead_ns()
        self.offset_ns = self._wall_ahead_ns
        """What turns a kernel's stamp into a monotonic instant when it is taken away; 0, which makes none of it, in the
        turn in which the wall clock is seen to have been set: some stamps are from before and some from after that."""
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
        if not -_NOTICED_NS < time.time_ns() - now_ns - self.offset_ns < _NOTICED_NS:
            self._look_again()

    def _look_again(self) -> None:
        """The wall clock has been set, or the process was interrupted between its looks at the two clocks."""
        before_ns, self._wall_ahead_ns = self._wall_ahead_ns, wall_ahead_ns()
        was_set = abs(self._wall_ahead_ns - before_ns) > _NOTICED_NS
        self.offset_ns = 0 if was_set else self._wall_ahead_ns

    @classmethod
    def of(cls, hub: Hub) -> LoopClock:
        """The clock of a hub, made on first use."""
        clock = getattr(hub, "tokenswarm_clock", None)
        if clock is None:
            clock = cls(hub.loop)
            hub.tokenswarm_clock = clock
        assert isinstance(clock, cls)
        return clock


def wall_ahead_ns() -> int:
    """The wall clock's instant less the monotonic one, ns: the same until the wall clock is set. Of some looks the one
    that was least interrupted."""
    looks = [(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(5)]
    began, wall, ended = min(looks, key=lambda look: look[2] - look[0])
    return wall - (began + ended) // 2
