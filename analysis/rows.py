"""The table of requests: which columns, how they are typed, and how a `requests.csv` becomes it.

One row per record, columns named as in `tokenswarm.record`. Absent is NaN (numbers), NA (integers), NaN category
(labels). Instants are double precision Unix s. Offsets in ms are double precision too, but single precision in files
of `COMPACT_FROM` bytes and more, so that ten million rows fit: a relative error of 6e-8, 0.03 ms at ten minutes.
Long texts (ids) are not kept; `analysis.run.texts` fetches them for single rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.lines import Lines
from tokenswarm.problems import BadInput
from tokenswarm.record import COLUMNS, Outcome

Values = npt.NDArray[Any]

INSTANTS = ("scheduled_at", "started_at")
OFFSETS = (
    "lag_ms",
    "first_byte_ms",
    "ttft_ms",
    "ttft_visible_ms",
    "e2e_ms",
    "tbt_ms",
    "gap_max_ms",
    "read_lag_ms",
    "utilization_pct",
    "retry_after_ms",
)
INTEGERS = {
    "attempt": "int16",
    "turn": "int16",
    "status": "int16",
    "chunks": "int32",
    "context_tokens": "int32",
    "max_tokens": "int32",
    "prompt_tokens": "int32",
    "completion_tokens": "int32",
    "reasoning_tokens": "int32",
    "cached_tokens": "int32",
    "remaining_tokens": "int32",
    "remaining_requests": "int32",
}
LABELS = ("worker", "target", "name", "token_source", "outcome", "error")
EXTRA_OFFSETS = ("connect_ms", "headers_ms", "last_token_ms", "gap_p95_ms")
EXTRA_INTEGERS = {"chunks_interpolated": "int32", "user": "int32"}
EXTRA_LABELS = ("region", "model", "finish_reason")
"""Extra columns are left out of files of `COMPACT_FROM` bytes and more: ask `column in rows`."""

REQUIRED = ("call_id", "started_at", "outcome", "e2e_ms")
COMPACT_FROM = 512 * 1024 * 1024
CHUNK_ROWS = 200_000
DISTINCT_ERRORS = 2_000
OTHER_ERROR = "(other)"
ERROR_LENGTH = 300
_OUTCOMES = [str(outcome) for outcome in Outcome]


@dataclass(slots=True)
class RowsFile:
    """What was read of one CSV: the table, the per-stage times and how many lines could not be used."""

    path: Path
    rows: pd.DataFrame
    stages: pd.DataFrame
    skipped_lines: int = 0
    notes: list[str] = field(default_factory=list)


def empty_rows() -> pd.DataFrame:
    """A table with every column and no row."""
    return frame({}, 0)


def empty_stages() -> pd.DataFrame:
    """A table of stage times with no row: `row` (position in the table of requests), `stage`, `ms`."""
    return pd.DataFrame({"row": np.empty(0, np.int32), "stage": pd.Categorical([]), "ms": np.empty(0, np.float64)})


def frame(columns: Mapping[str, Any], n: int) -> pd.DataFrame:
    """Table of `n` rows from the columns a source has; every other column is there and empty."""
    made: dict[str, Any] = {}
    for name in (*INSTANTS, *OFFSETS):
        made[name] = np.asarray(columns[name], np.float64) if name in columns else np.full(n, np.nan)
    for name, kind in INTEGERS.items():
        made[name] = _integers(np.asarray(columns.get(name, np.full(n, np.nan)), np.float64), kind)
    for name in LABELS:
        values = columns.get(name, [None] * n)
        made[name] = _outcome(values) if name == "outcome" else _labels(values)
    made["call"] = np.asarray(columns.get("call", np.arange(n)), np.uint64)
    made["line"] = np.asarray(columns.get("line", np.arange(n)), np.int32)
    made["file"] = _constant("requests.csv", n)
    return pd.DataFrame(made, copy=False)


def read_rows(path: Path) -> RowsFile:
    """Read a CSV of records in chunks.

    A last line without line end was cut by a crash and is skipped; so is any line whose cells do not parse, or with
    more cells than the header. All are counted. Raises `BadInput` when it is not a file of records.
    """
    header = _header(path)
    if header is None:
        return RowsFile(path, empty_rows(), empty_stages(), notes=[f"{path.name} is empty"])
    compact = path.stat().st_size >= COMPACT_FROM
    lines = Lines(path, len(header))
    try:
        parts, skipped = _read(lines, header, compact, tolerant=False)
    except ValueError:
        parts, skipped = _read(lines, header, compact, tolerant=True)
    rows, stages = parts.join(path.name, lines.numbers)
    return RowsFile(path, rows, stages, skipped)


def texts(path: Path, lines: Iterable[int]) -> dict[int, dict[str, str]]:
    """All cells, as text, of single rows (numbers as in the column `line`)."""
    wanted = set(lines)
    found: dict[int, dict[str, str]] = {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
        header = next(csv.reader([file.readline()]), [])
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


def _read(lines: Lines, header: list[str], compact: bool, tolerant: bool) -> tuple[_Parts, int]:
    """The columns, and how many lines did not make it into them."""
    parts = _Parts(compact)
    with lines.open() as raw:
        for chunk in _chunks(raw, header, compact, tolerant):
            parts.add(chunk, tolerant)
    return parts, lines.skipped + parts.bad + lines.cut


def _chunks(raw: io.RawIOBase, header: list[str], compact: bool, tolerant: bool) -> Iterator[pd.DataFrame]:
    offsets = OFFSETS if compact else (*OFFSETS, *EXTRA_OFFSETS)
    integers = INTEGERS if compact else {**INTEGERS, **EXTRA_INTEGERS}
    labels = LABELS if compact else (*LABELS, *EXTRA_LABELS)
    kinds: dict[str, Any] = {name: np.float64 for name in (*INSTANTS, *offsets, *integers)}
    if compact:
        kinds.update({name: np.float32 for name in offsets})
    if tolerant:
        kinds = dict.fromkeys(kinds, object)
    kinds.update({name: "category" for name in labels})
    kinds.update({"call_id": object, "stages": object})
    wanted = {name: kind for name, kind in kinds.items() if name in header}
    stream = io.TextIOWrapper(io.BufferedReader(raw, 1 << 20), "utf-8-sig", "replace", newline="")
    reader = pd.read_csv(
        stream,
        usecols=list(wanted),
        dtype=wanted,
        chunksize=CHUNK_ROWS,
        keep_default_na=False,
        na_values=[""],
        index_col=False,
    )
    yield from reader


class _Parts:
    """Chunks taken apart into compact columns, joined once at the end, column by column."""

    def __init__(self, compact: bool) -> None:
        self._offset = np.float32 if compact else np.float64
        self._offsets = OFFSETS if compact else (*OFFSETS, *EXTRA_OFFSETS)
        self._integers = INTEGERS if compact else {**INTEGERS, **EXTRA_INTEGERS}
        self._labels = {name: _Label() for name in (LABELS if compact else (*LABELS, *EXTRA_LABELS))}
        self._columns: dict[str, list[Values]] = {}
        self._stages: list[pd.DataFrame] = []
        self.records = 0
        self.kept = 0
        self.bad = 0

    def add(self, chunk: pd.DataFrame, tolerant: bool) -> None:
        lines = np.arange(self.records, self.records + len(chunk), dtype=np.int32)
        self.records += len(chunk)
        if tolerant:
            chunk, good = _numbers(chunk, (*INSTANTS, *self._offsets, *self._integers))
        else:
            good = np.ones(len(chunk), bool)
        good &= _usable(chunk)
        self.bad += int(len(good) - good.sum())
        if not good.all():
            chunk, lines = chunk[good], lines[good]
        self._take(chunk, lines)

    def _take(self, chunk: pd.DataFrame, lines: Values) -> None:
        n = len(chunk)
        for name in INSTANTS:
            self._keep(name, _floats(chunk, name, n, np.float64))
        for name in self._offsets:
            self._keep(name, _floats(chunk, name, n, self._offset))
        for name, kind in self._integers.items():
            self._keep(name, _compact(_floats(chunk, name, n, np.float64), kind))
        for name, label in self._labels.items():
            self._keep(name, label.codes(chunk.get(name), n))
        self._keep("call", pd.util.hash_array(chunk["call_id"].to_numpy(object), categorize=False))
        self._keep("line", lines)
        if "stages" in chunk and chunk["stages"].notna().any():
            self._stages.append(_stage_times(chunk["stages"], np.arange(self.kept, self.kept + n)))
        self.kept += n

    def _keep(self, name: str, values: Values) -> None:
        self._columns.setdefault(name, []).append(values)

    def join(self, file_name: str, numbers: npt.NDArray[np.int32] | None) -> tuple[pd.DataFrame, pd.DataFrame]:
        if not self._columns:
            return empty_rows(), empty_stages()
        made: dict[str, Any] = {}
        for name in list(self._columns):
            values = np.concatenate(self._columns.pop(name))
            if name in self._labels:
                made[name] = self._labels[name].categorical(values)
            elif name in self._integers:
                made[name] = _masked(values)
            else:
                made[name] = values
        made["outcome"] = _outcome(made["outcome"])
        if numbers is not None:
            made["line"] = numbers[made["line"]]
        n = len(made["line"])
        made["file"] = _constant(file_name, n)
        stages = pd.concat(self._stages, ignore_index=True) if self._stages else empty_stages()
        stages["stage"] = stages["stage"].astype("category")
        return pd.DataFrame(made, copy=False), stages


class _Label:
    """Codes for the distinct texts of one column, the same over all chunks; too many distinct ones are one."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def codes(self, column: pd.Series[Any] | None, n: int) -> Values:
        if column is None:
            return np.full(n, -1, np.int16)
        mapped = np.array([self._code(str(text)) for text in column.cat.categories] + [-1], np.int16)
        return mapped[column.cat.codes.to_numpy()]

    def _code(self, text: str) -> int:
        text = text[:ERROR_LENGTH]
        if text not in self._known and len(self._known) >= DISTINCT_ERRORS:
            text = OTHER_ERROR
        return self._known.setdefault(text, len(self._known))

    def categorical(self, codes: Values) -> pd.Categorical[Any]:
        """Texts in alphabetical order, so that the order of rows does not show."""
        known = list(self._known)
        order = sorted(range(len(known)), key=known.__getitem__)
        place = np.full(len(known) + 1, -1, np.int16)
        place[order] = np.arange(len(known))
        return _categorical(place[codes], [known[at] for at in order])


