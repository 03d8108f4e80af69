"""`Samples` over the table of requests: the criteria are evaluated by `tokenswarm.metrics.criteria` itself, without a
copy of ten million records."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.figures import metrics, populations
from analysis.figures.sessions import open_sessions
from analysis.sources.rows import RowTable, part
from tokenswarm.metrics.goodput import Goodput
from tokenswarm.metrics.open_sessions import OpenSession, RunEnd
from tokenswarm.metrics.samples import Minute, Samples, TimeSpan
from tokenswarm.record import Outcome

Mask = npt.NDArray[np.bool_]


class RowSamples(Samples):
    """Answers what `Samples` answers, from columns. Records cannot be added."""

    def __init__(self, rows: pd.DataFrame, goodput: Goodput | None = None, run_end: RunEnd | None = None) -> None:
        super().__init__(goodput)
        self.run_end = run_end
        self._rows_all = rows

    def __len__(self) -> int:
        return len(self._rows_all)

    @property
    def names(self) -> list[str]:
        return [str(name) for name in self._rows_all["name"].cat.categories]

    def values(
        self, metric: str, name: str | None = None, window: TimeSpan | None = None, *, by_end: bool = False
    ) -> list[float]:
        rows = self._named(name)
        values = metrics.values_of(part(rows, _within(_instants(rows, by_end), window)), metric)
        found: list[float] = values[~np.isnan(values)].tolist()
        return found

    def whole_ms(self, metric: str, name: str | None = None, window: TimeSpan | None = None) -> list[float]:
        rows = self._named(name)
        inside = _within(_instants(rows, by_end=False), window) & populations.is_whole(rows)
        found: list[float] = metrics.values_of(part(rows, inside), metric.replace("ttft", "e2e")).tolist()
        return found

    def open_sessions(self) -> Iterable[OpenSession]:
        return open_sessions(self._rows_all)

    def count(self, what: str, name: str | None = None, window: TimeSpan | None = None, *, by_end: bool = False) -> int:
        rows = self._named(name)
        return int((self._is(rows, what) & _within(_instants(rows, by_end), window)).sum())

    def total(self, quantity: str, name: str | None = None, window: TimeSpan | None = None) -> float:
        instants, amounts = self._quantity(quantity, name)
        return float(np.nansum(amounts[_within(instants, window)]))

    def with_tokens(self, name: str | None = None, window: TimeSpan | None = None) -> int:
        instants, amounts = self._quantity("tokens", name)
        return int((_within(instants, window) & ~np.isnan(amounts)).sum())

    def full_minutes(self, window: TimeSpan, name: str | None = None) -> list[Minute]:
        first, last = math.ceil(window[0] / 60), math.floor(window[1] / 60)
        series = [self._by_minute(quantity, name, first, max(first, last)) for quantity in Minute._fields]
        return [Minute(*(int(value) for value in values)) for values in zip(*series, strict=True)]

    def span(self) -> TimeSpan | None:
        if not len(self._rows_all):
            return None
        return float(populations.started(self._rows_all).min()), float(populations.ended(self._rows_all).max())

    def _named(self, name: str | None) -> RowTable:
        if name is None:
            return self._rows_all
        chosen = (self._rows_all["name"] == name).to_numpy(bool)
        return part(self._rows_all, chosen)

    def _by_minute(self, quantity: str, name: str | None, first: int, last: int) -> npt.NDArray[Any]:
        instants, amounts = self._quantity(quantity, name)
        place = np.floor(instants / 60).astype(np.int64) - first
        inside = (place >= 0) & (place < last - first) & ~np.isnan(amounts)
        return np.bincount(place[inside], amounts[inside], last - first)[: last - first]

    def _quantity(self, quantity: str, name: str | None) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Instants and amounts of a quantity: each of its own rows, at its own instant."""
        rows = self._named(name)
        if quantity == "offered":
            return populations.due(rows), np.where(populations.is_offered(rows), 1.0, np.nan)
        if quantity == "started":
            return populations.started(rows), np.where(populations.is_sent(rows), 1.0, np.nan)
        if quantity == "completed":
            return populations.ended(rows), np.where(populations.is_ok(rows), 1.0, np.nan)
        if quantity == "tokens":
            return populations.ended(rows), populations.used_tokens(rows)
        return populations.started(rows), populations.estimated_tokens(rows)

    def _is(self, rows: RowTable, what: str) -> Mask:
        if what == "goodput":
            return np.zeros(len(rows), bool) if self.goodput is None else metrics.is_good(rows, self.goodput)
        if what in ("ok", "throttled", "cancelled", "aborted", "dropped"):
            return populations.outcome_is(rows, Outcome(what))
        return _CHOSEN_BY[what](rows)


_CHOSEN_BY = {
    "sent": populations.is_sent,
    "failed": populations.is_failed,
    "offered": populations.is_offered,
    "judged": populations.is_judged,
    "wrong": populations.is_wrong,
}


def _instants(rows: RowTable, by_end: bool) -> npt.NDArray[Any]:
    return populations.ended(rows) if by_end else populations.started(rows)


def _within(instants: npt.NDArray[Any], window: TimeSpan | None) -> Mask:
    if window is None:
        return np.ones(len(instants), bool)
    return (instants >= window[0]) & (instants <= window[1])
