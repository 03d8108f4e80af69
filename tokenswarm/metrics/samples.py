"""What a run's figures are computed from: every record, kept as columns of numbers.

A record costs about 90 bytes and a few microseconds, so that a master can keep a whole run and be asked for live
figures. Windows are closed intervals [from, to] of Unix seconds. A sent request lies where it was *started*, a
dropped arrival where it was due; what is counted by its end (completed requests, tokens, live figures) says so.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from tokenswarm.metrics.goodput import Goodput
from tokenswarm.metrics.open_sessions import OpenSession, RunEnd, unfinished_s
from tokenswarm.record import RIGHT, Doubt, Outcome, RequestRecord, TokenSource

TimeSpan = tuple[float, float]

SETTLE_SHARE = 0.1
"""Of a planned level, its beginning is left out: users that begin and queues that grow belong to no level."""

_OK, _THROTTLED, _FAILED, _CANCELLED, _DROPPED, _FIRST, _GOOD, _ABORTED, _RIGHT, _WRONG, _WHOLE = (
    1 << bit for bit in range(11)
)
_SENT = _OK | _THROTTLED | _FAILED | _CANCELLED | _ABORTED
_KIND_OF = {
    Outcome.OK: _OK,
    Outcome.THROTTLED: _THROTTLED,
    Outcome.CANCELLED: _CANCELLED,
    Outcome.ABORTED: _ABORTED,
    Outcome.DROPPED: _DROPPED,
}
COUNTED = {
    "sent": _SENT,
    "ok": _OK,
    "throttled": _THROTTLED,
    "failed": _FAILED,
    "cancelled": _CANCELLED,
    "aborted": _ABORTED,
    "dropped": _DROPPED,
    "goodput": _GOOD,
    "wrong": _WRONG,
    "judged": _RIGHT | _WRONG,
    "offered": _FIRST | _DROPPED,
    "whole": _WHOLE,
}
"""What `count` counts, as bits of a record's kind (see `kind_of`)."""
_BLOCK = 4096
_NAN = math.nan


class Population(NamedTuple):
    """Which figure of which kinds of records."""

    column: str
    kinds: int
    from_due: bool = False


POPULATIONS = {
    "ttft_ms": Population("ttft", _OK),
    "first_progress_ms": Population("progress", _OK),
    "tbt_ms": Population("tbt", _OK),
    "e2e_ms": Population("e2e", _OK),
    "ttft_from_due_ms": Population("ttft", _OK, from_due=True),
    "e2e_from_due_ms": Population("e2e", _OK, from_due=True),
    "response_time_ms": Population("e2e", _SENT & ~_ABORTED),
    "latency": Population("first_byte", _SENT),
    "lag_ms": Population("lag", _SENT),
    "session_s": Population("session", _OK),
}
"""Metrics with a distribution: which figure of which requests. From the service's metrics, `response_time_ms` and
`latency` take in failed and throttled requests; ours are of answered ones. When a user left is no response time."""


class Minute(NamedTuple):
    """What belongs to one clock minute (UTC)."""

    offered: int
    started: int
    completed: int
    tokens: int
    estimated_tokens: int


QUANTITIES = Minute._fields
_OFFERED, _STARTED, _COMPLETED, _TOKENS, _ESTIMATED = range(len(QUANTITIES))


def percentile(values: Sequence[float], p: float) -> float | None:
    """Percentile `p` (0 to 100) by linear interpolation between order statistics; `None` without values.

    The method is NumPy's default (Hyndman and Fan's type 7), to the last bit.
    """
    if not values:
        return None
    ordered = sorted(values)
    position = (len(ordered) - 1) * (p / 100)
    below = math.floor(position)
    share = position - below
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    # From the nearer end, as NumPy does: equal neighbours give exactly their value.
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)


def needed(p: float) -> int:
    """How many values a percentile (above 0, below 100) needs before one of them is expected beyond it, on its side."""
    return math.ceil(round(100 / min(p, 100 - p), 6))


def carries(n: int, p: float) -> bool:
    """Whether `n` values say anything about percentile `p`: p95 and p05 from 20 values on, p99 and p01 from 100."""
    return n >= needed(p)


