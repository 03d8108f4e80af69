"""The columns of the table of requests: which there are, how they are held, and how chunks of text fill them.

Columns are allocated once, for as many rows as the file can have, and filled in place: a list of pieces that is joined
at the end would need the memory twice. A column in which nothing was observed takes none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tokenswarm.record import Outcome, error_kind
from tokenswarm.redaction import without_controls

Values = npt.NDArray[Any]

MAX_STAGES = 100
"""Stages of a request, and names of stages in a run, that are taken in: a service has a handful."""

INSTANTS = ("scheduled_at", "started_at")
OFFSETS = (
    "lag_ms",
    "first_byte_ms",
    "first_progress_ms",
    "ttft_ms",
    "ttft_visible_ms",
    "e2e_ms",
    "tbt_ms",
    "gap_max_ms",
    "read_lag_ms",
    "utilization_pct",
    "retry_after_ms",
    "session_s",
    "path_s",
)
INTEGERS = dict.fromkeys(("attempt", "turn", "step", "status"), "int16") | dict.fromkeys(
    (
        "chunks", "context_tokens", "shared_tokens", "max_tokens", "prompt_tokens", "completion_tokens",
        "reasoning_tokens", "cached_tokens", "remaining_tokens", "remaining_requests",
    ), "int32",
)  # fmt: skip
LABELS = (
    "worker", "target", "name", "token_source", "outcome", "error", "doubts", "end_note", "session_end", "route",
    "spilled_from", "answer_check", "deployment",
)  # fmt: skip
EXTRA_OFFSETS = ("connect_ms", "headers_ms", "last_token_ms", "gap_p95_ms")
EXTRA_INTEGERS = {"chunks_interpolated": "int32", "user": "int32"}
EXTRA_LABELS = ("region", "service_tier", "model", "finish_reason", "question_id", "answer_hash")
"""Extra columns are left out of files of `COMPACT_FROM` bytes and more: ask `column in rows`."""

DISTINCT_ERRORS = 2_000
OTHER_ERROR = "(other)"
ERROR_LENGTH = 300
OUTCOMES = [str(outcome) for outcome in Outcome]


class Columns:
    """Takes chunks of parsed cells and holds them as compact columns of at most `capacity` rows."""

    def __init__(self, capacity: int, compact: bool) -> None:
        self._capacity = capacity
        self._compact = compact
        self._offset = np.float32 if compact else np.float64
        self.offsets = OFFSETS if compact else (*OFFSETS, *EXTRA_OFFSETS)
        self.integers = INTEGERS if compact else {**INTEGERS, **EXTRA_INTEGERS}
        self.labels = LABELS if compact else (*LABELS, *EXTRA_LABELS)
        self._texts = {name: _Label(_error_kind if name == "error" else without_controls) for name in self.labels}
        self._held: dict[str, Values] = {}
        self._stages: list[pd.DataFrame] = []
        self.rows = 0
        self.stages_left_out = 0
        """Stage times beyond `MAX_STAGES` of a request, or of as many names."""

    def kinds(self) -> dict[str, Any]:
        """How the columns of a file are to be parsed."""
        kinds: dict[str, Any] = {name: np.float64 for name in (*INSTANTS, *self.integers)}
        kinds |= {name: self._offset for name in self.offsets}
        return (
            kinds | {name: "category" for name in (*self.labels, "session_id")} | {"call_id": object, "stages": object}
        )

    def add(self, chunk: pd.DataFrame, lines: Values) -> None:
        """Take in a chunk; `lines` are the numbers of its records in the file."""
        started = _floats(chunk, "started_at", np.float64)
        self._put("started_at", started, np.float64, np.nan)
        self._put("scheduled_at", self._scheduled(chunk, started), np.float64, np.nan)
        for name in self.offsets:
            self._put(name, _floats(chunk, name, self._offset), self._offset, np.nan)
        for name, kind in self.integers.items():
            self._put(name, _whole(_floats(chunk, name, np.float64), kind), np.dtype(kind), np.iinfo(kind).min)
        for name, label in self._texts.items():
            self._put(name, label.codes(chunk[name]) if name in chunk else None, np.dtype(np.int16), -1)
        self._put("call", pd.util.hash_array(chunk["call_id"].to_numpy(object), categorize=False), np.dtype("u8"), 0)
        self._put("session", _hashes(chunk["session_id"]) if "session_id" in chunk else None, np.dtype("u8"), 0)
        self._put("line", lines, np.dtype(np.int32), -1)
        if "stages" in chunk and chunk["stages"].notna().any():
            times, left_out = _stage_times(chunk["stages"], self.rows)
            self._stages.append(times)
            self.stages_left_out += left_out
        self.rows += len(chunk)

    def _scheduled(self, chunk: pd.DataFrame, started: Values | None) -> Values | None:
        """When requests were scheduled. A compact table keeps it for those never started: `lag_ms` says the rest."""
        scheduled = _floats(chunk, "scheduled_at", np.float64)
        if scheduled is None or started is None or not self._compact:
            return scheduled
        return np.where(np.isnan(started), scheduled, np.nan)

    def _put(self, name: str, values: Values | None, kind: Any, absent: float) -> None:
        """Write values behind those already held; a column is made when the first value is observed."""
        if values is None:
            return
        if name not in self._held:
            if (np.isnan(values) if absent != absent else values == absent).all():
                return
            self._held[name] = np.empty(self._capacity, kind)
            self._held[name][: self.rows] = absent
        self._held[name][self.rows : self.rows + len(values)] = values

    def _take(self, name: str, kind: Any, absent: float) -> Values:
        """The column, given up; one that was never made is a single value seen everywhere."""
        held = self._held.pop(name, None)
        if held is None:
            return np.broadcast_to(np.array(absent, kind), self.rows)
        return held[: self.rows]

    def table(self, file_name: str, numbers: Values | None) -> pd.DataFrame:
        """The table; `numbers` translates records to lines of the file, `None` when they are the same."""
        made: dict[str, Any] = {name: self._take(name, np.float64, np.nan) for name in INSTANTS}
        made |= {name: self._take(name, self._offset, np.nan) for name in self.offsets}
        made |= {name: _masked(self._take(name, kind, np.iinfo(kind).min)) for name, kind in self.integers.items()}
        made |= {name: label.categorical(self._take(name, np.int16, -1)) for name, label in self._texts.items()}
        if np.array_equal(made["ttft_visible_ms"], made["ttft_ms"], equal_nan=True):
            made["ttft_visible_ms"] = made["ttft_ms"]  # no reasoning: hold it once
        made["outcome"] = outcome_labels(made["outcome"])
        made |= {name: self._take(name, np.uint64, 0) for name in ("call", "session")}
        lines = self._take("line", np.int32, 0)
        made["line"] = lines if numbers is None else numbers[lines]
        made["file"] = constant(file_name, self.rows)
        return pd.DataFrame(made, copy=False)

    def stages(self) -> pd.DataFrame:
        """Server-side stage times: `row` (position in the table), `stage`, `ms`."""
        if not self._stages:
            return empty_stages()
        joined = pd.concat(self._stages, ignore_index=True)
        known = joined["stage"].drop_duplicates().iloc[:MAX_STAGES]
        kept = joined[joined["stage"].isin(known)].reset_index(drop=True)
        self.stages_left_out += len(joined) - len(kept)
        return kept.assign(stage=kept["stage"].astype("category"))


def _error_kind(text: str) -> str:
    return without_controls(error_kind(text))


class _Label:
    """Codes for the distinct texts of one column, the same over all chunks; too many distinct ones are one.

    `kind_of` gives texts that are to count as one the same text.
    """

    def __init__(self, kind_of: Callable[[str], str]) -> None:
        self._kind_of = kind_of
        self._known: dict[str, int] = {}

    def codes(self, column: pd.Series[Any]) -> Values:
        mapped = np.array([self._code(str(text)) for text in column.cat.categories] + [-1], np.int16)
        return mapped[column.cat.codes.to_numpy()]

    def _code(self, text: str) -> int:
        text = self._kind_of(text)[:ERROR_LENGTH]
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


def empty_stages() -> pd.DataFrame:
    """A table of stage times with no row."""
    return pd.DataFrame({"row": np.empty(0, np.int32), "stage": pd.Categorical([]), "ms": np.empty(0, np.float64)})


def _hashes(column: pd.Series[Any]) -> Values:
    """Of each text a number by which it can be told from others; 0 for none."""
    known = pd.util.hash_array(column.cat.categories.to_numpy(object), categorize=False)
    return np.append(known, np.uint64(0))[column.cat.codes.to_numpy()]


def _floats(chunk: pd.DataFrame, name: str, kind: Any) -> Values | None:
    """Finite numbers of a column, others absent; `None` for a column that the file lacks."""
    if name not in chunk:
        return None
    values = np.asarray(chunk[name].to_numpy(), kind)
    return np.where(np.isinf(values), kind(np.nan), values) if np.isinf(values).any() else values


def _whole(values: Values | None, kind: str) -> Values | None:
    """Integers in the width of `kind`, with its smallest value for absent ones; what does not fit is clipped."""
    if values is None:
        return None
    limits = np.iinfo(kind)
    absent = np.isnan(values)
    whole = np.where(absent, 0.0, np.clip(values, limits.min + 1, limits.max)).astype(kind)
    whole[absent] = limits.min
    return whole


def _masked(values: Values) -> pd.api.extensions.ExtensionArray:
    absent = values == np.iinfo(values.dtype).min
    if absent.all():
        zero = np.zeros(1, values.dtype)
        return pd.arrays.IntegerArray(np.broadcast_to(zero, len(values)), np.broadcast_to(np.True_, len(values)))
    values[absent] = 0
    return pd.arrays.IntegerArray(values, absent)


def constant(text: str, n: int) -> pd.Categorical[Any]:
    """One text, n times."""
    return _categorical(np.zeros(n, np.int8), [text])


def _categorical(codes: Values, texts: list[str]) -> pd.Categorical[Any]:
    made: pd.Categorical[Any] = pd.Categorical.from_codes(codes, pd.Index(texts, dtype="str"))
    return made


def labels(values: Any) -> pd.Categorical[Any]:
    """Texts as categories, also when there is none."""
    made = pd.Categorical(values)
    return made if len(made.categories) else _categorical(made.codes, [])


def integers(values: Values, kind: str) -> pd.api.extensions.ExtensionArray:
    """Numbers as nullable integers."""
    whole = _whole(values, kind)
    assert whole is not None
    return _masked(whole)


def outcome_labels(values: Any) -> pd.Categorical[Any]:
    """Outcome labels with the fixed categories of the record, so that groups of different runs line up."""
    if isinstance(values, pd.Categorical):
        return values.set_categories(OUTCOMES)
    return pd.Categorical(values, categories=OUTCOMES)


def _stage_times(column: pd.Series[Any], first_row: int) -> tuple[pd.DataFrame, int]:
    """`name=ms` pairs joined by `;` as one row per pair; pairs that do not parse are left out. And how many pairs of
    a request were beyond `MAX_STAGES`."""
    left_out = 0
    present = column.notna().to_numpy()
    found_rows: list[int] = []
    found_names: list[str] = []
    found_ms: list[float] = []
    for row, text in zip((np.flatnonzero(present) + first_row).tolist(), column[present], strict=True):
        left_out += max(0, text.count(";") + 1 - MAX_STAGES)
        for name, ms in islice(stage_pairs(text), MAX_STAGES):
            found_rows.append(row)
            found_names.append(name)
            found_ms.append(ms)
    return pd.DataFrame({"row": np.array(found_rows, np.int32), "stage": found_names, "ms": found_ms}), left_out


def stage_pairs(text: str) -> Iterator[tuple[str, float]]:
    """The (name, ms) pairs of a `stages` cell."""
    for pair in text.split(";"):
        name, _, ms = pair.rpartition("=")
        value = _number(ms)
        if name and value is not None:
            yield without_controls(name.strip()), value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
