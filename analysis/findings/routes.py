"""Who served the requests: deployment or backend, region, service tier, and what a full deployment passed on. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.figures.populations import Mask, Values, is_ok
from analysis.sources.rows import RowTable
from analysis.statistics import percentage

ROUTE = ("route", "spilled_from", "region", "service_tier")
MOST_ROUTES = 20


@dataclass(frozen=True, slots=True)
class Spillover:
    """Answered requests of the window that a full deployment passed on to another, and their share of all answered."""

    spilled: int
    answered: int

    @property
    def share_pct(self) -> float | None:
        return percentage(self.spilled, self.answered)


def is_spilled(rows: RowTable) -> Mask:
    """Rows that a full deployment passed on."""
    return np.asarray(rows["spilled_from"].notna().to_numpy(bool))


def spillover_of(rows: RowTable) -> Spillover | None:
    """What spilled over; `None` when nothing did."""
    spilled = is_spilled(rows)
    if not spilled.any():
        return None
    ok = is_ok(rows)
    return Spillover(int((spilled & ok).sum()), int(ok.sum()))


def routes_of(rows: pd.DataFrame) -> Iterator[tuple[str, Mask]]:
    """Name and rows of each way in which requests were served, the most frequent first; none where all went one way.

    Rows without any word of it (no answer came) belong to none.
    """
    columns = [rows[name].cat for name in ROUTE if name in rows and len(rows[name].cat.categories)]
    if not columns:
        return
    code = np.zeros(len(rows), np.int64)
    for column in columns:
        code = code * (len(column.categories) + 1) + column.codes.to_numpy() + 1
    kinds, first, counts = np.unique(code, return_index=True, return_counts=True)
    order = [at for at in np.argsort(-counts, kind="stable")[:MOST_ROUTES] if kinds[at]]
    if len(order) > 1:
        yield from ((_name(rows, int(first[at])), _is(code, int(kinds[at]))) for at in order)


def targets_of(rows: pd.DataFrame) -> Iterator[tuple[str, Mask]]:
    """Name and rows of each target that shared the requests, by name; none where there was one."""
    if "deployment" in rows and len(names := rows["deployment"].cat.categories):
        yield from ((str(name), np.asarray(rows["deployment"] == name)) for name in sorted(names))


def _is(code: Values, kind: int) -> Mask:
    return np.asarray(code == kind)


def _name(rows: pd.DataFrame, at: int) -> str:
    """`gpt-4.1, spilled over from gpt-4.1-ptu, Sweden Central`."""
    route, spilled, region, tier = (_cell(rows, name, at) for name in ROUTE)
    parts = [route or ("" if spilled else "as addressed"), f"spilled over from {spilled}" if spilled else ""]
    return ", ".join(filter(None, [*parts, region, f"tier {tier}" if tier else ""]))


def _cell(rows: pd.DataFrame, name: str, at: int) -> str:
    value = rows[name].iloc[at] if name in rows else None
    return value if isinstance(value, str) else ""
