"""A report for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import IO

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table as RichTable
from rich.text import Text

from analysis.findings.summary import Summary
from analysis.report import tables
from analysis.report.table import Table, text_rows
from tokenswarm.redaction import SECRETS

COLOURS = {"passed": "bold green", "failed": "bold red", "untrusted": "bold yellow", "none": "bold"}
PLAIN_WIDTH = 160
"""Columns when the output is no terminal: a log should not be folded at 80."""


def print_report(summaries: Sequence[Summary], file: IO[str] | None = None) -> None:
    """Verdict first, then the tables, then what needs saying."""
    console = _console(file)
    for summary in summaries:
        _print_verdict(console, summary)
    _print_table(console, tables.overview(summaries))
    _print_table(console, tables.latencies(summaries, [summary.label for summary in summaries]))
    for summary in summaries:
        for table in _details(summary):
            _print_table(console, table, summary.label if len(summaries) > 1 else "")
    for summary in summaries:
        _print_remarks(console, summary)


def print_table(table: Table, file: IO[str] | None = None) -> None:
    """One table with its notes."""
    _print_table(_console(file), table)


def _console(file: IO[str] | None) -> Console:
    console = Console(file=file or sys.stdout, highlight=False, soft_wrap=False, emoji=False, markup=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def _text(text: str, style: str = "") -> Text:
    return Text(SECRETS.redact(text), style)


def _details(summary: Summary) -> Iterator[Table]:
    for make in (tables.search, tables.by_name, tables.by_turn, tables.by_stage, tables.criteria):
        table = make(summary)
        if table is not None:
            yield table


def _print_verdict(console: Console, summary: Summary) -> None:
    state = summary.judgement.state
    console.print(Text.assemble((state.upper(), COLOURS.get(state, "bold")), SECRETS.redact(f"  {summary.label}")))
    for reason in summary.judgement.reasons:
        console.print(_text(f"  - {reason}"))


def _print_table(console: Console, table: Table, whose: str = "") -> None:
    if not table.rows:
        return
    shown = RichTable(title=" ".join(filter(None, (table.title, whose))), title_justify="left", box=box.SIMPLE_HEAD)
    for number, column in enumerate(table.columns):
        justify: JustifyMethod = "left" if column.words or number == 0 else "right"
        shown.add_column(_text(column.title), justify=justify, overflow="fold")
    for row in text_rows(table):
        shown.add_row(*(_text(cell) for cell in row))
    console.print(shown)
    for note in table.notes:
        console.print(_text(f"  {note}"))


def _print_remarks(console: Console, summary: Summary) -> None:
    lines = list(remarks(summary))
    if lines:
        console.print(_text(summary.label, "bold"))
    for kind, line in lines:
        console.print(_text(f"  {kind}: {line}"))


def remarks(summary: Summary) -> Iterator[tuple[str, str]]:
    """Everything that needs saying beside the figures: (kind, line)."""
    yield from (("rows", line) for line in summary.accounting.lines())
    yield from (("rows", problem) for problem in summary.accounting.problems)
    yield from (("doubt", line) for line in summary.warnings)
    yield from (("generator", line) for line in summary.self_check("self_checks"))
    if summary.quota is not None:
        yield from (("429", line) for line in summary.quota.explained)
        yield from (("advice", line) for line in summary.quota.advice)
    yield from (("note", line) for line in summary.notes)
    yield from ((f"{summary.source} cannot tell", line) for line in summary.blind_spots)