def kind_of(record: RequestRecord, goodput: Goodput | None = None) -> int:
    """What a record counts as, in bits."""
    kind = _KIND_OF.get(record.outcome, _FAILED)
    if record.is_arrival:
        kind |= _FIRST
    if goodput is not None and goodput.met(record):
        kind |= _GOOD
    if record.answer_check is not None:
        kind |= _RIGHT if record.answer_check == RIGHT else _WRONG
    if record.doubts and kind & _OK and Doubt.WHOLE in record.doubts:
        kind |= _WHOLE
    return kind


class Spread(Protocol):
    """How the values of one metric are spread; everything is `None` without values."""

    @property
    def n(self) -> int:
        """How many there are."""

    @property
    def mean(self) -> float | None:
        """Their mean."""

    @property
    def smallest(self) -> float | None:
        """The least of them."""

    @property
    def largest(self) -> float | None:
        """The greatest of them."""

    def percentile(self, p: float) -> float | None:
        """Percentile `p`; `None` where `n` values do not carry it."""


class ExactSpread:
    """From the values themselves."""

    def __init__(self, values: Sequence[float]) -> None:
        self._values = values
        self.n = len(values)

    @property
    def mean(self) -> float | None:
        return math.fsum(self._values) / self.n if self.n else None

    @property
    def smallest(self) -> float | None:
        return min(self._values, default=None)

    @property
    def largest(self) -> float | None:
        return max(self._values, default=None)

    def percentile(self, p: float) -> float | None:
        return percentile(self._values, p) if carries(self.n, p) else None


