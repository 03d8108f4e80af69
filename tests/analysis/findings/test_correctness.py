from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from analysis.findings.correctness import LoadLevel
from analysis.findings.summarise import summarise
from analysis.report import load_tables
from analysis.report.table import text_rows
from analysis.sources.loading import load_run
from tests.analysis.run_directories import answered, worked_meta, write_run


def judged_run(directory: Path) -> Path:
    """Five requests of 10 s: a alone, b and c beside it, then d alone; e is not judged."""
    plan = [
        ("a", 0.0, "right", "q1"),
        ("b", 2.0, "right", "q2"),
        ("c", 4.0, "contains", "q1"),
        ("d", 20.0, "right", "q2"),
    ]
    records = [
        dataclasses.replace(
            answered(call, at, 100.0, 10_000.0, 50), answer_check=check, question_id=question, answer_hash=check
        )
        for call, at, check, question in plan
    ]
    return write_run(
        directory / "t" / "r", [*records, answered("e", 40.0, 100.0, 1000.0, 50)], worked_meta(accounting={})
    )


def test_shares_levels_and_repeats_as_worked_by_hand(tmp_path: Path) -> None:
    summary = summarise(load_run(judged_run(tmp_path)))
    assert summary.overall.values["wrong_pct"] == 25.0
    assert list(summary.by_load) == [LoadLevel(1, 1, 2, 0), LoadLevel(2, 2, 1, 0), LoadLevel(3, 3, 1, 1)]
    assert summary.same_answer_pct == 50.0
    table = load_tables.by_load(summary)
    assert table is not None
    assert text_rows(table)[-1] == ["3", "1", "1", "100 %"]
    assert table.notes == ["50.0 % of the questions asked again got the same words each time."]


@pytest.mark.parametrize(("limit", "state"), [(20, "failed"), (30, "held")])
def test_the_criterion_is_of_judged_answers(tmp_path: Path, limit: int, state: str) -> None:
    summary = summarise(load_run(judged_run(tmp_path)), f"percentage(wrong) > {limit}")
    (found,) = summary.judgement.criteria
    assert (found.state, found.value, found.n) == (state, 25.0, 4)


def test_without_judged_answers_the_criterion_has_no_data(tmp_path: Path) -> None:
    run = write_run(tmp_path / "t" / "r", [answered("e", 0.0, 100.0, 1000.0, 50)], worked_meta(accounting={}))
    summary = summarise(load_run(run), "percentage(wrong) > 2")
    assert [item.state for item in summary.judgement.criteria] == ["no_data"]
    assert (summary.overall.values["wrong_pct"], list(summary.by_load)) == (None, [])
