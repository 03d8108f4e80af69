"""Whether answers were right, by how many requests were in progress when they were asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.figures import populations
from analysis.sources.columns import OTHER_ERROR
from analysis.sources.rows import RowTable

MOST_LEVELS = 8


@dataclass(frozen=True, slots=True)
class LoadLevel:
    """Answers to requests that were sent while `low` to `high` were in progress, themselves included: how many were
    judged, how many of them were wrong."""

    low: int
    high: int
    judged: int
    wrong: int


def by_load(rows: RowTable, inside: populations.Mask) -> list[LoadLevel]:
    """Judged answers of the window by load level, the lowest first; empty where no answer was judged."""
    judged = populations.is_judged(rows) & inside
    if not judged.any():
        return []
    in_progress = _in_progress(rows)[judged]
    wrong = populations.is_wrong(rows)[judged]
    edges = _edges(int(in_progress.max()))
    found = []
    for low, high in zip(edges, [*(edge - 1 for edge in edges[1:]), int(in_progress.max())], strict=True):
        level = (in_progress >= low) & (in_progress <= high)
        if level.any():
            found.append(LoadLevel(low, high, int(level.sum()), int(wrong[level].sum())))
    return found


def _edges(most: int) -> list[int]:
    """Where each level begins: as wide as one another, at most `MOST_LEVELS` of them."""
    width = -(-most // MOST_LEVELS)
    return list(range(1, most + 1, width))


def _in_progress(rows: RowTable) -> populations.Values:
    """Requests in progress just after each row's request was sent, itself included."""
    sent = populations.is_sent(rows)
    start, end = populations.started(rows), populations.ended(rows)
    begun = np.searchsorted(np.sort(start[sent]), start, side="right")
    over = np.searchsorted(np.sort(end[sent]), start, side="left")
    return np.asarray(begun - over)


def same_answer_pct(rows: pd.DataFrame, inside: populations.Mask) -> float | None:
    """Of the questions that were answered more than once, the share in percent whose answers were all the same words;
    `None` where there is none, or the run is too large for the texts to be held."""
    if "answer_hash" not in rows or "question_id" not in rows:
        return None
    answered = rows.loc[inside & populations.is_judged(rows), ["question_id", "answer_hash"]]
    answered = answered[~answered.isin([OTHER_ERROR]).any(axis=1)]  # too many distinct ones to be told apart
    asked = answered.groupby("question_id", observed=True)["answer_hash"]
    repeated = asked.size() > 1
    if not repeated.any():
        return None
    return float(100 * (asked.nunique()[repeated] == 1).mean())
