"""Records as lines of CSV and back. No I/O."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, get_type_hints

from tokenswarm.record import COLUMNS, Outcome, RequestRecord, SessionEnd, TokenSource

HEADER = ",".join(COLUMNS) + "\n"


def format_row(record: RequestRecord) -> str:
    """The record as a line of CSV, with its line end."""
    cells = record.to_row()
    plain = ",".join(cells)
    if '"' not in plain and plain.count(",") == len(COLUMNS) - 1:
        return plain + "\n"
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def parse_rows(text: str) -> list[RequestRecord]:
    """Rows of a message or a journal without its header. Raises `ValueError`, `TypeError` or `csv.Error`."""
    return [_parse(cells) for cells in _cells_of_rows(text)]


def _cells_of_rows(text: str) -> Iterable[list[str]]:
    if not text or '"' in text or "\r" in text:
        return csv.reader(io.StringIO(text))
    return (line.split(",") for line in text.removesuffix("\n").split("\n"))


def _parse(cells: list[str]) -> RequestRecord:
    """A record of cells in the order of `COLUMNS`, as `RequestRecord.from_row` reads them: that costs twice as much,
    and is asked about whatever is not plainly right."""
    record = object.__new__(RequestRecord)
    try:
        for (put, parse, absent), cell in zip(_FIELDS, cells, strict=True):
            put(record, absent if not cell else cell if parse is None else parse(cell))
    except (ValueError, KeyError):
        record = RequestRecord.from_row(dict(zip(COLUMNS, cells, strict=True)))
    if record.attempt is None or record.outcome is None:
        raise ValueError("expected an attempt and an outcome, got a row without them")
    return record


def _finite(cell: str) -> float:
    """Raises `ValueError` for a number that nobody can reckon with: what it is, `RequestRecord.from_row` says."""
    value = float(cell)
    if value - value != 0.0:
        raise ValueError
    return value


def _members(kind: type[StrEnum]) -> Any:
    return {member.value: member for member in kind}.__getitem__


_HINTS = get_type_hints(RequestRecord)
_BY_TYPE: dict[Any, tuple[Any, Any]] = {
    str: (None, ""),
    int: (int, None),
    str | None: (None, None),
    int | None: (int, None),
    float | None: (_finite, None),
    TokenSource: (_members(TokenSource), TokenSource.NONE),
    Outcome: (_members(Outcome), None),
    SessionEnd | None: (_members(SessionEnd), None),
}
"""How a cell of a type is parsed (`None`: it is its own value), and what an empty one means."""

_FIELDS = [(getattr(RequestRecord, name).__set__, *_BY_TYPE[_HINTS[name]]) for name in COLUMNS]
"""Of each column: what sets it in a new record, and the two above."""
