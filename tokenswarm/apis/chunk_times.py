"""When the chunks with tokens of one answer arrived, and what follows from it. No clock of its own."""

from __future__ import annotations

from array import array
from operator import sub
from typing import Any

from tokenswarm.record import tbt_ms

TOGETHER_MS = 2.0
"""Chunks of one read are taken to have arrived together when the read leaves no more doubt than this (ms)."""

FEW = 5
"""So many chunks within `TOGETHER_MS`, over several reads too, are one piece: no model writes that fast."""

MANY = 20
"""So many tokens in the only chunk of an answer are no burst of a stream, but the answer."""
CHARACTERS = 4
"""A token of plain text has about so many, where nobody counts tokens."""


class ChunkTimes:
    """Arrival times of chunks, ms since the request's start, in order."""

    __slots__ = ("_in_first_read", "at_ms", "interpolated", "latest_first_ms")

    def __init__(self) -> None:
        self.at_ms = array("d")
        self.interpolated = 0
        self.latest_first_ms = 0.0
        self._in_first_read = 0

    def add(self, count: int, at_ms: float, since_ms: float) -> None:
        """`count` chunks came in one read, the last at `at_ms`, none before `since_ms`.

        One chunk has the time of its read. Several that can only have come within `TOGETHER_MS` were sent together
        and share it. Otherwise the reader was late, their own times are lost, and they are spread evenly over the
        time in which they can have come: counted in `interpolated`, so that a row says so.
        """
        times = self.at_ms
        if count == 1:
            times.append(at_ms)
            self.latest_first_ms = at_ms
            return
        if not times:
            self._in_first_read = count
        elif since_ms < times[-1]:
            since_ms = times[-1]
        span = at_ms - since_ms
        if span <= TOGETHER_MS:
            times.extend([at_ms] * count)
            self.latest_first_ms = at_ms
        else:
            self.latest_first_ms = since_ms + span / count
            times.extend(since_ms + span * (i + 1) / count for i in range(count))
            self.interpolated += count

    @property
    def in_one_piece(self) -> bool:
        """Whether several chunks came at once and none apart, so that nothing is known of the time between them."""
        times = self.at_ms
        if len(times) < 2:
            return False
        return len(times) == self._in_first_read or (len(times) >= FEW and times[-1] - times[0] <= TOGETHER_MS)

    def buffered(self, tokens: int | None = None) -> bool:
        """Whether that is how they were sent, and not the reader's being late. `tokens`: what the chunks hold, where it
        is known and is text: a single chunk may be a token or the whole answer."""
        if len(self.at_ms) == 1:
            return tokens is not None and tokens >= MANY
        return self.in_one_piece and self.interpolated == 0

    @property
    def first_ms(self) -> float | None:
        return self.at_ms[0] if self.at_ms else None

    @property
    def last_ms(self) -> float | None:
        return self.at_ms[-1] if self.at_ms else None

    def gaps(self) -> tuple[float | None, float | None]:
        """(longest, 95th percentile by linear interpolation) of the gaps between chunks, ms; `None` below 2 chunks."""
        times = self.at_ms
        if len(times) < 2:
            return None, None
        gaps = sorted(map(sub, times[1:], times))
        position = 0.95 * (len(gaps) - 1)
        low = int(position)
        high = min(low + 1, len(gaps) - 1)
        return gaps[-1], gaps[low] + (gaps[high] - gaps[low]) * (position - low)

    def columns(self, streamed_tokens: int | None = None) -> dict[str, Any]:
        """The record's stream columns; none when no token came. `streamed_tokens`: how many tokens the chunks held,
        where the service says so: without them there is no time between tokens."""
        times = self.at_ms
        if not times:
            return {}
        together = self.in_one_piece
        longest, p95 = (None, None) if together else self.gaps()
        return {
            "ttft_ms": times[0],
            "last_token_ms": times[-1],
            "chunks": len(times),
            "chunks_interpolated": self.interpolated,
            "gap_max_ms": longest,
            "gap_p95_ms": p95,
            "tbt_ms": None if together else tbt_ms(times[0], times[-1], len(times), streamed_tokens),
        }