def _floats(chunk: pd.DataFrame, name: str, n: int, kind: Any) -> Values:
    if name not in chunk:
        return np.full(n, np.nan, kind)
    values = np.asarray(chunk[name].to_numpy(), kind)
    return np.where(np.isinf(values), kind(np.nan), values) if np.isinf(values).any() else values


def _compact(values: Values, kind: str) -> Values:
    """Integers in the width of `kind`, with its smallest value for absent ones; what does not fit is clipped."""
    limits = np.iinfo(kind)
    absent = np.isnan(values)
    filled = np.where(absent, 0.0, np.clip(values, limits.min + 1, limits.max))
    whole = filled.astype(kind)
    whole[absent] = limits.min
    return whole


def _masked(values: Values) -> pd.api.extensions.ExtensionArray:
    absent = values == np.iinfo(values.dtype).min
    values[absent] = 0
    return pd.arrays.IntegerArray(values, absent)


def _constant(text: str, n: int) -> pd.Categorical[Any]:
    return _categorical(np.zeros(n, np.int8), [text])


def _categorical(codes: Values, texts: list[str]) -> pd.Categorical[Any]:
    made: pd.Categorical[Any] = pd.Categorical.from_codes(codes, pd.Index(texts, dtype="str"))
    return made


def _labels(values: Any) -> pd.Categorical[Any]:
    """Texts as categories, also when there is none."""
    made = pd.Categorical(values)
    return made if len(made.categories) else _categorical(made.codes, [])


