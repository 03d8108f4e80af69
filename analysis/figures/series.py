"""What is drawn: a run's rows boiled down to a few hundred points a curve, whatever their number. Pure.

Times are seconds since the start of the run. Rates are those of the 60 s before each point (since the start where that
is less), because quotas are per minute; a clock minute of the report may hold a little more or less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.figures.metrics import values_of
from analysis.figures.populations import (
    Values,
    due,
    ended,
    estimated_tokens,
    is_first,
    is_offered,
    is_ok,
    is_sent,
    numbers,
    outcome_is,
    started,
    used_tokens,
)
from analysis.figures.window import Window, window_of
from analysis.sources.run import Run
from tokenswarm.metrics.samples import carries
from tokenswarm.record import Outcome

POINTS = 120
DOTS = 600
TRAILING_S = 60.0
NICE_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
FEWEST_PER_BIN = 20


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one line; NaN in `y` is a gap."""

    x: Values
    y: Values


@dataclass(frozen=True, slots=True)
class Clock:
    """The time axis of a run: `origin` Unix s, `length_s` to its end, `window` its measured part (may be the whole)."""

    origin: float
    length_s: float
    window: Window

    def points(self) -> Values:
        """Instants (s since the start) at which rates are given."""
        step = self.length_s / POINTS
        first = min(TRAILING_S / 6, self.length_s / 2)
        return np.arange(first, self.length_s + step / 2, max(step, 1e-3))

    def bins(self, rows: int = 0, fewest: int = FEWEST_PER_BIN) -> Values:
        """Edges (s since the start) of bins of a round width: at most 60, with `fewest` rows each on average."""
        wanted = max(self.length_s / 60, self.length_s * fewest / rows if rows else 0.0)
        width = next((nice for nice in NICE_S if nice >= wanted), NICE_S[-1])
        return np.arange(0, math.floor(self.length_s / width) + 2) * float(width)


def clock_of(run: Run) -> Clock | None:
    """The time axis of a run with rows; `None` when there is nothing to draw."""
    window = window_of(run)
    if window is None or not len(run.rows):
        return None
    first = float(np.nanmin(started(run.rows)))
    origin = min(first, window.start - window.warm_up_s)
    last = max(float(np.nanmax(ended(run.rows))), window.end + window.cool_down_s)
    return Clock(origin, max(last - origin, 1.0), window)


def trailing_rate(instants: Values, amounts: Values | None, points: Values) -> Curve:
    """Sum per minute over the 60 s before each point; amounts that are not known count nothing."""
    known = np.isfinite(instants) if amounts is None else np.isfinite(instants) & np.isfinite(amounts)
    order = np.argsort(instants[known], kind="stable")
    at = instants[known][order]
    weights = np.ones(len(at)) if amounts is None else amounts[known][order]
    summed = np.concatenate([[0.0], np.cumsum(weights, dtype=np.float64)])
    begin = np.maximum(points - TRAILING_S, 0.0)
    inside = summed[np.searchsorted(at, points, "right")] - summed[np.searchsorted(at, begin, "right")]
    return Curve(points, inside * 60.0 / (points - begin))


def request_rates(run: Run, clock: Clock) -> dict[str, Curve]:
    """Requests per minute: offered by due instant, started and throttled by start, completed by end."""
    rows, points = run.rows, clock.points()
    start, end, wanted = (instants(rows) - clock.origin for instants in (started, ended, due))
    found = {
        "offered": trailing_rate(wanted[is_offered(rows)], None, points),
        "started": trailing_rate(start[is_sent(rows)], None, points),
        "completed": trailing_rate(end[is_ok(rows)], None, points),
    }
    throttled = outcome_is(rows, Outcome.THROTTLED)
    if throttled.any():
        found["throttled"] = trailing_rate(start[throttled], None, points)
    return found


def token_rates(run: Run, clock: Clock) -> dict[str, Curve]:
    """Tokens per minute: `used` by the end of the answer, `estimated` (what the limiter counts) by the start.

    A series is left out when the run does not know it; estimates of few requests only would be taken for all.
    """
    rows, points = run.rows, clock.points()
    found = {}
    used, estimated = used_tokens(rows), estimated_tokens(rows)
    if np.isfinite(used).any():
        found["used"] = trailing_rate(ended(rows) - clock.origin, used, points)
    if np.isfinite(estimated).sum() > 0.5 * is_sent(rows).sum():
        found["estimated"] = trailing_rate(started(rows) - clock.origin, estimated, points)
    return found


def in_flight(run: Run, clock: Clock) -> Curve:
    """Requests that were started and not yet ended, at each point. Exact."""
    sent = is_sent(run.rows)
    points = clock.points()
    start = np.sort(started(run.rows)[sent] - clock.origin)
    end = np.sort(ended(run.rows)[sent] - clock.origin)
    return Curve(points, np.searchsorted(start, points, "right") - np.searchsorted(end, points, "right"))


