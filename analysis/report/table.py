"""A table of a report as data: what the terminal, Markdown and HTML renderers take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.figures.formats import format_figure
from analysis.statistics import Estimate

GOOD = "good"
BAD = "bad"


@dataclass(frozen=True, slots=True)
class Cell:
    """`state`: `GOOD`, `BAD` or empty. `note`: what belongs to the figure, such as its 95 % interval.

    `share_pct`: the figure as a share of a whole, 0 to 100, drawn as a bar where a medium can; None for others.
    """

    text: str
    note: str = ""
    state: str = ""
    share_pct: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """Figures stand right, `words` left; `code` is set in a fixed pitch.

    The notes of a `brief` column are shown only where they take no width: below the figure.
    """

    title: str
    words: bool = False
    code: bool = False
    brief: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A label and a cell for each further column. Rows of one `group` stand together under its title."""

    label: str
    cells: Sequence[Cell]
    group: str = ""
    is_strong: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The first column is that of the labels. `notes` belong below the table, in media that explain it there."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = ()


def text_rows(table: Table) -> list[list[str]]:
    """The cells of each row as plain text, label first, a note in brackets behind its figure."""
    return [[row.label, *_texts(table.columns[1:], row.cells)] for row in table.rows]


def plain(cell: Cell) -> str:
    """A cell in one line: `610 [600–640]`."""
    return f"{cell.text} [{cell.note}]" if cell.note else cell.text


def _texts(columns: Sequence[Column], cells: Sequence[Cell]) -> list[str]:
    return [cell.text if column.brief else plain(cell) for column, cell in zip(columns, cells, strict=True)]


def format_estimate(estimate: Estimate) -> Cell:
    """A figure, and as its note the 95 % interval, or the one bound that the sample has."""
    return Cell(format_figure(estimate.value), "" if estimate.value is None else _bounds(estimate))


def _bounds(estimate: Estimate) -> str:
    low, high = format_figure(estimate.low), format_figure(estimate.high)
    if estimate.low is None:
        return "" if estimate.high is None else f"≤ {high}"
    return f"≥ {low}" if estimate.high is None else f"{low}–{high}"


def share_cell(part: float | None, whole: float | None) -> Cell:
    """A part as percent of a whole, with its bar; an en dash where either is unknown."""
    share = 100.0 * part / whole if whole and part is not None else None
    return Cell(format_figure(share, "%"), share_pct=share)
