"""The run by clock minutes (UTC): the series behind the plots and `minutes.csv`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures import populations
from analysis.figures.populations import Values
from analysis.figures.window import Window
from analysis.sources.run import COLUMNS, LATENCIES, MINUTE_S, PERCENTS
from analysis.statistics import interpolate
from tokenswarm.metrics.samples import carries
from tokenswarm.record import Outcome


def minute_table(rows: pd.DataFrame, window: Window | None) -> pd.DataFrame:
    """One row per clock minute from the first start to the last end, empty minutes included. Rows outside the window
    are in it: a plot shows the whole run."""
    if not len(rows):
        return pd.DataFrame({column: [] for column in COLUMNS})
    start, stop, wanted = (
        _minute(instants(rows)) for instants in (populations.started, populations.ended, populations.due)
    )
    first = int(min(start.min(), wanted.min()))
    n = int(stop.max()) - first + 1
    for minute in (start, stop, wanted):
        minute -= first
    sent, ok = populations.is_sent(rows), populations.is_ok(rows)
    starts = (first + np.arange(n)) * MINUTE_S
    full = set(window.full_minutes()) if window is not None else set()
    made: dict[str, Any] = {"minute": starts, "full": [int(minute) in full for minute in starts]}
    made["offered"] = np.bincount(wanted[populations.is_offered(rows)], minlength=n)
    made["started"] = np.bincount(start[sent], minlength=n)
    made["completed"] = np.bincount(stop[ok], minlength=n)
    made["failed"] = np.bincount(start[populations.is_failed(rows)], minlength=n)
    for outcome in ("throttled", "cancelled", "aborted", "dropped"):
        made[outcome] = np.bincount(start[populations.outcome_is(rows, Outcome(outcome))], minlength=n)
    made["tokens_prompt"] = _sums(stop, populations.usage_tokens(rows, "prompt_tokens"), n)
    made["tokens_generated"] = _sums(stop, populations.usage_tokens(rows, "completion_tokens"), n)
    made["tokens"] = _sums(stop, populations.used_tokens(rows), n)
    made["tokens_estimated"] = _sums(start, populations.estimated_tokens(rows), n)
    made |= _latencies(rows, start, n)
    made["utilization_pct_avg"] = _means(start[sent], rows["utilization_pct"].to_numpy()[sent], n)
    return pd.DataFrame(made)[list(COLUMNS)]


def _minute(instants: Values) -> Values:
    """Number of the clock minute of each instant."""
    return (instants // MINUTE_S).astype(np.int32)


def _sums(place: Values, amounts: Values, n: int) -> Values:
    """Sum per minute; NaN everywhere when no amount is known at all: unknown is not 0."""
    known = ~np.isnan(amounts)
    if not known.any():
        return np.full(n, np.nan)
    return np.bincount(place[known], amounts[known], n)


def _means(place: Values, amounts: Values, n: int) -> Values:
    known = ~np.isnan(amounts)
    count = np.bincount(place[known], minlength=n)
    total = np.bincount(place[known], amounts[known], n)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _latencies(rows: pd.DataFrame, start: Values, n: int) -> dict[str, Values]:
    ok = populations.is_ok(rows)
    made: dict[str, Values] = {}
    for name in LATENCIES:
        columns = {percent: np.full(n, np.nan) for percent in PERCENTS}
        for minute, ordered in _by_minute(start[ok], rows[name].to_numpy()[ok], n):
            for percent in PERCENTS:
                if carries(len(ordered), percent):
                    columns[percent][minute] = interpolate(ordered, percent)
        made |= {f"{name}_p{percent:g}": column for percent, column in columns.items()}
    return made


def _by_minute(place: Values, values: Values, n: int) -> Iterator[tuple[int, Values]]:
    """Minute and its values in ascending order, for minutes that have some."""
    known = ~np.isnan(values)
    place, values = place[known], values[known]
    order = np.argsort(place, kind="stable")
    place, values = place[order], values[order]
    edges = np.searchsorted(place, np.arange(n + 1))
    for minute in range(n):
        if edges[minute] < edges[minute + 1]:
            yield minute, np.sort(values[edges[minute] : edges[minute + 1]])
