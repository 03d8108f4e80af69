"""Parquet files of ours as others read them: pyarrow and DuckDB against the CSV as csv and pandas read it."""

from __future__ import annotations

import csv
from pathlib import Path

import duckdb
import pytest
from pyarrow import parquet

from analysis.__main__ import main
from analysis.export.parquet import write_parquet
from tests.analysis.run_directories import worked_run
from tests.analysis.synthetic import make_records, write_run
from tokenswarm.record import COLUMNS
from tokenswarm.userinput import BadInput


def test_every_cell_is_that_of_the_csv(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", list(make_records(failed=0.05, throttled=0.1, dropped=0.02, error='a "b",\nc')))
    written = write_parquet(run, tmp_path / "rows.parquet")
    found = parquet.read_table(tmp_path / "rows.parquet")
    with (run / "requests.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert (written.rows, written.skipped_lines, found.num_rows) == (len(rows), 0, len(rows))
    assert tuple(found.column_names) == COLUMNS
    for name in COLUMNS:
        for cell, row in zip(found.column(name).to_pylist(), rows, strict=True):
            text = row[name]
            expected = None if text == "" else float(text) if isinstance(cell, float | int) else text
            assert cell == expected, name


def test_duckdb_counts_and_averages_as_worked_by_hand(tmp_path: Path) -> None:
    write_parquet(worked_run(tmp_path), tmp_path / "rows.parquet")
    found = duckdb.sql(
        f"select count(*), count(ttft_ms), avg(ttft_ms) from '{tmp_path}/rows.parquet' where outcome = 'ok'"
    ).fetchall()
    assert found == [(5, 5, (100 + 200 + 300 + 400 + 500) / 5)]


def test_a_line_cut_by_a_crash_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = worked_run(tmp_path)
    rows = run / "requests.csv"
    rows.write_bytes(rows.read_bytes() + b"c10,1,loc")
    assert main(["export", str(run), "--parquet", str(tmp_path / "rows.parquet")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/rows.parquet: 9 rows; 1 line left out: no rows\n"


@pytest.mark.parametrize("kind", ["foreign", "nothing", "crashed", "folder"])
def test_what_cannot_be_exported_is_named(tmp_path: Path, kind: str) -> None:
    run, target = worked_run(tmp_path), tmp_path / "rows.parquet"
    if kind == "foreign":
        (run / "requests.csv").write_text("a,b\n1,2\n")
    elif kind == "nothing":
        (run / "requests.csv").unlink()
    elif kind == "crashed":
        (run / "journal-w1.csv").write_text("")
    else:
        target = tmp_path / "missing" / "rows.parquet"
    with pytest.raises(BadInput, match="expected"):
        write_parquet(run, target)


def test_neither_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path)]) == 2
    assert "expected --parquet FILE, --mlflow or both" in capsys.readouterr().err