def latency_over_time(run: Run, clock: Clock, metric: str, percents: Sequence[float]) -> dict[str, Curve]:
    """Percentiles of requests by their start, in bins; a gap where a bin is too small to carry one."""
    ok = is_ok(run.rows)
    at = started(run.rows)[ok] - clock.origin
    values = values_of(run.rows, metric)
    known = np.isfinite(values)
    at, values = at[known], values[known]
    edges = clock.bins(len(values))
    place = np.digitize(at, edges) - 1
    columns = {f"p{percent:g}": np.full(len(edges) - 1, np.nan) for percent in percents}
    for number, inside in _groups(place, values):
        for percent in percents:
            if 0 <= number < len(edges) - 1 and carries(len(inside), percent):
                columns[f"p{percent:g}"][number] = np.percentile(inside, percent)
    middle = (edges[:-1] + edges[1:]) / 2
    return {name: Curve(middle, column) for name, column in columns.items() if np.isfinite(column).any()}


def _groups(place: Values, values: Values) -> list[tuple[int, Values]]:
    order = np.argsort(place, kind="stable")
    numbers_, begin = np.unique(place[order], return_index=True)
    return list(zip(numbers_.tolist(), np.split(values[order], begin[1:]), strict=True)) if len(values) else []


def latency_dots(run: Run, clock: Clock, metric: str) -> Curve:
    """Single requests; of many, a fixed selection that always holds the slowest ones."""
    at = started(run.rows)[is_ok(run.rows)] - clock.origin
    values = values_of(run.rows, metric)
    chosen = _chosen(values)
    return Curve(at[chosen], values[chosen])


def _chosen(values: Values) -> Values:
    known = np.flatnonzero(np.isfinite(values))
    if len(known) <= DOTS:
        return known
    slowest = known[np.argpartition(values[known], -50)[-50:]]
    drawn = np.random.default_rng(1).choice(known, DOTS, replace=False)
    return np.union1d(slowest, drawn)


FEWEST_S = 5.0
"""Shortest span that a rate is taken over."""


@dataclass(frozen=True, slots=True)
class LoadPoints:
    """What spans of a run came to: the load in each, sorted by it. `load`, `completed`: per minute, or requests in
    flight for `load` of a closed loop; latencies in ms, NaN where too few requests carry them."""

    is_open: bool
    load: Values
    completed: Values
    median: Values
    p95: Values


def over_load(run: Run, clock: Clock, metric: str) -> LoadPoints | None:
    """Latency and throughput against load, a point a span of time; `None` when nothing was answered."""
    rows, ok = run.rows, is_ok(run.rows)
    if not ok.any():
        return None
    width = max(float(clock.bins(int(ok.sum()))[1]), FEWEST_S)
    edges = np.arange(0, math.floor(clock.length_s / width) + 1) * width
    if len(edges) < 2:
        return None
    is_open = bool((np.isfinite(rows["lag_ms"].to_numpy()) & is_first(rows)).any())  # a retry has one in a closed loop
    load = _offered_in(rows, clock, edges) if is_open else _in_flight_in(rows, clock, edges)
    completed = np.histogram((ended(rows) - clock.origin)[ok], edges)[0] * (60.0 / width)
    median, high = _percentiles_in(started(rows)[ok] - clock.origin, values_of(rows, metric), edges)
    order = np.argsort(load, kind="stable")
    order = order[load[order] > 0]
    return LoadPoints(is_open, load[order], completed[order], median[order], high[order])


def _offered_in(rows: pd.DataFrame, clock: Clock, edges: Values) -> Values:
    counts = np.histogram((due(rows) - clock.origin)[is_offered(rows)], edges)[0]
    return counts * (60.0 / float(edges[1] - edges[0]))


def _in_flight_in(rows: pd.DataFrame, clock: Clock, edges: Values) -> Values:
    """Mean number of requests in flight in each span, from ten looks at it."""
    sent = is_sent(rows)
    start, end = (np.sort((instants(rows) - clock.origin)[sent]) for instants in (started, ended))
    looks = np.linspace(edges[:-1], edges[1:], 10, endpoint=False)
    found = np.searchsorted(start, looks, "right") - np.searchsorted(end, looks, "right")
    return np.asarray(found.mean(axis=0))