def _integers(values: Values, kind: str) -> pd.api.extensions.ExtensionArray:
    return _masked(_compact(values, kind))


def _outcome(values: Any) -> pd.Categorical[Any]:
    """Outcome labels with the fixed categories of the record, so that groups of different runs line up."""
    if isinstance(values, pd.Categorical):
        return values.set_categories(_OUTCOMES)
    return pd.Categorical(values, categories=_OUTCOMES)


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
    """Rows with a known outcome and, when they were sent, a finite start."""
    known = chunk["outcome"].isin(_OUTCOMES).to_numpy()
    dropped = (chunk["outcome"] == Outcome.DROPPED).to_numpy(bool)
    started = np.isfinite(chunk["started_at"].to_numpy(np.float64))
    named = chunk["call_id"].notna().to_numpy()
    return np.asarray(known & named & (dropped | started))


def _stage_times(column: pd.Series[Any], rows: Values) -> pd.DataFrame:
    """`name=ms` pairs joined by `;` as one row per pair; pairs that do not parse are left out."""
    present = column.notna().to_numpy()
    found_rows: list[int] = []
    found_names: list[str] = []
    found_ms: list[float] = []
    for row, text in zip(rows[present].tolist(), column[present], strict=True):
        for name, ms in stage_pairs(text):
            found_rows.append(row)
            found_names.append(name)
            found_ms.append(ms)
    return pd.DataFrame({"row": np.array(found_rows, np.int32), "stage": found_names, "ms": found_ms})


def stage_pairs(text: str) -> Iterator[tuple[str, float]]:
    """The (name, ms) pairs of a `stages` cell."""
    for pair in text.split(";"):
        name, _, ms = pair.rpartition("=")
        value = _number(ms)
        if name and value is not None:
            yield name.strip(), value


def _number(text: str, parse: Callable[[str], float] = float) -> float | None:
    try:
        value = parse(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