class Samples:
    """Accumulates records; answers for any window, request name and metric afterwards or while it grows."""

    def __init__(self, goodput: Goodput | None = None) -> None:
        self.goodput = goodput
        self.run_end: RunEnd | None = None
        """`None` while the run is on."""
        self._names: dict[str, int] = {}
        self._kind = array("H")
        self._name = array("L")
        self._at = array("d")
        self._ended = array("d")
        self._columns = {
            column: array("d")
            for column in ("ttft", "tbt", "e2e", "lag", "first_byte", "progress", "tokens", "session")
        }
        self._estimated = array("d")
        # Bound once: add() is called for every record of a run.
        self._append = [column.append for column in self._columns.values()]
        self._kind_counts: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
        self._minutes: defaultdict[int, defaultdict[int, list[int]]] = defaultdict(
            lambda: defaultdict(lambda: [0] * len(QUANTITIES))
        )
        self._block_spans: list[tuple[float, float]] = []
        self._open_sessions: dict[str, OpenSession] = {}

    @classmethod
    def from_records(cls, records: Iterable[RequestRecord], goodput: Goodput | None = None) -> Samples:
        """All `records`, accumulated."""
        samples = cls(goodput)
        for record in records:
            samples.add(record)
        return samples

    def __len__(self) -> int:
        return len(self._kind)

    @property
    def names(self) -> list[str]:
        """Request names seen, in the order they appeared."""
        return list(self._names)

    def add(self, record: RequestRecord) -> None:
        """Take in one record. One without any instant (neither started nor scheduled) cannot be placed: ValueError."""
        at, ended = record.placed_at, record.ended_at
        if at is None or ended is None:
            raise ValueError(f"record {record.call_id}: expected started_at or scheduled_at, both are absent")
        kind = kind_of(record, self.goodput)
        name = self._names.setdefault(record.name, len(self._names))
        e2e_ms, lag_ms = record.e2e_ms, record.lag_ms
        tokens = record.total_tokens if record.token_source is TokenSource.USAGE else None
        estimated = None if kind & _DROPPED else record.estimated_tokens
        session_s = record.session_duration_s
        first_ms, progress_ms = record.first_byte_ms, record.first_progress_ms
        figures = (record.ttft_ms, record.tbt_ms, e2e_ms, lag_ms, first_ms, progress_ms, tokens, session_s)
        for append, figure in zip(self._append, figures, strict=True):
            append(_NAN if figure is None else figure)
        self._estimated.append(_NAN if estimated is None else estimated)
        self._at.append(at)
        self._ended.append(ended)
        self._name.append(name)
        self._kind.append(kind)
        self._kind_counts[name][kind] += 1
        self._tally(name, kind, at, ended, lag_ms, tokens, estimated)
        if record.step is not None and kind & _SENT:
            self._follow_session(record, at)

    def values(
        self, metric: str, name: str | None = None, window: TimeSpan | None = None, *, by_end: bool = False
    ) -> list[float]:
        """Values of a metric of `POPULATIONS`, in its unit, of requests started (`by_end`: ended) within `window`."""
        population = POPULATIONS[metric]
        column, lag = self._columns[population.column], self._columns["lag"]
        rows = self._rows(population.kinds, name, window, self._ended if by_end else self._at)
        present = ((row, column[row]) for row in rows if column[row] == column[row])
        if not population.from_due:
            return [value for _, value in present]
        return [value + lag[row] if lag[row] == lag[row] else value for row, value in present]

    def spread(
        self, metric: str, name: str | None = None, window: TimeSpan | None = None, further: Sequence[float] = ()
    ) -> Spread:
        """How the values of a metric, and `further` ones, are spread, exactly."""
        return ExactSpread([*self.values(metric, name, window), *further])

    def whole_ms(self, metric: str, name: str | None = None, window: TimeSpan | None = None) -> list[float]:
        """E2E, in place of a TTFT `metric`, of each answer that came whole though a stream was asked for."""
        column, lag = self._columns["e2e"], self._columns["lag"] if POPULATIONS[metric].from_due else None
        rows = self._rows(_WHOLE, name, window, self._at)
        return [column[row] + (0.0 if lag is None or lag[row] != lag[row] else lag[row]) for row in rows]

    def unfinished_s(self, name: str | None = None, window: TimeSpan | None = None) -> list[float]:
        """s that each session without an end in the window has taken at least (`OpenSession.lasted_s`)."""
        return unfinished_s(self.open_sessions(), name, window, self.run_end)

    def open_sessions(self) -> Iterable[OpenSession]:
        """Sessions that no record ends."""
        return self._open_sessions.values()

    def count(self, what: str, name: str | None = None, window: TimeSpan | None = None, *, by_end: bool = False) -> int:
        """Number of records: sent, ok, throttled, failed, cancelled, aborted, dropped, goodput, judged, wrong, or
        offered.

        Offered are first attempts and dropped arrivals, started or due in `window`; retries offer nothing new.
        """
        kinds = COUNTED[what]
        if window is None:
            return sum(n for kind, n in self._counts_by_kind(name) if kind & kinds)
        return sum(1 for _ in self._rows(kinds, name, window, self._ended if by_end else self._at))

    def per_minute(self, name: str | None = None) -> dict[int, Minute]:
        """Clock minutes (their start, Unix s) to what belongs to them; a minute in which nothing happened is absent."""
        totals: defaultdict[int, list[int]] = defaultdict(lambda: [0] * len(QUANTITIES))
        for key in self._name_ids(name):
            for minute, tally in self._minutes[key].items():
                totals[minute] = [a + b for a, b in zip(totals[minute], tally, strict=True)]
        return {minute * 60: Minute(*totals[minute]) for minute in sorted(totals)}

    def full_minutes(self, window: TimeSpan, name: str | None = None) -> list[Minute]:
        """The clock minutes that lie wholly inside `window`, empty ones included as zeros."""
        minutes = self.per_minute(name)
        first, last = math.ceil(window[0] / 60), math.floor(window[1] / 60)
        return [minutes.get(minute * 60, Minute(0, 0, 0, 0, 0)) for minute in range(first, last)]

    def total(self, quantity: str, name: str | None = None, window: TimeSpan | None = None) -> float:
        """Sum of a quantity of `QUANTITIES` within `window`, each by its instant.

        Offered: due; started and estimated tokens: started; completed and tokens: ended.
        """
        if quantity == "offered":
            return float(sum(1 for _ in self._offered_within(name, window)))
        if quantity == "started":
            return float(self.count("sent", name, window))
        if quantity == "completed":
            return float(self.count("ok", name, window, by_end=True))
        if quantity == "tokens":
            return _sum_present(self._columns["tokens"], self._rows(_SENT, name, window, self._ended))
        return _sum_present(self._estimated, self._rows(_SENT, name, window, self._at))

    def with_tokens(self, name: str | None = None, window: TimeSpan | None = None) -> int:
        """Requests ended within `window` whose token counts the service reported."""
        tokens = self._columns["tokens"]
        return sum(1 for row in self._rows(_SENT, name, window, self._ended) if tokens[row] == tokens[row])

    def span(self) -> TimeSpan | None:
        """From the first start or due instant to the last end, Unix s; `None` without records."""
        return (min(self._at), max(self._ended)) if self._at else None

    def _follow_session(self, record: RequestRecord, at: float) -> None:
        session = record.session_id or ""
        if record.session_end is not None:
            self._open_sessions.pop(session, None)
            return
        due_at = record.due_at if record.scheduled_at is None else record.scheduled_at
        found = OpenSession(due_at or at, record.session_s or 0.0, at, record.name, record.worker)
        known = self._open_sessions.get(session, found)
        last = found if found.since_s >= known.since_s else known
        self._open_sessions[session] = last._replace(due_at=min(found.due_at, known.due_at))

    def _tally(
        self,
        name: int,
        kind: int,
        at: float,
        ended: float,
        lag_ms: float | None,
        tokens: int | None,
        estimated: int | None,
    ) -> None:
        minutes = self._minutes[name]
        if kind & (_FIRST | _DROPPED):
            due = at if kind & _DROPPED or lag_ms is None else at - lag_ms / 1000.0
            minutes[int(due // 60)][_OFFERED] += 1
        if kind & _DROPPED:
            return
        started_in = minutes[int(at // 60)]
        started_in[_STARTED] += 1
        if estimated is not None:
            started_in[_ESTIMATED] += estimated
        if kind & _OK:
            minutes[int(ended // 60)][_COMPLETED] += 1
        if tokens is not None:
            minutes[int(ended // 60)][_TOKENS] += tokens

    def _rows(self, kinds: int, name: str | None, window: TimeSpan | None, instants: array[float]) -> Iterator[int]:
        """Row numbers of these kinds and this name whose instant lies in the window; blocks outside are skipped."""
        if name is not None and name not in self._names:
            return
        wanted = None if name is None else self._names[name]
        low, high = window if window is not None else (-math.inf, math.inf)
        for begin, end in self._blocks(low, high):
            # A list per block: three times as fast as a test per row, and never more than a block of memory.
            part = zip(
                range(begin, end), self._kind[begin:end], instants[begin:end], self._name[begin:end], strict=True
            )
            yield from [
                row
                for row, kind, instant, who in part
                if kind & kinds and low <= instant <= high and (wanted is None or who == wanted)
            ]

    def _blocks(self, low: float, high: float) -> Iterator[tuple[int, int]]:
        self._close_blocks()
        for block, (first, last) in enumerate(self._block_spans):
            if first <= high and last >= low:
                yield block * _BLOCK, (block + 1) * _BLOCK
        yield len(self._block_spans) * _BLOCK, len(self._kind)

    def _close_blocks(self) -> None:
        """Note the earliest start and the latest end of every block that is full by now."""
        while (len(self._block_spans) + 1) * _BLOCK <= len(self._kind):
            begin = len(self._block_spans) * _BLOCK
            part = slice(begin, begin + _BLOCK)
            self._block_spans.append((min(self._at[part]), max(max(self._at[part]), max(self._ended[part]))))

    def _offered_within(self, name: str | None, window: TimeSpan | None) -> Iterator[int]:
        low, high = window if window is not None else (-math.inf, math.inf)
        lag = self._columns["lag"]
        for row in self._rows(_FIRST | _DROPPED, name, None, self._at):
            late = 0.0 if self._kind[row] & _DROPPED or lag[row] != lag[row] else lag[row] / 1000.0
            if low <= self._at[row] - late <= high:
                yield row

    def _name_ids(self, name: str | None) -> list[int]:
        if name is None:
            return list(self._names.values())
        return [self._names[name]] if name in self._names else []

    def _counts_by_kind(self, name: str | None) -> Iterator[tuple[int, int]]:
        for key in self._name_ids(name):
            yield from self._kind_counts[key].items()


def _sum_present(column: array[float], rows: Iterable[int]) -> float:
    return math.fsum(column[row] for row in rows if column[row] == column[row])
