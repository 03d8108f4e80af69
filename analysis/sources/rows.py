"""The table of requests: which columns, how they are typed, and how a `requests.csv` becomes it.

One row per record, columns named as in `tokenswarm.record`. Absent is NaN (numbers), NA (integers), NaN category
(labels). Instants are double precision Unix s. Offsets in ms are double precision too, but single precision in files
of `COMPACT_FROM` bytes and more, so that ten million rows fit: a relative error of 6e-8, 0.03 ms at ten minutes.
Long texts (ids) are not kept; `analysis.sources.run.texts` fetches them for single rows.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.sources.columns import (
    INSTANTS,
    INTEGERS,
    LABELS,
    MAX_STAGES,
    OFFSETS,
    OUTCOMES,
    Columns,
    constant,
    empty_stages,
    integers,
    labels,
    outcome_labels,
)
from analysis.sources.lines import Lines
from tokenswarm.record import COLUMNS, Outcome
from tokenswarm.userinput import BadInput

Values = npt.NDArray[Any]

REQUIRED = ("call_id", "started_at", "outcome", "e2e_ms")
NEVER_NEGATIVE = (
    "first_byte_ms", "first_progress_ms", "ttft_ms", "ttft_visible_ms", "e2e_ms", "tbt_ms", "gap_max_ms",
    "prompt_tokens", "completion_tokens",
)  # fmt: skip
COMPACT_FROM = 512 * 1024 * 1024
CHUNK_ROWS = 50_000
PARSERS = 2
"""Threads that parse: pandas gives the interpreter's lock up meanwhile."""


@dataclass(slots=True)
class RowsFile:
    """What was read of one CSV: the table, the per-stage times and how many lines could not be used."""

    path: Path
    rows: pd.DataFrame
    stages: pd.DataFrame
    skipped_lines: int = 0
    notes: list[str] = field(default_factory=list)


class RowTable(Protocol):
    """What figures are computed from: columns by name, all of one length. A data frame, or a part of one."""

    def __getitem__(self, name: str, /) -> pd.Series[Any]: ...

    def __len__(self) -> int: ...


class Part:
    """Some rows of a table. A column is taken out when it is asked for, so that the rest is never copied."""

    def __init__(self, rows: RowTable, chosen: npt.NDArray[np.bool_]) -> None:
        self._rows = rows
        self._chosen = chosen
        self._length = int(chosen.sum())

    def __getitem__(self, name: str, /) -> pd.Series[Any]:
        return self._rows[name][self._chosen]

    def __len__(self) -> int:
        return self._length


def part(rows: RowTable, chosen: npt.NDArray[np.bool_]) -> RowTable:
    """The chosen rows: the table itself when that is all of them."""
    return rows if chosen.all() else Part(rows, chosen)


def empty_rows() -> pd.DataFrame:
    """A table with every column and no row."""
    return frame({}, 0)


def frame(columns: Mapping[str, Any], n: int) -> pd.DataFrame:
    """Table of `n` rows from the columns a source has; every other column is there and empty."""
    made: dict[str, Any] = {}
    for name in (*INSTANTS, *OFFSETS):
        made[name] = np.asarray(columns[name], np.float64) if name in columns else np.full(n, np.nan)
    for name, kind in INTEGERS.items():
        made[name] = integers(np.asarray(columns.get(name, np.full(n, np.nan)), np.float64), kind)
    for name in LABELS:
        values = columns.get(name, [None] * n)
        made[name] = outcome_labels(values) if name == "outcome" else labels(values)
    made["call"] = np.asarray(columns.get("call", np.arange(n)), np.uint64)
    made["session"] = np.asarray(columns.get("session", np.zeros(n)), np.uint64)
    made["line"] = np.asarray(columns.get("line", np.arange(n)), np.int32)
    made["file"] = constant("requests.csv", n)
    return pd.DataFrame(made, copy=False)


MAX_CELL = 10_000_000
"""Characters of a cell, of stages that a service reported."""


def read_rows(path: Path) -> RowsFile:
    """Read a CSV of records in chunks.

    A last line without line end was cut by a crash and is skipped; so is any line whose cells do not parse or cannot
    be (a time below 0), or with more cells than the header. All are counted. Raises `BadInput` when it is not a file
    of records.
    """
    header = _header(path)
    if header is None:
        return RowsFile(path, empty_rows(), empty_stages(), notes=[f"{path.name} is empty"])
    compact = path.stat().st_size >= COMPACT_FROM
    lines = Lines(path, len(header))
    try:
        columns, skipped = _read(lines, header, compact, tolerant=False)
    except ValueError:
        columns, skipped = _read(lines, header, compact, tolerant=True)
    stages = columns.stages()
    left_out = columns.stages_left_out
    notes = [f"{left_out} stage times beyond {MAX_STAGES} of a request or a run were left out"] if left_out else []
    return RowsFile(path, columns.table(path.name, lines.numbers), stages, skipped, notes)


