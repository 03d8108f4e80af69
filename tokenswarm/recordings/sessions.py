"""Which requests of a file are one session. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

from tokenswarm.recordings.scan import Index


class Sessions:
    """The sessions of an index, from 0 in the order in which they begin: 16 bytes a request at most."""

    def __init__(self, index: Index) -> None:
        self._index = index
        counts = array("Q", bytes(8 * (index.session_count + 1)))
        for session in index.sessions:
            counts[session + 1] += 1
        for position in range(1, len(counts)):
            counts[position] += counts[position - 1]
        self._begins = counts
        self._places = array("Q", bytes(8 * len(index)))
        free = array("Q", counts)
        for place, session in enumerate(index.sessions):
            self._places[free[session]] = place
            free[session] += 1

    def __len__(self) -> int:
        return len(self._begins) - 1

    def places(self, session: int) -> Sequence[int]:
        """Where in the file its requests stand, in their order."""
        return self._places[self._begins[session] : self._begins[session + 1]]

    def instant_s(self, session: int) -> float:
        """When its first request was sent, as the file has it."""
        return self._index.instants_s[self._places[self._begins[session]]]

    def within(self, window: tuple[float, float] | None) -> tuple[int, int]:
        """The sessions [from, to) that begin in a window, s from the first request; all without one."""
        if window is None:
            return 0, len(self)
        begin, end = (
            bisect_left(range(len(self)), self._index.instants_s[0] + at_s, key=self.instant_s) for at_s in window
        )
        return begin, end
