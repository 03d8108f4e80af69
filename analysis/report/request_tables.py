"""The tables of single requests, minutes, settings and definitions, as data (see `analysis.report.table`)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.formats import ABSENT, format_figure
from analysis.figures.metrics import METRICS
from analysis.figures.populations import is_failed, is_sent, outcome_is, started
from analysis.figures.series import inside_window
from analysis.findings.summary import Summary
from analysis.report.table import Cell, Column, Row, Table
from analysis.sources.loading import texts
from analysis.sources.run import Run
from tokenswarm.record import Outcome

MOST_ROWS = 20
FULLEST_MINUTES = 12
_BY_MINUTE = (
    ("started", "started", "tokens"),
    ("completed", "completed", "tokens"),
    ("throttled", "throttled", "tokens"),
    ("failed", "failed", "tokens"),
    ("TPM", "tokens", "tokens"),
    ("TPM estimated", "tokens_estimated", "tokens"),
    ("TTFT p50 ms", "ttft_ms_p50", ""),
    ("E2E p50 ms", "e2e_ms_p50", ""),
    ("E2E p95 ms", "e2e_ms_p95", ""),
)
"""Title, column and unit of the figures by minute."""


def minutes(summary: Summary) -> Table | None:
    """The run minute by minute; `None` without minutes."""
    if not len(summary.minutes):
        return None
    rows = [
        Row(
            utc(row["minute"], "%H:%M") + ("" if row["full"] else " (part)"),
            [
                Cell(format_figure(None if pd.isna(row[name]) else float(row[name]), unit))
                for _, name, unit in _BY_MINUTE
            ],
        )
        for _, row in summary.minutes.iterrows()
    ]
    return Table("By clock minute", [Column("minute (UTC)"), *(Column(title) for title, _, _ in _BY_MINUTE)], rows)


def slowest(run: Run, summary: Summary) -> Table | None:
    """The slowest answered requests, with the ids that the service's support asks for; `None` without answers."""
    if summary.window is None:
        return None
    rows = inside_window(run, summary.window)
    worst = rows[outcome_is(rows, Outcome.OK)].nlargest(MOST_ROWS, "e2e_ms")
    texts_of = texts(run, worst.index.tolist())
    lines = [
        _request(begin, e2e, ttft, texts_of.get(int(at), {}))
        for at, e2e, ttft, begin in zip(worst.index, worst["e2e_ms"], worst["ttft_ms"], started(worst), strict=True)
    ]
    figures = [Column(title) for title in ("started (UTC)", "E2E ms", "TTFT ms", "prompt", "answer")]
    columns = [*figures, Column("name", words=True), Column("request id", words=True, code=True)]
    return Table("Slowest answers", columns, lines) if lines else None


def _request(begin: float, e2e_ms: float, ttft_ms: float, found: Mapping[str, str]) -> Row:
    said = [Cell(found.get(name) or ABSENT) for name in ("prompt_tokens", "completion_tokens", "name")]
    return Row(utc(begin, "%H:%M:%S"), [Cell(format_figure(e2e_ms)), Cell(format_figure(ttft_ms)), *said, _id(found)])


def failures(run: Run, summary: Summary) -> Table | None:
    """What went wrong, by kind: how often, when first and last, and an id to give to the service's support.

    `None` when nothing did.
    """
    if summary.window is None:
        return None
    rows = inside_window(run, summary.window)
    bad = rows[(is_failed(rows) | outcome_is(rows, Outcome.THROTTLED)) & is_sent(rows)]
    if not len(bad):
        return None
    kind = bad["outcome"].astype(str) + "|" + bad["status"].astype(str) + "|" + bad["error"].astype(str)
    places = sorted(bad.groupby(kind).indices.values(), key=len, reverse=True)[:MOST_ROWS]
    examples = texts(run, [int(bad.index[place[0]]) for place in places])
    figures = [Column(title) for title in ("outcome", "status", "requests", "seen (UTC)")]
    columns = [*figures, Column("error", words=True), Column("one request id", words=True, code=True)]
    return Table("Refused and failed, by kind", columns, [_failure(bad.iloc[place], examples) for place in places])


def _failure(alike: pd.DataFrame, examples: Mapping[int, Mapping[str, str]]) -> Row:
    at = started(alike)
    example = examples.get(int(alike.index[0]), {})
    status, error = alike["status"].iloc[0], example.get("error") or str(alike["error"].iloc[0])
    cells = [
        Cell(ABSENT if pd.isna(status) else str(status)),
        Cell(_count(len(alike))),
        Cell(utc(float(at.min()), "%H:%M:%S"), utc(float(at.max()), "to %H:%M:%S")),
        Cell(error[:300]),
        _id(example),
    ]
    return Row(str(alike["outcome"].iloc[0]).replace("_", " "), cells)


def _id(found: Mapping[str, str]) -> Cell:
    return Cell(found.get("request_id") or found.get("call_id") or ABSENT)


def minutes_against_quota(summary: Summary) -> Table | None:
    """Estimated and used tokens of each clock minute beside the quota; the 12 fullest. `None` without estimates."""
    quota = summary.quota.tpm if summary.quota is not None else None
    minutes = summary.minutes
    known = minutes[np.isfinite(minutes["tokens_estimated"].to_numpy(np.float64))]
    chosen = known.nlargest(FULLEST_MINUTES, "tokens_estimated").sort_values("minute")
    rows = []
    for at, estimated, *counts in zip(
        *(chosen[name] for name in ("minute", "tokens_estimated", "tokens", "started", "throttled")), strict=True
    ):
        of_quota = f"{100 * estimated / quota:.0f} % of quota" if quota else ""
        rows.append(Row(utc(at, "%H:%M"), [Cell(_count(estimated), of_quota), *(Cell(_count(n)) for n in counts)]))
    titles = ("clock minute (UTC)", "estimated tokens", "used tokens", "requests", "429s")
    return Table("Fullest clock minutes", [Column(title) for title in titles], rows) if rows else None


def settings(summary: Summary) -> Table | None:
    """Name and value pairs; nested ones as `a.b`. `None` without settings."""
    rows = [Row(name, [Cell(value)]) for name, value in _flat(summary.settings)]
    return Table("Settings", [Column("setting"), Column("value", words=True)], rows) if rows else None


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        elif value is not None and value != "":
            found.append((f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, default=str)))
    return found


def definitions(names: Iterable[str]) -> Table:
    """What metrics mean."""
    rows = [Row(METRICS[name].title, [Cell(METRICS[name].definition), Cell(METRICS[name].formula)]) for name in names]
    return Table(
        "Definitions", [Column("metric"), Column("definition", words=True), Column("formula", words=True)], rows
    )


def _count(value: float | None) -> str:
    return format_figure(value, "tokens")


def utc(instant: float, form: str) -> str:
    """An instant (Unix s) in UTC; a dash when it is unknown."""
    return time.strftime(form, time.gmtime(instant)) if np.isfinite(instant) else ABSENT