def texts(path: Path, lines: Iterable[int]) -> dict[int, dict[str, str]]:
    """All cells, as text, of single rows (numbers as in the column `line`)."""
    wanted = set(lines)
    found: dict[int, dict[str, str]] = {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
        header = next(csv.reader([file.readline()]), [])
        csv.field_size_limit(MAX_CELL)
        for number, line in enumerate(file):
            if number in wanted:
                cells = next(csv.reader([line if line.count('"') % 2 == 0 else line + next(file, "")]))
                found[number] = dict(zip(header, cells, strict=False))
                if len(found) == len(wanted):
                    break
    return found


def _header(path: Path) -> list[str] | None:
    """Column names; `None` for a file without a complete header line. Raises `BadInput` for another kind of file."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            first = file.readline(1_000_000)
    except OSError as error:
        raise BadInput([f"{path}: expected a readable file, got {error.strerror}"]) from error
    if not first.endswith("\n"):
        return None
    header = next(csv.reader([first]), [])
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        known = len(set(header) & set(COLUMNS))
        raise BadInput(
            [
                f"{path}: expected a header with the columns {', '.join(REQUIRED)}, got {known} known columns without "
                f"{', '.join(missing)}: {first.strip()[:120]!r}"
            ]
        )
    return header


def _read(lines: Lines, header: list[str], compact: bool, tolerant: bool) -> tuple[Columns, int]:
    """The columns, and how many lines did not make it into them."""
    columns = Columns(lines.capacity, compact)
    kinds = {name: kind for name, kind in columns.kinds().items() if name in header}
    numeric = [name for name, kind in kinds.items() if kind in (np.float64, np.float32)]
    records = bad = 0
    parsed_as = kinds | (dict.fromkeys(numeric, object) if tolerant else {})
    with ThreadPoolExecutor(PARSERS) as pool:
        readers = [_chunks(raw, parsed_as) for raw in lines.open(PARSERS, CHUNK_ROWS)]
        for chunk in _in_turn(pool, readers):
            numbers = np.arange(records, records + len(chunk), dtype=np.int32)
            records += len(chunk)
            good = np.ones(len(chunk), bool)
            if tolerant:
                chunk, good = _numbers(chunk, numeric)
            good &= _usable(chunk)
            bad += int(len(good) - good.sum())
            columns.add(chunk if good.all() else chunk[good], numbers[good])
    return columns, lines.skipped + bad + lines.cut


def _chunks(raw: io.RawIOBase, kinds: dict[str, Any]) -> Iterator[pd.DataFrame]:
    stream = io.TextIOWrapper(io.BufferedReader(raw, 1 << 20), "utf-8-sig", "replace", newline="")
    yield from pd.read_csv(
        stream,
        usecols=list(kinds),
        dtype=kinds,
        chunksize=CHUNK_ROWS,
        keep_default_na=False,
        na_values=[""],
        index_col=False,
    )


def _in_turn(pool: Executor, readers: Iterable[Iterator[pd.DataFrame]]) -> Iterator[pd.DataFrame]:
    """A chunk of each reader in turn, until none has one; each is one chunk ahead."""
    ahead = deque((reader, pool.submit(next, reader, None)) for reader in readers)
    while ahead:
        reader, parsed = ahead.popleft()
        if (chunk := parsed.result()) is not None:
            ahead.append((reader, pool.submit(next, reader, None)))
            yield chunk


def _numbers(chunk: pd.DataFrame, columns: Iterable[str]) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """Numeric columns of a chunk read as text, and which rows have no cell that is not a number."""
    good = np.ones(len(chunk), bool)
    converted: dict[str, Any] = {}
    for name in columns:
        if name not in chunk:
            continue
        numbers = pd.to_numeric(chunk[name], errors="coerce").astype(np.float64)
        good &= ~(numbers.isna() & chunk[name].notna()).to_numpy()
        converted[name] = numbers
    return chunk.assign(**converted), good


def _usable(chunk: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Rows with a known outcome and, when they were sent, a finite start; no time or count in them is impossible."""
    known = chunk["outcome"].isin(OUTCOMES).to_numpy()
    dropped = (chunk["outcome"] == Outcome.DROPPED).to_numpy(bool)
    started = np.isfinite(chunk["started_at"].to_numpy(np.float64))
    named = chunk["call_id"].notna().to_numpy()
    return np.asarray(known & named & (dropped | started) & _possible(chunk))


def _possible(chunk: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Rows in which nothing took less than no time, or for ever, and nothing was counted below 0."""
    good = np.ones(len(chunk), bool)
    for name in NEVER_NEGATIVE:
        if name in chunk:
            values = chunk[name].to_numpy(np.float64)
            good &= ~((values < 0) | np.isinf(values))
    return good
