"""A history for the terminal, for Markdown and for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.figures.formats import format_figure, format_time
from analysis.history.change_points import ALPHA, FEWEST, METHOD
from analysis.history.past_run import FIGURES, PastRun, figure_key, figure_title
from analysis.history.trend import Change, TestHistory
from analysis.report.markdown import escape
from analysis.report.markdown import table as markdown_table
from analysis.report.table import Cell, Column, Row, Table
from tokenswarm.userinput import counted

_OF_POINT = ("before", "after", "n_before", "n_after", "p_value")
KEYS = tuple(figure_key(*figure) for figure in FIGURES)


def table_of(history: TestHistory, last: int | None = None) -> Table:
    """Its runs, the oldest first; `last`: only so many. Figures that no run has are left out."""
    runs = history.runs[-last:] if last else history.runs
    keys = [key for key in KEYS if any(run.figures.get(key) is not None for run in runs)]
    columns = [
        Column("run", words=True),
        Column("start (UTC)", words=True),
        Column("verdict", words=True),
        Column("sent"),
        *(Column(figure_title(key)) for key in keys),
    ]
    return Table(history.test_name, columns, [_row(run, keys) for run in runs], trend_lines(history))


def _row(run: PastRun, keys: Sequence[str]) -> Row:
    figures = [Cell(format_figure(run.figures.get(key), _unit(key))) for key in keys]
    return Row(run.path, [Cell(format_time(run.started_at)), Cell(run.verdict), Cell(f"{run.sent:,}"), *figures])


def _unit(key: str) -> str:
    return "%" if key.endswith("_pct") else ""


def trend_lines(history: TestHistory) -> list[str]:
    """What changed for good, and with which run; or why nothing can be said."""
    trusted, left_out = len(history.trusted), len(history.runs) - len(history.trusted)
    aside = f"; {counted(left_out, 'run')} not counted: untrusted or interrupted" if left_out else ""
    if trusted < FEWEST:
        return [f"No trend: it needs {FEWEST} trusted runs, got {trusted}{aside}."]
    method = f"{METHOD}, {100 * ALPHA:g} % false alarms a figure"
    if not history.changes:
        return [f"No change that lasts in {counted(trusted, 'run')} ({method}{aside})."]
    return [*map(_change_line, history.changes), f"({method}{aside})"]


def _change_line(change: Change) -> str:
    point = change.point
    percent = "" if point.change_pct is None else f" ({point.change_pct:+.0f} %)"
    values = f"{format_figure(point.before)} -> {format_figure(point.after)}{percent}"
    rests_on = f"medians of {point.n_before} and {counted(point.n_after, 'run')}, p = {point.p_value:.2g}"
    line = f"{figure_title(change.key)}: {values} from {change.run.path} on; {rests_on}"
    return f"{line}; these options differ: {', '.join(change.options)}" if change.options else line


def to_markdown(histories: Sequence[TestHistory], last: int | None) -> str:
    """One table for each test."""
    parts = []
    for history in histories:
        table = table_of(history, last)
        parts += ["", f"### {escape(table.title)}", "", *markdown_table(table), ""]
        parts += [f"- {escape(note)}" for note in table.notes]
    return "\n".join(parts).strip()


def to_json(histories: Sequence[TestHistory]) -> list[dict[str, Any]]:
    """Every run and change of each test, as plain values."""
    return [
        {
            "test_name": history.test_name,
            "runs": [
                {name: getattr(run, name) for name in ("path", "started_at", "verdict", "sent", "figures")}
                for run in history.runs
            ],
            "changes": [
                {
                    "figure": change.key,
                    "from_run": change.run.path,
                    **{name: getattr(change.point, name) for name in _OF_POINT},
                    "differing_options": list(change.options),
                }
                for change in history.changes
            ],
            "trend": trend_lines(history),
        }
        for history in histories
    ]
