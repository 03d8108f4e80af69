from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run, load_runs, texts
from tests.analysis.run_directories import (
    T,
    answered,
    refused,
    worked_meta,
    worked_records,
    worked_run,
    write_rows,
    write_run,
)
from tokenswarm.userinput import BadInput


def test_a_finished_run(tmp_path: Path) -> None:
    run = load_run(worked_run(tmp_path))
    assert (run.label, run.state, run.skipped_lines, len(run.rows)) == ("worked/20231114T221400Z", "finished", 0, 9)
    assert run.notes == []


def test_the_latest_run_of_a_test(tmp_path: Path) -> None:
    for stamp in ("20250101T000000Z", "20250102T000000Z", "20241231T000000Z"):
        write_run(tmp_path / "test" / stamp, worked_records(), worked_meta())
    assert load_run(tmp_path / "test").path.name == "20250102T000000Z"


@pytest.mark.parametrize("content", ["", '{"schema_version": 1, "test_na', "[1, 2]", "\x00\x00", "null"])
def test_a_broken_run_json_is_said_and_the_rows_are_read(tmp_path: Path, content: str) -> None:
    directory = write_run(tmp_path / "r", worked_records())
    (directory / "run.json").write_text(content)
    run = load_run(directory)
    assert len(run.rows) == 9
    assert run.state == "crashed"
    assert "configuration and verdict are unknown" in run.notes[0]
    assert summarise(run).judgement.state == "failed"


@pytest.mark.parametrize("version", [2, 0, "1", None, 1.5])
def test_an_unknown_schema_version_is_refused(tmp_path: Path, version: object) -> None:
    directory = write_run(tmp_path / "r", worked_records(), {"schema_version": version})
    with pytest.raises(BadInput, match="expected schema_version 1"):
        load_run(directory)


def test_every_key_of_run_json_may_be_odd(tmp_path: Path) -> None:
    meta = {
        "schema_version": 1, "test_name": 5, "state": ["finished"], "started_at": "yesterday", "ended_at": {},
        "quota": 3, "window": {"warm_up_s": "x"}, "accounting": {"planned": "many", "lost": {"rows": "x"}},
        "delivery": [], "generator": "good", "criteria": "none", "verdict": 7, "options": [1], "stop_reason": 4,
    }  # fmt: skip
    summary = summarise(load_run(write_run(tmp_path / "r", worked_records(), meta)))
    assert summary.overall.counts.ok == 5
    json.dumps(summary.as_json(), allow_nan=False)


def test_a_crash_before_the_first_row(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", None, {"schema_version": 1, "state": "running", "started_at": T})
    summary = summarise(load_run(directory))
    assert summary.judgement.state == "failed"
    assert "requests.csv is missing" in summary.notes
    assert summary.window is None


def test_a_crashed_run_takes_what_only_the_journals_have(tmp_path: Path) -> None:
    records = worked_records()
    directory = write_run(tmp_path / "r", records[:5], {"schema_version": 1, "state": "running", "started_at": T})
    write_rows(directory / "journal-w1.csv", records[:7])
    journal = write_rows(directory / "journal-w2.csv", [records[7], records[8]])
    with journal.open("a") as file:
        file.write("c10,1,w2,,chat")
    run = load_run(directory)
    assert len(run.rows) == 9
    assert run.skipped_lines == 1
    assert run.rows["name"].value_counts().to_dict() == {"chat": 8, "rag": 1}
    summary = summarise(run)
    assert summary.overall.values["tokens"] == 800
    assert summary.judgement.state == "failed"
    assert run.notes == [
        "2 rows come from journal-w1.csv: requests.csv lacks them",
        "2 rows come from journal-w2.csv: requests.csv lacks them",
    ]
    last = run.rows.index[-1]
    assert texts(run, [last])[last]["call_id"] == "c9"


def test_stages_of_journals_belong_to_their_rows(tmp_path: Path) -> None:
    first, second = (answered(f"c{n}", n, 10, 100 * n, 5, stages=f"s={n}", turn=n) for n in (1, 2))
    directory = write_run(tmp_path / "r", [first])
    write_rows(directory / "journal-w1.csv", [first, refused("c0", 0), second])
    summary = summarise(load_run(directory))
    # 100 - 1 and 200 - 2
    assert summary.by_stage["network and the rest"].avg.value == 148.5
    assert summary.by_stage["s"].n == 2


def test_journals_of_a_finished_run_are_not_read_again(tmp_path: Path) -> None:
    directory = worked_run(tmp_path)
    write_rows(directory / "journal-w1.csv", [answered("new", 3, 1, 2, 3)])
    assert len(load_run(directory).rows) == 9


def test_nothing_there_lists_every_problem(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput) as caught:
        load_runs([tmp_path / "none", tmp_path / "empty"])
    assert len(caught.value.problems) == 2


def test_instants_of_years_apart_are_no_run(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", [answered("a", 0, 1, 2, 3), answered("b", 1e9, 1, 2, 3)])
    with pytest.raises(BadInput, match="expected the requests of one run"):
        load_run(directory)


def test_loading_imports_no_load_generator() -> None:
    import subprocess
    import sys

    code = (
        "import analysis.commands.report, analysis.commands.check, sys;"
        "print({'locust', 'gevent', 'openai'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
