from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.figures import populations
from analysis.sources import columns as columns_module
from analysis.sources import rows as rows_module
from analysis.sources.columns import stage_pairs
from analysis.sources.rows import frame, read_rows, texts
from tests.analysis.run_directories import T, answered, dropped, refused, worked_records, write_rows
from tokenswarm.record import COLUMN_TYPES, COLUMNS, Outcome, RequestRecord, TokenSource
from tokenswarm.userinput import BadInput


def test_columns_and_types(tmp_path: Path) -> None:
    rows = read_rows(write_rows(tmp_path / "requests.csv", worked_records())).rows
    assert len(rows) == 9
    assert rows["started_at"].dtype == np.float64
    assert rows["ttft_ms"].dtype == np.float64
    assert str(rows["completion_tokens"].dtype) == "Int32"
    assert isinstance(rows["name"].dtype, pd.CategoricalDtype)
    assert rows["completion_tokens"].sum() == 300
    assert rows["completion_tokens"].isna().sum() == 4
    assert list(rows["attempt"][3:5]) == [1, 2]
    assert rows["call"].nunique() == 8
    assert list(rows["line"]) == list(range(9))


def test_instants_and_offsets_are_exact(tmp_path: Path) -> None:
    records = [answered("a", 0.123457, 1234.567, 599_999.999, 10)]
    rows = read_rows(write_rows(tmp_path / "requests.csv", records)).rows
    assert rows["started_at"][0] == 1_700_000_040.123457
    assert (rows["ttft_ms"][0], rows["e2e_ms"][0]) == (1234.567, 599_999.999)


def test_a_large_file_is_held_in_single_precision_with_the_stated_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "COMPACT_FROM", 1)
    records = [answered("a", 0.123457, 1234.567, 599_999.999, 10)]
    rows = read_rows(write_rows(tmp_path / "requests.csv", records)).rows
    assert rows["ttft_ms"].dtype == np.float32
    assert rows["started_at"][0] == 1_700_000_040.123457
    assert abs(float(rows["e2e_ms"][0]) - 599_999.999) <= 0.03
    assert abs(float(rows["ttft_ms"][0]) - 1234.567) / 1234.567 <= 6e-8
    assert "model" not in rows


def test_chunks_make_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_rows(tmp_path / "requests.csv", worked_records())
    whole = read_rows(path).rows
    monkeypatch.setattr(rows_module, "CHUNK_ROWS", 2)
    pieces = read_rows(path).rows
    pd.testing.assert_frame_equal(whole, pieces)


@pytest.mark.parametrize("cut", [1, 2, 10, 40])
def test_a_cut_last_line_is_skipped_and_counted(tmp_path: Path, cut: int) -> None:
    path = write_rows(tmp_path / "requests.csv", worked_records())
    path.write_bytes(path.read_bytes()[:-cut])
    read = read_rows(path)
    assert (len(read.rows), read.skipped_lines) == (8, 1)


@pytest.mark.parametrize(
    "line",
    [
        "one,cell",
        "x" * 70_000,
        "," * (len(COLUMNS) + 3),
        "\x00" * 40,
        ",".join(["c"] * len(COLUMNS)),
        "ÿ\udcff",
        ",".join("nonsense" if name == "outcome" else "1" for name in COLUMNS),
        ",".join({"outcome": "ok", "call_id": "c", "started_at": "soon"}.get(name, "") for name in COLUMNS),
        ",".join({"outcome": "ok", "call_id": "c"}.get(name, "") for name in COLUMNS),
        *(
            ",".join(
                {"outcome": "ok", "call_id": "c", "started_at": "1", column: cell}.get(name, "") for name in COLUMNS
            )
            for column in ("e2e_ms", "ttft_ms", "completion_tokens")
            for cell in ("-5", "inf", "1e400")
        ),
    ],
)
def test_a_line_that_is_no_record_is_skipped_and_counted(tmp_path: Path, line: str) -> None:
    path = write_rows(tmp_path / "requests.csv", worked_records())
    lines = path.read_text().splitlines(keepends=True)
    lines.insert(4, line + "\n")
    path.write_bytes("".join(lines).encode("utf-8", "surrogateescape"))
    read = read_rows(path)
    assert (len(read.rows), read.skipped_lines) == (9, 1)
    assert read.rows["completion_tokens"].sum() == 300


def test_a_cell_too_many_does_not_make_up_for_one_too_few(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "requests.csv", worked_records())
    header, first, second, *others = path.read_text().splitlines()
    path.write_text("\n".join([header, first + ",", second.removesuffix(","), *others, ""]))
    read = read_rows(path)
    assert (len(read.rows), read.skipped_lines) == (7, 2)


def test_blank_lines_are_no_loss(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "requests.csv", worked_records())
    path.write_text(path.read_text().replace("\n", "\n\n"))
    read = read_rows(path)
    assert (len(read.rows), read.skipped_lines) == (9, 0)


def test_line_end_in_a_quoted_cell_is_no_lost_line(tmp_path: Path) -> None:
    records = [refused("a", 0, error="first\nsecond"), answered("b", 1, 10, 20, 5)]
    read = read_rows(write_rows(tmp_path / "requests.csv", records))
    assert (len(read.rows), read.skipped_lines) == (2, 0)