def _percentiles_in(at: Values, values: Values, edges: Values) -> tuple[Values, Values]:
    known = np.isfinite(values)
    median, high = np.full(len(edges) - 1, np.nan), np.full(len(edges) - 1, np.nan)
    for number, inside in _groups(np.digitize(at[known], edges) - 1, values[known]):
        if 0 <= number < len(median):
            median[number] = np.percentile(inside, 50) if carries(len(inside), 50) else np.nan
            high[number] = np.percentile(inside, 95) if carries(len(inside), 95) else np.nan
    return median, high


@dataclass(frozen=True, slots=True)
class Grid:
    """Requests by time (columns, s since the start) and latency (rows, ms on a log scale)."""

    times: Values
    latencies: Values
    counts: Values


GRID_ROWS = 24


def latency_grid(run: Run, clock: Clock, metric: str) -> Grid | None:
    """How latencies were spread over time; `None` below two different ones."""
    at = started(run.rows)[is_ok(run.rows)] - clock.origin
    values = values_of(run.rows, metric)
    known = np.isfinite(values) & (values > 0)
    at, values = at[known], values[known]
    if len(values) < 2 or values.min() == values.max():
        return None
    times = clock.bins()
    rows = np.geomspace(values.min(), values.max() * 1.0001, GRID_ROWS + 1)
    return Grid(times, rows, np.histogram2d(values, at, (rows, times))[0])


def outcomes_over_time(run: Run, clock: Clock) -> tuple[Values, dict[str, Values]]:
    """Bin edges, and requests per bin and outcome (by start; dropped ones by due instant)."""
    edges = clock.bins(fewest=0)
    at = started(run.rows) - clock.origin
    found = {str(outcome): np.histogram(at[outcome_is(run.rows, outcome)], edges)[0] for outcome in Outcome}
    return edges, {outcome: counts for outcome, counts in found.items() if counts.any()}


def spilled_share(run: Run, clock: Clock) -> Curve | None:
    """Percent of the answered requests that a full deployment passed on, per bin; `None` when none was."""
    spilled = run.rows["spilled_from"].notna().to_numpy(bool)
    if not spilled.any():
        return None
    ok = is_ok(run.rows)
    at = started(run.rows) - clock.origin
    edges = clock.bins(int(ok.sum()))
    all_, moved = (np.histogram(at[mask], edges)[0] for mask in (ok, ok & spilled))
    share = np.full(len(all_), np.nan)
    np.divide(100.0 * moved, all_, out=share, where=all_ > 0)
    return Curve((edges[:-1] + edges[1:]) / 2, share)


def utilization(run: Run, clock: Clock) -> dict[str, Curve]:
    """Mean and greatest reported utilization per bin; empty when no response reported one."""
    values = run.rows["utilization_pct"].to_numpy(np.float64)
    known = np.isfinite(values)
    if not known.any():
        return {}
    at, values = started(run.rows)[known] - clock.origin, values[known]
    edges = clock.bins(len(values), fewest=3)
    mean, top = np.full(len(edges) - 1, np.nan), np.full(len(edges) - 1, np.nan)
    for number, inside in _groups(np.digitize(at, edges) - 1, values):
        if 0 <= number < len(mean):
            mean[number], top[number] = inside.mean(), inside.max()
    middle = (edges[:-1] + edges[1:]) / 2
    return {"mean": Curve(middle, mean), "highest": Curve(middle, top)}


def inside_window(run: Run, window: Window) -> pd.DataFrame:
    """The rows that were started in the window."""
    return run.rows[window.contains(started(run.rows))]


def percentile_curve(values: Values) -> Curve:
    """Value over -log10(1 - share): each unit is one more nine. Ends at the last percentile that n values carry."""
    ordered = np.sort(values[np.isfinite(values)])
    n = len(ordered)
    if n < 2:
        return Curve(np.empty(0), np.empty(0))
    nines = np.linspace(0.0, math.log10(n), 200)
    shares = np.append(1 - 10.0**-nines, [])
    return Curve(nines, np.interp(shares * (n - 1), np.arange(n), ordered))


def against(rows: pd.DataFrame, column: str, metric: str) -> tuple[Curve, Curve] | None:
    """Single requests and the medians of groups of like size: `metric` over `column`, answered requests.

    `None` when fewer than ten have both, or when all have nearly the same `column` (within 5 %).
    """
    x, y = numbers(rows[column])[is_ok(rows)], values_of(rows, metric)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = np.asarray(x[known], np.float64), np.asarray(y[known], np.float64)
    if len(x) < 10 or np.percentile(x, 95) - np.percentile(x, 5) < 0.05 * abs(np.median(x)):
        return None
    order = np.argsort(x, kind="stable")
    groups = np.array_split(order, min(15, len(x) // 10))
    middle = Curve(
        np.array([np.median(x[group]) for group in groups]), np.array([np.median(y[group]) for group in groups])
    )
    chosen = _chosen(y)
    return Curve(x[chosen], y[chosen]), middle
