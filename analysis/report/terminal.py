"""A report for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import IO

from rich import box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table as RichTable
from rich.text import Text

from analysis.figures.formats import short_labels
from analysis.findings.answer import answer_of
from analysis.findings.summary import Summary
from analysis.report import load_tables, tables
from analysis.report.table import Table, text_rows
from tokenswarm.metrics.criterion_words import STATES
from tokenswarm.redaction import SECRETS

COLOURS = {
    "passed": "bold green",
    "failed": "bold red",
    "untrusted": "bold yellow",
    "interrupted": "bold yellow",
    "none": "bold",
}
LONG_TABLE = 200
"""Rows above which a table is written line by line."""

PLAIN_WIDTH = 160
"""Columns when the output is no terminal: a log should not be folded at 80."""


def print_report(summaries: Sequence[Summary], file: IO[str] | None = None) -> None:
    """The answer first, then the tables, then what needs saying."""
    console = _console(file)
    labels = short_labels([summary.label for summary in summaries])
    for summary in summaries:
        _print_answer(console, summary)
        if (levels := load_tables.levels(summary)) is not None:
            _print_table(console, levels)
    _print_table(console, tables.overview(summaries))
    _print_table(console, tables.latencies(summaries, labels))
    for summary, label in zip(summaries, labels, strict=True):
        for table in _details(summary):
            _print_table(console, table, label if len(summaries) > 1 else "")
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
    for make in tables.DETAILS:
        table = make(summary)
        if table is not None:
            yield table


def _print_answer(console: Console, summary: Summary) -> None:
    """Verdict, sentence, tiles and criteria; reasons that the sentence has no room for."""
    answer = answer_of(summary)
    style = COLOURS.get(answer.state, "bold")
    console.print(Text.assemble((answer.word.upper(), style), SECRETS.redact(f"  {summary.label}")))
    console.print(_text(answer.sentence))
    for tile in answer.tiles:
        console.print(_text(f"  {tile.name:21} {tile.value:>16}  {tile.more}".rstrip()))
    for item in answer.criteria:
        console.print(_text(f"  {STATES[item.state]:7} {item}" + (f"; {item.note}" if item.note else "")))
    for reason in summary.judgement.other_reasons:
        if str(reason) not in answer.sentence:
            console.print(_text(f"  - {reason}"))


def _print_table(console: Console, table: Table, whose: str = "") -> None:
    if not table.rows:
        return
    if len(table.rows) > LONG_TABLE:
        _print_lines(console, table)
        return
    title = _text(" ".join(filter(None, (table.title, whose))))
    shown = RichTable(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, column in enumerate(table.columns):
        justify: JustifyMethod = "left" if column.words or number == 0 else "right"
        shown.add_column(_text(column.title), justify=justify, overflow="fold")
    for row in text_rows(table):
        shown.add_row(*(_text(cell) for cell in row))
    console.print(shown)
    for note in table.notes:
        console.print(_text(f"  {note}"))


def _print_lines(console: Console, table: Table) -> None:
    """A long table, unfolded: laying it out as the others are would take a second for each thousand rows."""
    rows = [[column.title for column in table.columns], *text_rows(table)]
    widths = [max(cell_len(row[at]) for row in rows) for at in range(len(table.columns))]
    lefts = [column.words or at == 0 for at, column in enumerate(table.columns)]
    lines = [
        "  " + "   ".join(map(_aligned, row, widths, lefts)).rstrip()
        for row in [*rows[:1], ["─" * n for n in widths], *rows[1:]]
    ]
    shown = [table.title, "", *lines, "", *(f"  {note}" for note in table.notes)]
    console.file.write(SECRETS.redact("\n".join(shown)) + "\n")


def _aligned(cell: str, width: int, left: bool) -> str:
    blank = " " * (width - cell_len(cell))
    return cell + blank if left else blank + cell


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
    yield from (("warning", line) for line in summary.warnings)
    yield from (("generator", line) for line in summary.self_check("self_checks"))
    if summary.quota is not None:
        yield from (("429", line) for line in summary.quota.explained)
        yield from (("advice", line) for line in summary.quota.advice)
    yield from (("note", line) for line in summary.notes)
    yield from ((f"{summary.source} cannot tell", line) for line in summary.blind_spots)
