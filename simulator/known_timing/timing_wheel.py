"""A timing wheel: what is due when, for many items that are each put back soon. Pure: the caller has the clock.

Putting and taking are a list append and a list walk, where a heap would compare; at 46,000 items a second that is
the difference between a core with room and a full one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Due(Protocol):
    """Something with an instant (s, on the caller's clock) before which it must not be handed out."""

    due: float


Item = TypeVar("Item", bound=Due)


class TimingWheel(Generic[Item]):
    """Items by the tick in which they fall due. An item comes out at or after its `due`, at most one tick late."""

    def __init__(self, now: float, tick_s: float = 1e-4, slots: int = 8192) -> None:
        self.tick_s = tick_s
        self.items = 0
        self._origin = now
        self._per_second = 1.0 / tick_s
        self._size = slots
        self._slots: list[list[Item]] = [[] for _ in range(slots)]
        self._cursor = 0  # the last tick that was handed out

    def put(self, item: Item) -> None:
        """Keep `item` until its `due`; one that is due already comes out with the next tick."""
        # Rounded up: an item must never come early.
        tick = int((item.due - self._origin) * self._per_second) + 1
        if tick <= self._cursor:
            tick = self._cursor + 1
        elif tick - self._cursor >= self._size:
            tick = self._cursor + self._size - 1  # beyond the horizon: looked at again there
        self._slots[tick % self._size].append(item)
        self.items += 1

    def take(self, now: float) -> Iterator[Item]:
        """Hand out what is due at `now`, in order of ticks. Items may be put while this runs."""
        last = int((now - self._origin) * self._per_second)
        while self._cursor < last:
            if not self.items:
                self._cursor = last
                return
            self._cursor += 1
            slot = self._slots[self._cursor % self._size]
            if slot:
                self._slots[self._cursor % self._size] = []
                yield from self._ripe(slot)

    def _ripe(self, slot: list[Item]) -> Iterator[Item]:
        self.items -= len(slot)
        horizon = self._origin + self._cursor * self.tick_s
        for item in slot:
            if item.due > horizon:
                self.put(item)
            else:
                yield item

    def wait_s(self, now: float, longest: float) -> float:
        """Seconds from `now` until the next item may come out, at most `longest`."""
        if not self.items:
            return longest
        until = int((now + longest - self._origin) * self._per_second)
        for tick in range(self._cursor + 1, min(until, self._cursor + self._size) + 1):
            if self._slots[tick % self._size]:
                return max(0.0, self._origin + tick * self.tick_s - now)
        return longest
