"""Files for other programs: summary.json, summary.csv (one figure a line) and minutes.csv."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from analysis.figures.metrics import METRICS
from analysis.findings.answer import answer_of
from analysis.findings.summary import Summary
from analysis.sources.run import COLUMNS as MINUTE_COLUMNS
from analysis.statistics import Distribution, Estimate, Group

SUMMARY_COLUMNS = ("run", "scope", "key", "metric", "aggregation", "unit", "n", "value", "low", "high")
"""`scope`: run, name, turn or stage; `low` and `high`: 95 % interval. Empty: unknown, or too few values."""
_EXECUTED = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def summary_json(summaries: Sequence[Summary]) -> str:
    """One object for one run, a list for several."""
    plain: Any = [{"answer": answer_of(summary).as_json(), **summary.as_json()} for summary in summaries]
    return json.dumps(plain[0] if len(plain) == 1 else plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def summary_csv(summaries: Sequence[Summary]) -> str:
    """Every figure of every run, one a line."""
    return _csv(SUMMARY_COLUMNS, (row for summary in summaries for row in _figures(summary)))


def minutes_csv(summaries: Sequence[Summary]) -> str:
    """The series by clock minute; `minute_utc` is its start."""
    rows = (
        [summary.label, _utc(row["minute"]), *(_absent(row[column]) for column in MINUTE_COLUMNS)]
        for summary in summaries
        for row in summary.minutes.to_dict("records")
    )
    return _csv(("run", "minute_utc", *MINUTE_COLUMNS), rows)


def neutralise(cell: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets an apostrophe before it; numbers stay numbers."""
    if isinstance(cell, str) and cell.startswith(_EXECUTED):
        return "'" + cell
    return cell


def _csv(header: Sequence[str], rows: Iterator[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([neutralise(cell) for cell in row])
    return text.getvalue()


def _figures(summary: Summary) -> Iterator[list[Any]]:
    yield from _of_group(summary.label, "run", summary.overall)
    for scope, groups in (("name", summary.by_name), ("turn", summary.by_turn)):
        for group in groups.values():
            yield from _of_group(summary.label, scope, group)
    for name, found in summary.by_stage.items():
        yield from ([summary.label, "stage", name, "stage", *cells] for cells in _spread(found, "ms"))


def _of_group(label: str, scope: str, group: Group) -> Iterator[list[Any]]:
    for name, value in group.values.items():
        metric = METRICS[name]
        yield [label, scope, group.key, name, metric.kind, metric.unit, group.counts.sent, value, None, None]
    for name, found in group.distributions.items():
        yield from ([label, scope, group.key, name, *cells] for cells in _spread(found, METRICS[name].unit))


def _spread(found: Distribution, unit: str) -> Iterator[list[Any]]:
    figures: dict[str, Estimate] = {"avg": found.avg, "min": Estimate(found.min), "max": Estimate(found.max)}
    for aggregation, figure in {**figures, **found.percentiles}.items():
        yield [aggregation, unit, found.n, figure.value, figure.low, figure.high]


def _utc(instant: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(instant))


def _absent(value: Any) -> Any:
    return None if pd.isna(value) else value