def test_empty_and_header_only_files(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    assert len(read_rows(empty).rows) == 0
    assert len(read_rows(write_rows(tmp_path / "header.csv", [])).rows) == 0


def test_infinite_and_negative_cells_are_not_figures(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "requests.csv", [answered("a", 0, 10, 20, 5), answered("b", 0, 10, 20, 5)])
    path.write_text(path.read_text().replace(",20,", ",inf,", 1).replace("20.0", "inf", 1))
    assert np.isinf(read_rows(path).rows["e2e_ms"]).sum() == 0


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match=r"x\.csv: expected a header with the columns"):
        read_rows(path)


def test_unknown_and_missing_columns(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    path.write_text(f"new_column,call_id,started_at,e2e_ms,outcome\n1,a,{T},12.5,ok\n")
    rows = read_rows(path).rows
    assert rows["e2e_ms"][0] == 12.5
    assert rows["ttft_ms"].isna().all()
    assert rows["name"].isna().all()


def test_names_that_pandas_would_take_for_absent(tmp_path: Path) -> None:
    rows = read_rows(write_rows(tmp_path / "r.csv", [answered("NA", 0, 1, 2, 3, name="None", worker="nan")])).rows
    assert (rows["name"][0], rows["worker"][0]) == ("None", "nan")


def test_too_many_different_errors_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns_module, "DISTINCT_ERRORS", 2)
    records = [refused(f"c{number}", number, Outcome.TIMEOUT, error=f"e{number}") for number in range(4)]
    assert list(read_rows(write_rows(tmp_path / "r.csv", records)).rows["error"]) == ["e0", "e1", "(other)", "(other)"]


def test_texts_of_single_rows(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "requests.csv", [answered(f"c{n}", n, 1, 2, 3, request_id=f"id,{n}") for n in range(5)]
    )
    lines = path.read_text().splitlines(keepends=True)
    lines.insert(2, "," * 80 + "\n")
    path.write_text("".join(lines))
    line = int(read_rows(path).rows.query("started_at == @T + 3")["line"].iloc[0])
    assert texts(path, [line])[line]["request_id"] == "id,3"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_no_garbage_breaks_reading(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "requests.csv"
    header = ",".join(COLUMNS).encode() + b"\n"
    path.write_bytes(header + garbage + b"\n" + ",".join(answered("z", 0, 1, 2, 3).to_row()).encode() + b"\n")
    assert len(read_rows(path).rows) <= 2


@given(st.text(max_size=60))
def test_stage_pairs_never_fail(text: str) -> None:
    for name, ms in stage_pairs(text):
        assert name and np.isfinite(ms)


def test_frame_of_another_source() -> None:
    table = frame(
        {"started_at": [1.0, 2.0], "e2e_ms": [5.0, np.nan], "outcome": ["ok", "timeout"], "name": ["a", "b"]}, 2
    )
    assert table["status"].isna().all()
    assert list(table["outcome"]) == ["ok", "timeout"]


def test_the_record_is_read_column_by_column(tmp_path: Path) -> None:
    """Every kept column equals what the record itself parses from the same row."""
    given: dict[str, Any] = {
        name: {"int": number, "float": number + 0.5}.get(hint.removesuffix(" | None"), name)
        for number, (name, hint) in enumerate(COLUMN_TYPES.items(), start=1)
    }
    given |= {"outcome": Outcome.OK, "token_source": TokenSource.USAGE, "stages": None}
    record = RequestRecord(**given | {"scheduled_at": T, "started_at": T + 0.5})
    rows = read_rows(write_rows(tmp_path / "r.csv", [record])).rows
    kept = [column for column in COLUMNS if column in rows and column not in ("error", "token_source")]
    assert len(kept) > 30
    for column in kept:
        assert rows[column][0] == getattr(record, column), column


def test_a_large_table_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million rows at this size, and the columns taken out of them, stay under 2 GiB."""
    monkeypatch.setattr(rows_module, "COMPACT_FROM", 1)
    more = {"lag_ms": 1.0, "scheduled_at": T, "gap_max_ms": 5.0, "read_lag_ms": 0.1, "reasoning_tokens": 0,
            "cached_tokens": 0, "remaining_tokens": 5, "remaining_requests": 5, "turn": 1, "request_id": "x" * 40,
            "ttft_visible_ms": 10.0}  # fmt: skip
    records = [answered(f"call-{n}", n / 10, 10, 20, 40, **more) for n in range(5000)]
    read = read_rows(write_rows(tmp_path / "requests.csv", records))
    held = {id(block.base if block.base is not None else block): block for block in _arrays(read.rows)}
    assert sum(block.nbytes for block in held.values()) / len(read.rows) < 120


def _arrays(table: pd.DataFrame) -> list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """The memory behind each column; a value that is seen in every row is none."""
    found = []
    for name in table.columns:
        column = table[name].array
        parts = (
            [column._data, column._mask]
            if hasattr(column, "_mask")
            else [getattr(column, "_codes", table[name].to_numpy())]
        )
        found += [part for part in parts if part.strides != (0,)]
    return found


@pytest.mark.parametrize("compact", [False, True])
def test_scheduled_instants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compact: bool) -> None:
    monkeypatch.setattr(rows_module, "COMPACT_FROM", 1 if compact else 10**9)
    records = [answered("a", 1, 10, 20, 40, scheduled_at=T, lag_ms=1000.0), dropped("b", 2)]
    rows = read_rows(write_rows(tmp_path / "requests.csv", records)).rows
    assert list(populations.due(rows)) == [T, T + 2]
    assert rows["scheduled_at"][1] == T + 2
