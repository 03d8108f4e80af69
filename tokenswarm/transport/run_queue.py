"""Lets few users work in each turn of the event loop, so that their work never keeps the loop from its sockets.

What a user does between two answers (the row, the next request, connecting, writing) takes some hundreds of
microseconds. When many do it in one turn of the loop, two things are measured wrong. Bytes wait unread meanwhile, and
of several chunks that wait together the kernel has kept only the last one's time: at 1000 streams one TTFT in a
hundred was off by a gap between tokens. And a user that begins to connect looks at its connection only after all the
others have begun: at the start of 200 users some 30 ms, all of it in their TTFT.

Waiting for one's turn costs nothing that is measured: an answer's end has been stamped, the next clock has not started.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from gevent.event import Event

if TYPE_CHECKING:
    from gevent.hub import Hub

WOKEN_IN_A_TURN = 3
"""About 1 ms of work, less than the gap between two tokens. One at a time costs a tenth more CPU at 1000 streams: the
processor's caches are filled anew each time that reading and users' work take turns."""


class RunQueue:
    """Lets greenlets through turn by turn of the loop, in the order of their coming. One for each hub."""

    def __init__(self, loop: Any) -> None:
        self._connecting: deque[Event] = deque()
        self._sleeping: deque[Event] = deque()
        self._passed = False
        # Runs before the loop looks for events; the idle watcher makes it look at once while someone waits.
        self._turn = loop.prepare(ref=False, priority=-1)
        self._hurry = loop.idle()

    def pass_through(self) -> None:
        """Return at once when nobody has passed in this turn, else in one of the next: one in each."""
        if self._passed or self._connecting:
            turn = Event()
            self._connecting.append(turn)
            self._watch()
            turn.wait()
            return
        self._passed = True
        self._watch()

    def wake_in_turn(self, sleeper: Event) -> None:
        """Wake the greenlet that waits for `sleeper` when its turn has come; it need not wait yet."""
        self._sleeping.append(sleeper)
        self._watch()

    def _watch(self) -> None:
        if not self._turn.active:
            self._turn.start(self._let_next)
            self._hurry.start(_do_nothing)

    def _let_next(self) -> None:
        if not self._connecting and not self._sleeping:
            # Not in the turn that let the last one through: it runs in the next, which must not wait for events.
            self._passed = False
            self._turn.stop()
            self._hurry.stop()
            return
        self._passed = bool(self._connecting)
        if self._connecting:
            self._connecting.popleft().set()
        for _ in range(min(WOKEN_IN_A_TURN, len(self._sleeping))):
            self._sleeping.popleft().set()

    @classmethod
    def of(cls, hub: Hub) -> RunQueue:
        """The run_queue of a hub, made on first use."""
        found = getattr(hub, "tokenswarm_run_queue", None)
        if found is None:
            found = cls(hub.loop)
            hub.tokenswarm_run_queue = found
        assert isinstance(found, cls)
        return found


def _do_nothing() -> None:
    """What an idle watcher calls back."""
