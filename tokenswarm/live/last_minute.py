"""Live figures of a run: what happened in the last minute, from records as they come. No clock, no socket.

A request counts in the second in which it *ended*, its estimate of tokens too: what is under way leaves no record yet.
(The report places starts and estimates where the request started.) Counts and sums are exact, percentiles within
0.5 %. Cost: a few microseconds for each record, and about a millisecond for each look, however long the run is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, fields
from typing import TypeVar

from tokenswarm.metrics.histogram import Histogram
from tokenswarm.record import NOT_FAILED, Outcome, RequestRecord, TokenSource

WINDOW_S = 60
"""Seconds of the figures; a minute, as the quotas are per minute."""

SETTLE_S = 60
"""Seconds kept beyond the window: when the last request ended is known only once all are awaited."""

RECENT_S = 10
"""Seconds of the rates that are drawn over time."""

T = TypeVar("T")

METRICS = ("ttft_ms", "tbt_ms", "e2e_ms")


@dataclass(slots=True)
class Tally:
    """What ended in a span of time. `counted` are the requests whose tokens the service reported."""

    ok: int = 0
    throttled: int = 0
    failed: int = 0
    cancelled: int = 0
    aborted: int = 0
    dropped: int = 0
    counted: int = 0
    prompt: int = 0
    generated: int = 0
    estimated: int = 0

    def merge(self, other: Tally, times: int = 1) -> None:
        """Add another tally (`times` = -1: take it out again)."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name) * times)

    @property
    def sent(self) -> int:
        return self.ok + self.throttled + self.failed + self.cancelled + self.aborted


COUNTS = tuple(each.name for each in fields(Tally))


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A latency in ms over the window: `n` values; a percentile is absent where so few do not carry it."""

    n: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """One request name, or all of them together (`name` is `None`), over `seconds`. Rates are per minute.

    Tokens are absent while the service has reported none. `tokens_per_s_user` is what one user's stream shows:
    1000 / median tbt_ms.
    """

    name: str | None
    seconds: float
    ok_rpm: float
    throttled_rpm: float
    failed_rpm: float
    aborted_rpm: float
    dropped_rpm: float
    prompt_tpm: float | None
    generated_tpm: float | None
    total_tpm: float | None
    estimated_tpm: float
    tokens_per_s_user: float | None
    ttft_ms: Quantiles
    tbt_ms: Quantiles
    e2e_ms: Quantiles
    tally: Tally


class _Second:
    """What ended in one second, or in several added up."""

    __slots__ = ("histograms", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.histograms = tuple(Histogram() for _ in METRICS)

    def merge(self, other: _Second, times: int = 1) -> None:
        self.tally.merge(other.tally, times)
        for mine, others in zip(self.histograms, other.histograms, strict=True):
            if others.n:
                mine.merge(others, times)


class _Window:
    """The last minute of one request name: whole seconds [edge - WINDOW_S, edge), kept added up."""

    def __init__(self) -> None:
        self.sum = _Second()
        self.run = Tally()
        self._seconds: dict[int, _Second] = {}
        self._edge: int | None = None

    def add(self, second: int, record: RequestRecord, kind: str) -> None:
        edge = self._edge
        _take(self.run, record, kind)
        if edge is not None and second < edge - WINDOW_S - SETTLE_S:
            return
        held = self._seconds.get(second)
        if held is None:
            held = self._seconds[second] = _Second()
        _observe(held, record, kind)
        if edge is not None and edge - WINDOW_S <= second < edge:
            _observe(self.sum, record, kind)

    def advance(self, edge: int) -> None:
        """The window ends before second `edge` from now on; an earlier one than before only by a few seconds."""
        before, self._edge = self._edge, edge
        for second in sorted(self._seconds):
            was_in = before is not None and before - WINDOW_S <= second < before
            is_in = edge - WINDOW_S <= second < edge
            if was_in != is_in:
                self.sum.merge(self._seconds[second], 1 if is_in else -1)
            if second < edge - WINDOW_S - SETTLE_S:
                del self._seconds[second]

    def recent(self) -> Tally:
        """The last `RECENT_S` of the window."""
        tally = Tally()
        for second in range((self._edge or 0) - RECENT_S, self._edge or 0):
            if (held := self._seconds.get(second)) is not None:
                tally.merge(held.tally)
        return tally


@dataclass(frozen=True, slots=True)
class Service:
    """What the service said of itself last, in response headers."""

    at: float = 0.0
    utilization_pct: float | None = None
    remaining_tokens: int | None = None
    remaining_requests: int | None = None


class Live:
    """The live figures of one run that began at Unix s `started_at`."""

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.service = Service()
        self._windows: defaultdict[str, _Window] = defaultdict(_Window)
        self._edge = math.floor(started_at)

    @property
    def names(self) -> list[str]:
        """Request names seen, in the order in which they appeared."""
        return list(self._windows)

    def add(self, record: RequestRecord) -> None:
        """Take in one record; one without any instant cannot be placed and is passed over."""
        ended = record.ended_at
        if ended is None:
            return
        self._windows[record.name].add(math.floor(ended), record, _kind(record.outcome))
        if ended >= self.service.at and record.status is not None:
            self._hear(record, ended)

    def advance(self, until: float) -> None:
        """Move the window's end to Unix s `until`, to the whole second before; time does not go back."""
        self._move(max(self._edge, math.floor(until)))

    def settle(self, until: float) -> None:
        """The run ended at Unix s `until`, before it was known: what came after it is no time of the run."""
        self._move(math.floor(until))

    def _move(self, edge: int) -> None:
        self._edge = edge
        for window in list(self._windows.values()):
            window.advance(self._edge)

    def figures(self, name: str | None = None) -> Figures:
        """The last minute of a request name (`None`: of all)."""
        total = _Second()
        for window in self._chosen(name):
            total.merge(window.sum)
        return _describe(name, total, self._span(WINDOW_S))

    def recent(self, name: str | None = None) -> tuple[Tally, float]:
        """What ended in the last ten seconds, and how many seconds of these belong to the run."""
        tally = Tally()
        for window in self._chosen(name):
            tally.merge(window.recent())
        return tally, self._span(RECENT_S)

    def run(self, name: str | None = None) -> Tally:
        """The whole run so far."""
        tally = Tally()
        for window in self._chosen(name):
            tally.merge(window.run)
        return tally

    def _chosen(self, name: str | None) -> list[_Window]:
        return list(self._windows.values()) if name is None else [self._windows[name]]

    def _span(self, seconds: int) -> float:
        return max(0.0, min(float(seconds), self._edge - self.started_at))

    def _hear(self, record: RequestRecord, ended: float) -> None:
        known = self.service
        self.service = Service(
            ended,
            _newer(record.utilization_pct, known.utilization_pct),
            _newer(record.remaining_tokens, known.remaining_tokens),
            _newer(record.remaining_requests, known.remaining_requests),
        )


