"""Failure criteria while the run is on: each with the value it has so far, without looking at old records again.

The arithmetic is that of `criteria.evaluate`; here are only its facts over [start + warm-up, now], counted as records
come. Percentiles are within 0.5 %. The verdict itself is taken once, at the end, from every record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tokenswarm.metrics.criteria import Criterion, CriterionResult, evaluate
from tokenswarm.metrics.goodput import Goodput
from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.samples import COUNTED, POPULATIONS, Minute, Samples, TimeSpan, kind_of
from tokenswarm.record import RequestRecord, TokenSource

_FIELDS = {
    "ttft": "ttft_ms",
    "tbt": "tbt_ms",
    "e2e": "e2e_ms",
    "first_byte": "first_byte_ms",
    "progress": "first_progress_ms",
    "lag": "lag_ms",
    "session": "session_duration_s",
}


class LiveSpread(Histogram):
    """A histogram that knows its exact extremes."""

    __slots__ = ("largest", "smallest")

    def __init__(self) -> None:
        super().__init__()
        self.smallest: float | None = None
        self.largest: float | None = None

    def add(self, value: float) -> None:
        super().add(value)
        self.smallest = value if self.smallest is None else min(self.smallest, value)
        self.largest = value if self.largest is None else max(self.largest, value)


class _Tally:
    """Records of one name since the window began, by kind; and those that ended since then."""

    __slots__ = ("ended", "started", "tokens", "with_tokens")

    def __init__(self) -> None:
        self.started: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self.tokens = 0
        self.with_tokens = 0


class CriteriaSoFar:
    """The criteria of one run whose window begins at Unix s `begin`."""

    def __init__(self, criteria: Sequence[Criterion], begin: float, goodput: Goodput | None = None) -> None:
        self.goodput = goodput
        self._criteria = criteria
        self._begin = begin
        self._names: dict[str, None] = {}
        self._tallies = {criterion.name: _Tally() for criterion in criteria}
        spread = [criterion for criterion in criteria if criterion.metric in POPULATIONS]
        self._spreads = {(criterion.metric, criterion.name): LiveSpread() for criterion in spread}
        self._samples = Samples()

    def add(self, record: RequestRecord) -> None:
        """Take in one record."""
        at, ended = record.placed_at, record.ended_at
        if at is None or ended is None:
            return
        self._names[record.name] = None
        kind = kind_of(record, self.goodput)
        for name in (None, record.name):
            if (tally := self._tallies.get(name)) is not None:
                self._count(tally, record, kind, at, ended)
        if at >= self._begin:
            self._spread(record, kind)

    def read(self, until: float, samples: Samples) -> list[CriterionResult]:
        """Each criterion as of Unix s `until`. `samples` give the clock minutes that min and max of rates are of."""
        self._samples = samples
        return evaluate(self._criteria, self, (self._begin, until))

    @property
    def names(self) -> list[str]:
        return list(self._names)

    def spread(
        self, metric: str, name: str | None, window: TimeSpan | None, further: Sequence[float] = ()
    ) -> LiveSpread:
        return self._spreads[metric, name]

    def whole_ms(self, metric: str, name: str | None, window: TimeSpan | None) -> Sequence[float]:
        """None besides those that `spread` has taken in."""
        return ()

    def unfinished_s(self, name: str | None, window: TimeSpan | None) -> Sequence[float]:
        """None while the run is on: they go on."""
        return ()

    def count(self, what: str, name: str | None, window: TimeSpan | None, *, by_end: bool = False) -> int:
        tally, kinds = self._tallies[name], COUNTED[what]
        return sum(n for kind, n in (tally.ended if by_end else tally.started).items() if kind & kinds)

    def total(self, quantity: str, name: str | None, window: TimeSpan | None) -> float:
        if quantity == "tokens":
            return float(self._tallies[name].tokens)
        what, by_end = ("ok", True) if quantity == "completed" else ("sent", False)
        return float(self.count(what, name, window, by_end=by_end))

    def with_tokens(self, name: str | None, window: TimeSpan | None) -> int:
        return self._tallies[name].with_tokens

    def full_minutes(self, window: TimeSpan, name: str | None) -> list[Minute]:
        return self._samples.full_minutes(window, name)

    def span(self) -> TimeSpan | None:
        return self._samples.span()

    def _count(self, tally: _Tally, record: RequestRecord, kind: int, at: float, ended: float) -> None:
        if at >= self._begin:
            tally.started[kind] += 1
        if ended < self._begin:
            return
        tally.ended[kind] += 1
        if kind & COUNTED["sent"] and record.token_source is TokenSource.USAGE and record.total_tokens is not None:
            tally.with_tokens += 1
            tally.tokens += record.total_tokens

    def _spread(self, record: RequestRecord, kind: int) -> None:
        for (metric, name), spread in self._spreads.items():
            population = POPULATIONS[metric]
            if not kind & population.kinds or name not in (None, record.name):
                continue
            is_late = population.column == "ttft" and kind & COUNTED["whole"]
            value = record.e2e_ms if is_late else getattr(record, _FIELDS[population.column])
            if value is not None:
                spread.add(value + (record.lag_ms or 0.0) if population.from_due else value)
