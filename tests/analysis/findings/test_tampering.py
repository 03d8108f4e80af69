"""Rows and run.json that were changed after a run has failed: whatever they say then, it does not pass."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.findings.summarise import summarise
from analysis.findings.verdict import Judgement
from analysis.sources.loading import load_run
from tests.written_run import Written
from tokenswarm.record import Outcome

TIMED_OUT = {"outcome": Outcome.TIMEOUT, "ttft_ms": None, "e2e_ms": 1000.0, "status": None}
Tamper = Callable[[Path], None]


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 answers and 10 timeouts, a third of all."""
    written = Written(tmp_path_factory.mktemp("runs"), failure_criteria="percentage(error) > 10; p95(e2e_ms) > 2000")
    assert written.answer(20).answer(10, **TIMED_OUT).verdict()[:2] == ("failed", 3)
    return written.run.directory


def replaced(old: str, new: str) -> Tamper:
    def tamper(directory: Path) -> None:
        path = directory / "requests.csv"
        path.write_text(path.read_text().replace(old, new))

    return tamper


def without_failures(directory: Path) -> None:
    path = directory / "requests.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if ",timeout," not in line))


def answers_in_place_of_failures(directory: Path) -> None:
    path = directory / "requests.csv"
    header, *rows = path.read_text().splitlines(True)
    path.write_text("".join([header, *rows[:20], *rows[:10]]))


def answers_twenty_times(directory: Path) -> None:
    path = directory / "requests.csv"
    header, *rows = path.read_text().splitlines(True)
    path.write_text("".join([header, *rows, *rows[:20] * 20]))


def in_another_order(directory: Path) -> None:
    path = directory / "requests.csv"
    header, *rows = path.read_text().splitlines(True)
    path.write_text("".join([header, *reversed(rows)]))


def outcome_once_more(directory: Path) -> None:
    path = directory / "requests.csv"
    with path.open() as file:
        rows = list(csv.reader(file))
    with path.open("w") as file:
        csv.writer(file, lineterminator="\n").writerows([*row, "ok" if n else "outcome"] for n, row in enumerate(rows))


def facts(change: Callable[[dict[str, Any]], object], *more: Tamper) -> Tamper:
    def tamper(directory: Path) -> None:
        path = directory / "run.json"
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))
        for each in more:
            each(directory)

    return tamper


LAX = {"failure-criteria": "percentage(error) > 99"}
PASSED = {"state": "passed", "exit_code": 0, "reasons": [], "has_failed": False}
HELD = {"state": "held", "value": 0.0, "n": 30}
TAMPERS = {
    "failures removed": without_failures,
    "failures made answers": replaced(",timeout,", ",ok,"),
    "failures made aborted": replaced(",timeout,", ",aborted,"),
    "failures made cancelled": replaced(",timeout,", ",cancelled,"),
    "failures made throttled": replaced(",timeout,", ",throttled,"),
    "failures made dropped": replaced(",timeout,", ",dropped,"),
    "failures made what nobody knows": replaced(",timeout,", ",fine,"),
    "failures replaced by answers": answers_in_place_of_failures,
    "answers doubled": answers_twenty_times,
    "rows in another order": in_another_order,
    "a second column of outcomes": outcome_once_more,
    "counts removed": facts(lambda found: found.pop("accounting"), without_failures),
    "counts of another kind": facts(lambda found: found.update(accounting="none"), without_failures),
    "checksum removed": facts(lambda found: found.pop("rows_file"), replaced(",timeout,", ",ok,")),
    "verdict made passed": facts(lambda found: found.update(verdict=PASSED)),
    "criterion made laxer": facts(lambda found: found["options"].update(LAX)),
    "criteria removed": facts(lambda found: (found["options"].pop("failure-criteria"), found.pop("criteria"))),
    "made a search": facts(lambda found: (found.update(search={}), [each.update(HELD) for each in found["criteria"]])),
    "criterion made laxer, verdict made passed": facts(
        lambda found: (found["options"].update(LAX), found.update(verdict=PASSED))
    ),
    "criterion made laxer, verdict removed": facts(lambda found: (found["options"].update(LAX), found.pop("verdict"))),
    "criteria and verdict removed": facts(
        lambda found: (found["options"].pop("failure-criteria"), found.pop("criteria"), found.pop("verdict"))
    ),
    "counts, both checksums and verdict removed": facts(
        lambda found: [found.pop(key) for key in ("accounting", "facts_crc32", "verdict")], without_failures
    ),
    "window made nothing": facts(lambda found: found["window"].update(warm_up_s=1e9)),
}


def judged_after(tamper: Tamper, failed: Path, folder: Path) -> Judgement:
    directory = folder / "run" / failed.name
    shutil.copytree(failed, directory)
    tamper(directory)
    return summarise(load_run(directory)).judgement


@pytest.mark.parametrize("how", TAMPERS)
def test_a_failed_run_does_not_pass_by_being_changed(how: str, failed: Path, tmp_path: Path) -> None:
    judgement = judged_after(TAMPERS[how], failed, tmp_path)
    assert judgement.state in ("failed", "untrusted") and judgement.exit_code in (3, 4)


def test_rows_that_are_only_in_another_order_are_not_what_was_written(failed: Path, tmp_path: Path) -> None:
    judgement = judged_after(in_another_order, failed, tmp_path)
    assert judgement.has_failed and "requests.csv is not what the run wrote" in str(judgement.reasons[0])


PASSING = {
    "verdict removed": lambda found: found.pop("verdict"),
    "verdict of another kind": lambda found: found.update(verdict="passed"),
    "counts removed": lambda found: found.pop("accounting"),
    "checksum of rows removed": lambda found: found.update(rows_file=None),
    "counts and checksum removed": lambda found: (found.pop("facts_crc32"), found.pop("accounting")),
    "verdict and checksum removed": lambda found: (found.pop("facts_crc32"), found.pop("verdict")),
    "checksum of facts made another": lambda found: found.update(facts_crc32=1),
    "generator's condition removed": lambda found: found.pop("generator"),
    "options removed": lambda found: found.pop("options"),
    "one figure changed": lambda found: found["options"].update(users=100),
    "end moved": lambda found: found.update(ended_at=found["ended_at"] - 0.5),
    "something added": lambda found: found.update(note="all is well"),
}


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = Written(tmp_path_factory.mktemp("runs"), failure_criteria="percentage(error) > 10")
    assert written.answer(30).verdict()[:2] == ("passed", 0)
    return written.run.directory


@pytest.mark.parametrize("how", PASSING)
def test_a_run_json_that_was_changed_is_not_trusted(how: str, passed: Path, tmp_path: Path) -> None:
    judgement = judged_after(facts(PASSING[how]), passed, tmp_path)
    assert judgement.exit_code == 4 and "run.json is not what the run wrote" in str(judgement.reasons[0])


def test_a_run_of_an_earlier_version_has_no_checksum_of_its_facts(passed: Path, tmp_path: Path) -> None:
    assert judged_after(facts(lambda found: found.pop("facts_crc32")), passed, tmp_path).state == "passed"


def test_a_run_json_in_another_layout_says_the_same(passed: Path, tmp_path: Path) -> None:
    def sort(directory: Path) -> None:
        path = directory / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))

    assert judged_after(sort, passed, tmp_path).state == "passed"


def test_a_run_that_was_left_alone_is_judged_as_it_was(failed: Path, tmp_path: Path) -> None:
    judgement = judged_after(lambda _directory: None, failed, tmp_path)
    assert (judgement.state, [str(reason.kind) for reason in judgement.reasons]) == ("failed", ["criterion"])
