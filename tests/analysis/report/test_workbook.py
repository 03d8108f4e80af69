"""The Excel file, read back by the library that writes it and by what it holds as XML."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from openpyxl import load_workbook

from analysis.findings.summarise import summarise
from analysis.report import tables, workbook
from analysis.sources.loading import load_run
from tests.analysis.run_directories import answered, worked_meta, write_run
from tests.analysis.synthetic import make_records
from tests.analysis.synthetic import write_run as write_synthetic


def test_every_table_is_a_sheet_and_figures_are_numbers(tmp_path: Path) -> None:
    run = write_synthetic(tmp_path / "run", list(make_records(seed=3, rag=True, turns=3, failed=0.1)))
    summary = summarise(load_run(run), "p95(ttft_ms) > 100")
    book = load_workbook(io.BytesIO(workbook.render([summary])))
    expected = ["Answer", "Criteria", "Overview", "Latency and speed", "By turn of the conversation", "By stage (ms)"]
    assert [name for name in book.sheetnames if name in expected] == expected
    assert book["Answer"]["B2"].value == "Failed"
    overview = {row[0].value: row[1].value for row in book["Overview"].iter_rows(min_row=2)}
    told = {row.label: row.cells[0].text for row in tables.overview([summary]).rows}
    assert overview["Requests"] == float(told["Requests"].replace(",", ""))
    assert overview["Verdict"] == "failed"


def test_no_text_is_a_formula(tmp_path: Path) -> None:
    names = ['=HYPERLINK("http://evil")', "+1+cmd|' /C calc'!A0", "@SUM(A1)", "-1+1"]
    records = [answered(f"c{n}", n, 1, 2, 3, name=name) for n, name in enumerate(names)]
    run = load_run(write_run(tmp_path / "r", records, worked_meta(test_name="=1+1", accounting={})))
    data = workbook.render([summarise(run)])
    book = load_workbook(io.BytesIO(data))
    assert {cell.data_type for sheet in book for row in sheet.iter_rows() for cell in row} <= {
        "s",
        "n",
        "inlineStr",
    }  # "f": a formula
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert all(b"<f>" not in file.read(name) for name in file.namelist() if "sheet" in name)
    assert [row[0].value for row in book["By request name"].iter_rows(min_row=2, max_row=5)] == sorted(names)


def test_sheets_of_several_runs_have_names_of_their_own(tmp_path: Path) -> None:
    made = [
        summarise(load_run(write_synthetic(tmp_path / name, list(make_records(seed=1, rag=True))[:60])))
        for name in ("a", "b")
    ]
    names = load_workbook(io.BytesIO(workbook.render(made))).sheetnames
    assert len({name.lower() for name in names}) == len(names)
    assert {"By stage (ms)", "By stage (ms) 2"} <= set(names)
    assert max(map(len, names)) <= 31
