"""The tables of a report as an Excel file: one sheet a table, figures as numbers, texts never as formulas."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from analysis.figures.formats import short_labels
from analysis.findings.answer import answer_of
from analysis.findings.summary import Summary
from analysis.report import load_tables, request_tables, tables
from analysis.report.table import Cell, Column, Row, Table, text_rows
from tokenswarm.redaction import SECRETS

MAX_TEXT = 32_767
"""Characters that a cell of Excel holds."""
MAX_TITLE = 31
WIDEST = 60
_NUMBER = re.compile(r"[-−]?\d{1,3}(?:,\d{3})*(?:\.\d+)?|[-−]?\d+(?:\.\d+)?")
_DETAILS = (load_tables.levels, *tables.DETAILS, request_tables.minutes, request_tables.settings)


def render(summaries: Sequence[Summary]) -> bytes:
    """The file."""
    book = Workbook()
    if book.active is not None:
        book.remove(book.active)
    taken: set[str] = set()
    for table in _tables(summaries):
        _add(book.create_sheet(_title(table.title, taken)), table)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _tables(summaries: Sequence[Summary]) -> Iterator[Table]:
    labels = short_labels([summary.label for summary in summaries])
    yield _answers(summaries, labels)
    criteria = tables.criteria(summaries[0]) if len(summaries) == 1 else tables.criteria_of_several(summaries, labels)
    yield from [criteria] if criteria is not None else []
    yield tables.overview(summaries)
    yield tables.latencies(summaries, labels)
    for summary in summaries:
        yield from (made for make in _DETAILS if (made := make(summary)) is not None)


def _answers(summaries: Sequence[Summary], labels: Sequence[str]) -> Table:
    rows = []
    for summary, label in zip(summaries, labels, strict=True):
        answer = answer_of(summary)
        tiles = "; ".join(
            f"{tile.name} {tile.value}" + (f" ({tile.more})" if tile.more else "") for tile in answer.tiles
        )
        rows.append(Row(label, [Cell(text) for text in (answer.word, answer.sentence, tiles)]))
    return Table("Answer", [Column(name) for name in ("run", "verdict", "in a sentence", "figures")], rows)


def _title(wanted: str, taken: set[str]) -> str:
    """A sheet's name: short, without what Excel forbids, and one of its own."""
    plain = re.sub(r"[\[\]:*?/\\']", " ", wanted).strip()
    name, number = plain[:MAX_TITLE], 2
    while name.lower() in taken:
        name, number = f"{plain[: MAX_TITLE - 4]} {number}", number + 1
    taken.add(name.lower())
    return name


def _add(sheet: Worksheet, table: Table) -> None:
    for at, column in enumerate(table.columns, 1):
        _write(sheet, 1, at, column.title)
        sheet.cell(1, at).font = Font(bold=True)
    lines = text_rows(table)
    for number, line in enumerate(lines, 2):
        for at, text in enumerate(line, 1):
            _write(sheet, number, at, text)
    for number, note in enumerate(table.notes, len(lines) + 3):
        _write(sheet, number, 1, note)
    for at in range(1, len(table.columns) + 1):
        longest = max((len(line[at - 1]) for line in lines), default=0)
        sheet.column_dimensions[get_column_letter(at)].width = min(max(longest, 8) + 2, WIDEST)
    sheet.freeze_panes = "B2"


def _write(sheet: Worksheet, row: int, column: int, text: str) -> None:
    """A figure as a number, everything else as text: a cell that begins with "=" is text, too."""
    cell: Any = sheet.cell(row, column)
    if _NUMBER.fullmatch(text):
        cell.value = float(text.replace(",", "").replace("−", "-"))
        cell.number_format = "#,##0" + ("." + "0" * len(text.partition(".")[2]) if "." in text else "")
        return
    cell.value = ILLEGAL_CHARACTERS_RE.sub(" ", SECRETS.redact(text))[:MAX_TEXT]
    cell.data_type = "s"
