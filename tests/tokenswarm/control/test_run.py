"""A run that is measured well and cannot be written as it was, or is not the one that is on disk, has not passed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.written_run import CRITERIA, Written
from tokenswarm.record import Doubt, Outcome
from tokenswarm.results.run_directory import read_run_json


def directory_for_run_json(directory: Path) -> None:
    (directory / "run.json").unlink()
    (directory / "run.json").mkdir()


def directory_for_the_part(directory: Path) -> None:
    (directory / "run.json.part").mkdir()


def full_disk_for_run_json(directory: Path) -> None:
    (directory / "run.json.part").symlink_to("/dev/full")


def link_to_other_rows(directory: Path) -> None:
    rows = directory / "requests.csv"
    shutil.copy(rows, directory / "other.csv")
    rows.unlink()
    rows.symlink_to("other.csv")


def link_to_nothing(directory: Path) -> None:
    (directory / "requests.csv").unlink()
    (directory / "requests.csv").symlink_to("/dev/null")


def lines_reordered(directory: Path) -> None:
    path = directory / "requests.csv"
    header, *rows = path.read_text().splitlines(keepends=True)
    with path.open("r+") as file:
        file.writelines([header, *reversed(rows)])


def last_row_twice(directory: Path) -> None:
    path = directory / "requests.csv"
    with path.open("a") as file:
        file.write(path.read_text().splitlines(keepends=True)[-1])


def another_in_its_place(directory: Path) -> None:
    copy = directory.with_name("copy")
    shutil.copytree(directory, copy)
    directory.rename(directory.with_name("moved"))
    copy.rename(directory)


def link_to_the_directory(directory: Path) -> None:
    """The rows are there, by another way: nothing is lost."""
    moved = directory.with_name("moved")
    directory.rename(moved)
    directory.symlink_to(moved.name)


def test_a_run_that_is_as_it_was_written_has_passed(tmp_path: Path) -> None:
    written = Written(tmp_path).answer()
    assert written.verdict() == ("passed", 0, "")
    assert read_run_json(written.run.directory)["verdict"]["state"] == "passed"
    assert Written(tmp_path).answer().verdict(link_to_the_directory) == ("passed", 0, "")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (directory_for_run_json, "run.json could not be written"),
        (directory_for_the_part, "run.json could not be written"),
        (full_disk_for_run_json, "run.json could not be written: No space left on device"),
        (link_to_other_rows, "requests.csv is another one than at the start"),
        (link_to_nothing, "requests.csv is another one than at the start"),
        (lines_reordered, "requests.csv is not what was written"),
        (last_row_twice, "requests.csv is not what was written"),
        (another_in_its_place, "is another one than at the start"),
    ],
)
def test_a_run_whose_files_are_not_its_own_has_not(spoil: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    state, code, reasons = Written(tmp_path).answer().verdict(spoil)
    assert (state, code) == ("untrusted", 4)
    assert reason in reasons


def test_requests_that_the_criteria_do_not_see_are_no_success(tmp_path: Path) -> None:
    for fields in ({"started_at": time.time() - 900}, {"started_at": time.time() + 900}):
        state, code, reasons = Written(tmp_path).answer(**fields).verdict()
        assert (state, code) == ("untrusted", 4)
        assert "outside the run" in reasons and "no data" in reasons


@pytest.mark.parametrize(
    ("outcome", "criteria", "state"),
    [
        (Outcome.ABORTED, CRITERIA, "failed"),
        (Outcome.CANCELLED, CRITERIA, "failed"),
        (Outcome.DROPPED, CRITERIA, "failed"),
        (Outcome.THROTTLED, CRITERIA, "failed"),
        (Outcome.TIMEOUT, "p95(ttft_ms) > 1000", "failed"),
        (Outcome.OK, "p95(tbt_ms) > 1000", "failed"),
        (Outcome.OK, "p99(e2e_ms) > 8", "failed"),
        (Outcome.OK, "percentage(goodput) < 1", "failed"),
        (Outcome.OK, "percentage(wrong) > 50", "failed"),
        (Outcome.OK, "another: percentage(error) > 1", "failed"),
        (Outcome.OK, "min(rpm) < 1", "failed"),
        (Outcome.OK, "avg(tpm) > 1000000", "failed"),
        (Outcome.OK, "max(session_s) > 1", "failed"),
    ],
)
def test_no_data_and_no_answer_are_no_success(outcome: Outcome, criteria: str, state: str, tmp_path: Path) -> None:
    fields = {} if outcome is Outcome.OK else {"outcome": outcome, "status": None, "ttft_ms": None}
    found = Written(tmp_path, failure_criteria=criteria).answer(**fields).verdict()
    assert found[:2] == (state, 3)


def test_a_run_whose_load_changed_says_that_its_criteria_are_of_all_levels(tmp_path: Path) -> None:
    written = Written(tmp_path, failure_criteria="avg(e2e_ms) > 1").answer(count=2)
    written.run.levels = {"unit": "users", "spans": []}
    assert written.verdict()[2] == "avg(e2e_ms) must be at most 1 ms, was 9 ms over all levels together (n = 2)"


def test_a_run_without_criteria_in_which_nothing_was_answered_has_failed(tmp_path: Path) -> None:
    found = Written(tmp_path, failure_criteria="").answer(outcome=Outcome.ABORTED).verdict()
    assert found == ("failed", 3, "no request was answered")


@pytest.mark.parametrize("step_s", [-30.0, 30.0, -0.9])
def test_a_clock_that_is_set_while_the_run_is_on(
    step_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written(tmp_path).answer()
    real = time.time
    monkeypatch.setattr("tokenswarm.control.run.time.time", lambda: real() + step_s)
    state, code, reasons = written.verdict()
    assert (state, code) == ("untrusted", 4)
    assert f"the clock was set by {step_s:+.1f} s" in reasons


def test_two_runs_in_one_second_have_two_directories(tmp_path: Path) -> None:
    first, second = Written(tmp_path), Written(tmp_path)
    assert first.run.directory != second.run.directory
    assert {first.answer().verdict()[0], second.answer(outcome=Outcome.TIMEOUT).verdict()[0]} == {"passed", "failed"}
    assert os.path.exists(first.run.directory / "run.json")


def test_what_is_doubtful_about_answers_is_said_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written = Written(tmp_path).answer(count=3).answer(count=2, doubts=f"{Doubt.CACHED};{Doubt.STATUS}")
    assert written.verdict() == ("passed", 0, "")
    assert f"2 answers are doubtful: {Doubt.CACHED} (" in caplog.text
    assert read_run_json(written.run.directory)["answer_doubts"] == {Doubt.CACHED: 2, Doubt.STATUS: 2}
