"""How a CSV JTL is written: its delimiter, its columns (JMeter 2.13 and older wrote no header), and its dates. Pure."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

REQUIRED = ("timeStamp", "elapsed", "label", "responseCode", "success")
_FIRST = ("timeStamp", "elapsed", "label", "responseCode", "responseMessage")
_LAST = ("grpThreads", "allThreads")
HEADERLESS: tuple[tuple[str, ...], ...] = (
    (*_FIRST, "dataType", "success", "bytes", *_LAST, "Latency"),
    (*_FIRST, "threadName", "dataType", "success", "bytes", *_LAST, "Latency"),
    (*_FIRST, "threadName", "dataType", "success", "failureMessage", "bytes", *_LAST, "Latency", "IdleTime"),
    (*_FIRST, "threadName", "dataType", "success", "failureMessage", "bytes", "sentBytes", *_LAST, "Latency",
     "IdleTime", "Connect"),
    (*_FIRST, "threadName", "dataType", "success", "failureMessage", "bytes", "sentBytes", *_LAST, "URL", "Latency",
     "IdleTime", "Connect"),
)  # fmt: skip
"""What JMeter 2.9 to 5.6 write with their own settings; a file without a header is one of these by its first line."""
_DELIMITERS = ",;\t|:"
_DAYS = ("%Y/%m/%d", "%Y-%m-%d", "%Y.%m.%d", "%d.%m.%Y", "%Y%m%d")
_CLOCKS = ("%H:%M:%S.%f", "%H:%M:%S,%f", "%H:%M:%S")
DATE_FORMATS = tuple(f"{day}{between}{clock}" for day in _DAYS for between in (" ", "T") for clock in _CLOCKS)
"""Days before months or after years only: 04/05/2026 could be either, and is refused."""
_DATE = re.compile(r"\d{4}[/.-]\d\d[/.-]\d\d[ T]\d\d:|\d\d\.\d\d\.\d{4}[ T]\d\d:|\d{8}[ T]\d\d:", re.ASCII)


@dataclass(frozen=True, slots=True)
class Dialect:
    """`names`: the columns of a file without a header; empty where its first line is one. `skipped`: lines before."""

    delimiter: str
    names: tuple[str, ...] = ()
    skipped: int = 0


def find_dialect(head: str) -> Dialect | None:
    """How a file that begins with `head` is to be read; `None` when it is no JTL."""
    lines = head.splitlines()[:2]
    skipped = int(bool(lines) and lines[0].startswith("sep="))
    if len(lines) <= skipped:
        return None
    for delimiter in _DELIMITERS:
        cells = _cells(lines[skipped], delimiter)
        if set(REQUIRED) <= set(cells):
            return Dialect(delimiter, (), skipped)
        names = next((names for names in HEADERLESS if _fits(cells, names)), None)
        if names is not None:
            return Dialect(delimiter, names, skipped)
    return None


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _fits(cells: list[str], names: tuple[str, ...]) -> bool:
    if len(cells) != len(names):
        return False
    named = dict(zip(names, cells, strict=True))
    placed = _DATE.match(named["timeStamp"]) or re.fullmatch(r"\d{12,13}", named["timeStamp"], re.ASCII)
    numbers = (named["elapsed"], named["bytes"], named["grpThreads"], named["Latency"])
    return bool(placed) and named["success"] in ("true", "false") and all(cell.isdecimal() for cell in numbers)


EARLIEST_S, LATEST_S = 946_684_800.0, 4_102_444_800.0
"""2000 and 2100: a number outside them is in s or us, not in ms."""


def instants(column: pd.Series[Any]) -> tuple[pd.Series[Any], str | None]:
    """Unix s of a column of times, NaN for what is none, and what needs saying of them. Dates have no zone: UTC."""
    numbers = pd.to_numeric(column, errors="coerce") / 1000.0
    numbers = numbers.where(numbers.between(EARLIEST_S, LATEST_S))
    dates = column.str.match(_DATE)
    if not dates.any():
        return numbers, None
    best = pd.Series(np.nan, index=column.index)
    for form in DATE_FORMATS:
        parsed = pd.to_datetime(column, format=form, errors="coerce", utc=True)
        if parsed.notna().sum() > best.notna().sum():
            best = (parsed - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    whole = bool((best.dropna() % 1 == 0).all())
    note = "its dates have no zone and are read as UTC"
    note += ", and no fractions: a request is placed within one second only" if whole else ""
    return best.where(best.notna(), numbers), note
