"""The threads of a thread group: who is which one, when it starts, and when all have done their loops. No clock."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from tokenswarm.workload.stages import ThreadGroup

LEAD_S = 3.0
"""A thread's user is there so long before its start; a group with a shorter delay begins so much later."""

PARKED_S = 1e8
"""A thread that has done its loops waits this long. Its user must stay: Locust would start another in its place."""


@dataclass(slots=True)
class Thread:
    """One thread: starts at Unix s `start_at`, begins no loop from `ends_at` on, ends after `loops` (-1: never)."""

    start_at: float
    ends_at: float
    loops: int
    done: int = -1
    """Loops done; -1 before the start."""
    parked: bool = False

    def pause_s(self, think_s: float, now: float) -> float:
        """Seconds until the next loop: at first to the exact start, then `think_s`, at last for ever."""
        self.done += 1
        pause_s = max(0.0, self.start_at - now) if self.done == 0 else think_s
        if self.done == self.loops or now + pause_s >= self.ends_at:
            self.parked = True
            return PARKED_S
        return pause_s


class Threads:
    """The threads of one group that begins at Unix s `begins_at`, given out in the order they are asked for."""

    def __init__(self, group: ThreadGroup, begins_at: float) -> None:
        self.group = group
        self.begins_at = begins_at
        self._taken: Counter[str] = Counter()
        self._parked: Counter[str] = Counter()

    def take(self, client: str) -> Thread:
        """The next thread, for a user of process `client`. One that replaces a lost user starts at once."""
        number = min(self._taken.total(), self.group.threads - 1)
        self._taken[client] += 1
        ends_at = self.begins_at + self.group.duration_s
        return Thread(self.begins_at + self.group.start_instant(number), ends_at, self.group.loops)

    def park(self, client: str) -> bool:
        """A thread of this process has done its loops; `False` where it has none that could."""
        if self._parked[client] >= self._taken[client]:
            return False
        self._parked[client] += 1
        return True

    def users(self, now: float, lead_s: float) -> int | None:
        """Threads that start until `lead_s` from now; `None` when the group is over."""
        if now - self.begins_at >= self.group.duration_s:
            return None
        last = math.nextafter(self.group.duration_s, 0)
        return self.group.users(min(now - self.begins_at + lead_s, last))

    def over(self, alive: Collection[str]) -> bool:
        """Whether every thread has done its loops, or was lost with its process."""
        if self._taken.total() < self.group.threads:
            return False
        return all(self._parked[client] >= taken for client, taken in self._taken.items() if client in alive)
