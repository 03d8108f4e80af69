"""Failure criteria while the run is on: each with the value it has so far, without looking at old records again.

The same definitions as `criteria.evaluate` over [start + warm-up, now]; percentiles are within 0.5 %. The verdict
itself is taken once, at the end, from every record. No clock, no socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenswarm.metrics.criteria import Criterion, CriterionResult, percentile_of
from tokenswarm.metrics.goodput import Goodput
from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.samples import Samples, carries
from tokenswarm.record import NOT_FAILED, Outcome, RequestRecord, TokenSource


@dataclass(slots=True)
class _Counts:
    """Records started (dropped ones: due) since the window began; the last two by their end."""

    sent: int = 0
    failed: int = 0
    throttled: int = 0
    cancelled: int = 0
    dropped: int = 0
    good: int = 0
    first: int = 0
    completed: int = 0
    tokens: int = 0
    counted: int = 0

    @property
    def settled(self) -> int:
        return self.sent - self.cancelled


class Gauges:
    """The criteria of one run whose window begins at Unix s `begin`."""

    def __init__(self, criteria: Sequence[Criterion], begin: float, goodput: Goodput | None = None) -> None:
        self._gauges = [_Gauge(criterion, begin, goodput) for criterion in criteria]

    def add(self, record: RequestRecord) -> None:
        """Take in one record."""
        for gauge in self._gauges:
            if gauge.name is None or gauge.name == record.name:
                gauge.add(record)

    def read(self, until: float, samples: Samples) -> list[CriterionResult]:
        """Each criterion as of Unix s `until`. `samples` give the clock minutes that min and max of rates are of."""
        return [gauge.read(until, samples) for gauge in self._gauges]


class _Gauge:
    """One criterion, and what it has seen."""

    def __init__(self, criterion: Criterion, begin: float, goodput: Goodput | None) -> None:
        self.name = criterion.name
        self._criterion = criterion
        self._begin = begin
        self._goodput = goodput if criterion.metric == "goodput" else None
        self._counts = _Counts()
        self._histogram = Histogram()
        self._smallest: float | None = None
        self._largest: float | None = None

    def add(self, record: RequestRecord) -> None:
        dropped = record.outcome is Outcome.DROPPED
        at = record.scheduled_at if dropped else record.started_at
        if at is None:
            at = record.started_at if dropped else record.scheduled_at
        if at is None:
            return
        self._count_end(record, at)
        if at < self._begin:
            return
        self._count_start(record)
        value = _value(self._criterion.metric, record)
        if value is not None:
            self._histogram.add(value)
            self._smallest = value if self._smallest is None else min(self._smallest, value)
            self._largest = value if self._largest is None else max(self._largest, value)

    def read(self, until: float, samples: Samples) -> CriterionResult:
        criterion = self._criterion
        value, n, note = self._figure(until, samples)
        if value is None:
            return CriterionResult(criterion, "no_data", None, n, note)
        return CriterionResult(criterion, "failed" if criterion.is_true(value) else "held", value, n, note)

    def _count_start(self, record: RequestRecord) -> None:
        counts = self._counts
        if record.outcome is Outcome.DROPPED:
            counts.dropped += 1
            return
        counts.sent += 1
        counts.first += record.attempt == 1
        counts.failed += record.outcome not in NOT_FAILED
        counts.throttled += record.outcome is Outcome.THROTTLED
        counts.cancelled += record.outcome is Outcome.CANCELLED
        counts.good += self._goodput is not None and self._goodput.met(record)

    def _count_end(self, record: RequestRecord, at: float) -> None:
        if at + (record.e2e_ms or 0.0) / 1000.0 < self._begin or record.outcome is Outcome.DROPPED:
            return
        self._counts.completed += record.outcome is Outcome.OK
        if record.token_source is TokenSource.USAGE and record.total_tokens is not None:
            self._counts.counted += 1
            self._counts.tokens += record.total_tokens

    def _figure(self, until: float, samples: Samples) -> tuple[float | None, int, str]:
        metric = self._criterion.metric
        if metric in ("tpm", "rpm", "requests_per_sec"):
            return self._rate(until, samples)
        if metric in _SHARES:
            return self._share()
        return self._distribution()

    def _distribution(self) -> tuple[float | None, int, str]:
        aggregation, n = self._criterion.aggregation, self._histogram.n
        p = percentile_of(aggregation)
        if p is None:
            return {"avg": self._histogram.mean, "min": self._smallest, "max": self._largest}[aggregation], n, ""
        if n and not carries(n, p):
            above = self._criterion.operator == ">"
            note = f"too few values for {aggregation}: the {'largest' if above else 'smallest'} is shown"
            return self._largest if above else self._smallest, n, note
        return self._histogram.percentile(p), n, ""

    def _share(self) -> tuple[float | None, int, str]:
        counts, metric = self._counts, self._criterion.metric
        if metric == "goodput" and self._goodput is None:
            return None, 0, "no data: the option goodput says no limits"
        part, base = {
            "error": (counts.failed, counts.settled),
            "requests": (counts.sent, counts.sent),
            "throttled": (counts.throttled, counts.settled),
            "dropped": (counts.dropped, counts.first + counts.dropped),
            "goodput": (counts.good, counts.settled + counts.dropped),
        }[metric]
        if base == 0:
            return None, 0, ""
        return (100.0 * part / base if self._criterion.aggregation == "percentage" else float(part)), base, ""

    def _rate(self, until: float, samples: Samples) -> tuple[float | None, int, str]:
        criterion, counts = self._criterion, self._counts
        total, n, per_s = {
            "tpm": (counts.tokens, counts.counted, 60.0),
            "rpm": (counts.completed, counts.sent, 60.0),
            "requests_per_sec": (counts.sent, counts.sent, 1.0),
        }[criterion.metric]
        elapsed = until - self._begin
        if n == 0 or elapsed <= 0:
            return None, n, ""
        if criterion.aggregation == "avg":
            return total / elapsed * per_s, n, ""
        quantity = "tokens" if criterion.metric == "tpm" else "completed"
        minutes = [getattr(minute, quantity) for minute in samples.full_minutes((self._begin, until), self.name)]
        if not minutes:
            return None, 0, "no full clock minute yet"
        return float(min(minutes) if criterion.aggregation == "min" else max(minutes)), len(minutes), ""


_SHARES = ("error", "requests", "throttled", "dropped", "goodput")


def _value(metric: str, record: RequestRecord) -> float | None:
    """What a record adds to a metric with a distribution; `None` when it is none of its population."""
    if metric in _OF_SENT:
        value: float | None = getattr(record, _OF_SENT[metric])
        return None if record.outcome is Outcome.DROPPED else value
    if record.outcome is not Outcome.OK or metric not in _OF_ANSWERED:
        return None
    value = getattr(record, metric)
    return value


_OF_SENT = {"response_time_ms": "e2e_ms", "latency": "first_byte_ms", "lag_ms": "lag_ms"}
_OF_ANSWERED = ("ttft_ms", "tbt_ms", "e2e_ms", "ttft_from_due_ms", "e2e_from_due_ms")
