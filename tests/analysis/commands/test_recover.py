from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.commands.recover import KEPT
from analysis.figures.summarise import summarise
from analysis.sources.loading import load_run
from tests.analysis.run_directories import T, worked_records, worked_run, write_rows, write_run


def crashed(tmp_path: Path) -> Path:
    records = worked_records()
    meta = {"schema_version": 1, "state": "running", "started_at": T, "test_name": "cut", "accounting": {"planned": 8}}
    directory = write_run(tmp_path / "r", records[:4], meta)
    with (directory / "requests.csv").open("a") as file:
        file.write("c5,1,w1")
    write_rows(directory / "journal-w1.csv", records[2:7])
    journal = write_rows(directory / "journal-w2.csv", records[7:])
    journal.write_text(journal.read_text() + "broken,line\n" + "c99,1,w2,,,chat,,")
    return directory


def test_recover_writes_every_row_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = crashed(tmp_path)
    before = load_run(directory)
    assert main(["recover", str(directory)]) == 0
    assert (
        "9 rows in requests.csv, 5 of them from 2 journals; 3 cut or unreadable lines skipped"
        in capsys.readouterr().out
    )
    for journal in directory.glob("journal-*.csv"):
        journal.unlink()
    run = load_run(directory)
    assert len(run.rows) == len(before.rows) == 9
    assert run.skipped_lines == 0
    summary = summarise(run)
    assert summary.overall.values["tokens"] == 800
    assert summary.accounting.holds
    assert (summary.state, summary.judgement.state) == ("recovered", "failed")


def test_recovered_run_json_says_what_was_done(tmp_path: Path) -> None:
    directory = crashed(tmp_path)
    main(["recover", str(directory)])
    meta = json.loads((directory / "run.json").read_text())
    assert meta["accounting"] == {"planned": 8, "sent": 8, "dropped": 1, "cancelled": 1, "rows": 9}
    assert meta["recovered"]["rows_from_journals"] == 5
    # the last end: c9 at 170 s for 5 s
    assert meta["ended_at"] == T + 175
    assert meta["test_name"] == "cut"


def test_recover_twice_changes_nothing_and_keeps_the_original(tmp_path: Path) -> None:
    directory = crashed(tmp_path)
    original = (directory / "requests.csv").read_bytes()
    main(["recover", str(directory)])
    once = (directory / "requests.csv").read_bytes()
    assert main(["recover", str(directory)]) == 0
    assert (directory / "requests.csv").read_bytes() == once
    assert (directory / KEPT).read_bytes() == original


def test_journals_alone_are_enough(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r")
    write_rows(directory / "journal-w1.csv", worked_records())
    assert main(["recover", str(directory)]) == 0
    assert len(load_run(directory).rows) == 9


def test_nothing_to_recover(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = worked_run(tmp_path)
    before = (directory / "run.json").read_bytes()
    assert main(["recover", str(directory)]) == 0
    assert "nothing to recover" in capsys.readouterr().out
    assert (directory / "run.json").read_bytes() == before
