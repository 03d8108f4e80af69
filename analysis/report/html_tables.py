"""The HTML of tables. Every text is escaped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from analysis.report.table import BAD, GOOD, Cell, Column, Row, Table
from tokenswarm.redaction import escape

_STYLES = {GOOD: "passed", BAD: "failed"}


def render_table(content: Table | None) -> str:
    """A table without its title and notes, which the page gives; empty for no table."""
    if content is None:
        return ""
    lines: list[str] = []
    for group, rows in groupby(content.rows, key=lambda line: line.group):
        if group:
            lines.append(_group_row(group, len(content.columns)))
        lines += [_row(line, content.columns) for line in rows]
    words = [at for at, column in enumerate(content.columns) if column.words]
    return table([column.title for column in content.columns], lines, words)


def render_groups(content: Table) -> str:
    """A table of one run with each group of rows as a table of its own, side by side where there is room."""
    parts = []
    for group, rows in groupby(content.rows, key=lambda line: line.group):
        part = table([group, ""], [_row(line, content.columns) for line in rows])
        parts.append(f'<div class="part">{part}</div>')
    return f'<div class="columns">{"".join(parts)}</div>'


def _row(line: Row, columns: Sequence[Column]) -> str:
    cells = [_cell(found, column) for found, column in zip(line.cells, columns[1:], strict=True)]
    return row(line.label, cells, style="strong" if line.is_strong else "")


def _cell(found: Cell, column: Column) -> str:
    if found.state:
        small = f" {escape(found.note)}" if found.note else ""
        state = f'<span class="state {_STYLES[found.state]}">{escape(found.text)}</span>'
        return f"<td{_text_class(column.words)}>{state}{small}</td>"
    if found.share_pct is not None:
        width = min(max(found.share_pct, 0.0), 100.0)
        return f'<td><span class="bar" style="width:{width:.1f}px"></span> {escape(found.text)}</td>'
    if column.code:
        return f'<td class="text mono">{escape(found.text)}</td>'
    return cell(found.text, found.note, words=column.words)


def _group_row(title: str, columns: int) -> str:
    return f'<tr class="group"><th scope="colgroup" colspan="{columns}">{escape(title)}</th></tr>'


def table(head: Sequence[str], rows: Iterable[str], text_columns: Collection[int] = ()) -> str:
    """A table that scrolls sideways on a narrow screen. `head` is escaped here, rows are HTML already."""
    cells = "".join(
        f'<th scope="col"{_text_class(at in text_columns)}>{escape(name)}</th>' for at, name in enumerate(head)
    )
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def row(name: str, cells: Iterable[str], *, style: str = "") -> str:
    """One row: an escaped name, and cells that are HTML already (see `cell`)."""
    mark = f' class="{style}"' if style else ""
    return f'<tr{mark}><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>'


def cell(text: str, below: str = "", *, words: bool = False) -> str:
    """One cell, escaped; `below` is a second, smaller line."""
    small = f"<small>{escape(below)}</small>" if below else ""
    return f"<td{_text_class(words)}>{escape(text)}{small}</td>"


def _text_class(words: bool) -> str:
    return ' class="text"' if words else ""
