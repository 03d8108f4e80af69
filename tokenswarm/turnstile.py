"""Lets users begin to connect one by one, so that none waits within its own measured time for all the others' work.

Connecting is: start the clock, ask for the connection, sleep until it is there, write. When many users begin in one
turn of the event loop (the start of a run), the first one's connection is there long before it is looked at, for the
others begin first: some 30 ms for 200 users, all of it in their TTFT. One beginning for each turn of the loop keeps
that out of the measurement; it costs a turn of the loop, some tens of microseconds, before the clock starts.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from gevent.event import Event


class Turnstile:
    """Lets one greenlet through for each turn of the loop, in the order of their coming. One for each hub."""

    def __init__(self, loop: Any) -> None:
        self._waiting: deque[Event] = deque()
        self._passed = False
        # Runs before the loop looks for events; the idle watcher makes it look at once while someone waits.
        self._turn = loop.prepare(ref=False, priority=-1)
        self._turn.start(self._let_next)
        self._hurry = loop.idle()

    def pass_through(self) -> None:
        """Return at once when nobody has passed in this turn, else in one of the next."""
        if not self._passed and not self._waiting:
            self._passed = True
            return
        turn = Event()
        self._waiting.append(turn)
        if not self._hurry.active:
            self._hurry.start(_do_nothing)
        turn.wait()

    def _let_next(self) -> None:
        self._passed = bool(self._waiting)
        if self._waiting:
            self._waiting.popleft().set()
        elif self._hurry.active:
            self._hurry.stop()

    @classmethod
    def of(cls, hub: Any) -> Turnstile:
        """The turnstile of a hub, made on first use."""
        found = getattr(hub, "tokenswarm_turnstile", None)
        if found is None:
            found = cls(hub.loop)
            hub.tokenswarm_turnstile = found
        assert isinstance(found, cls)
        return found


def _do_nothing() -> None:
    """What an idle watcher calls back."""