def per_minute(n: float, seconds: float) -> float:
    """A rate; 0 before there is any time."""
    return n * 60.0 / seconds if seconds > 0 else 0.0


def _newer(new: T | None, known: T | None) -> T | None:
    return known if new is None else new


def _kind(outcome: Outcome) -> str:
    return outcome.value if outcome in NOT_FAILED else "failed"


def _take(tally: Tally, record: RequestRecord, kind: str) -> None:
    setattr(tally, kind, getattr(tally, kind) + 1)
    if kind == "dropped":
        return
    tally.estimated += record.estimated_tokens or 0
    if record.token_source is TokenSource.USAGE:
        tally.counted += 1
        tally.prompt += record.prompt_tokens or 0
        tally.generated += record.completion_tokens or 0


def _observe(second: _Second, record: RequestRecord, kind: str) -> None:
    _take(second.tally, record, kind)
    if kind != "ok":
        return
    for histogram, value in zip(second.histograms, (record.ttft_ms, record.tbt_ms, record.e2e_ms), strict=True):
        if value is not None:
            histogram.add(value)


def _describe(name: str | None, total: _Second, seconds: float) -> Figures:
    tally = total.tally
    quantiles = [_quantiles(histogram) for histogram in total.histograms]
    median_tbt = quantiles[1].p50
    known = tally.counted > 0
    return Figures(
        name=name,
        seconds=seconds,
        ok_rpm=per_minute(tally.ok, seconds),
        throttled_rpm=per_minute(tally.throttled, seconds),
        failed_rpm=per_minute(tally.failed, seconds),
        aborted_rpm=per_minute(tally.aborted, seconds),
        dropped_rpm=per_minute(tally.dropped, seconds),
        prompt_tpm=per_minute(tally.prompt, seconds) if known else None,
        generated_tpm=per_minute(tally.generated, seconds) if known else None,
        total_tpm=per_minute(tally.prompt + tally.generated, seconds) if known else None,
        estimated_tpm=per_minute(tally.estimated, seconds),
        tokens_per_s_user=1000.0 / median_tbt if median_tbt else None,
        ttft_ms=quantiles[0],
        tbt_ms=quantiles[1],
        e2e_ms=quantiles[2],
        tally=tally,
    )


def _quantiles(histogram: Histogram) -> Quantiles:
    return Quantiles(histogram.n, histogram.mean, *(histogram.percentile(p) for p in (50, 95, 99)))
