"""How a sweep goes on, in a stand-in for Locust that leaves what a run leaves; the real one is in tests/e2e."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from tokenswarm.cli import sweep
from tokenswarm.exit_codes import ExitCode
from tokenswarm.lease import Lease
from tokenswarm.sweep_file import FILE_NAME, read_sweep
from tokenswarm.userinput import BadInput

STAND_IN = """
import json, os, pathlib, sys
given = dict(zip(sys.argv, sys.argv[1:]))
codes = json.loads(pathlib.Path("codes.json").read_text())
with open("calls.jsonl", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + chr(10))
code = codes.get(given["--test-name"], 0)
if code != 2:
    parent = pathlib.Path(given["--results-dir"]) / given["--test-name"]
    run = parent / f"2026-{len(list(parent.glob('*')))}"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"state": "interrupted" if code == 5 else "finished"}))
    (run / "requests.csv").write_text("rows")
sys.exit(code)
"""
USERS = ["users=1,2,4"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "LOCUST", STAND_IN)
    monkeypatch.setattr(sweep, "run_part", lambda *_: 0)
    (tmp_path / "my.conf").write_text("run-time = 20s\nusers = 5\n")
    codes()
    return tmp_path


def codes(**by_level: int) -> None:
    """How the levels end, by their directory."""
    Path("codes.json").write_text(json.dumps({name.replace("_", "-"): code for name, code in by_level.items()}))


def run(*options: str, axes: list[str] = USERS) -> int:
    return sweep.run_sweep(Path("my.conf"), axes, Path("out"), options)


def calls() -> list[dict[str, str]]:
    """What was started so far: the options with a value."""
    lines = Path("calls.jsonl").read_text().splitlines() if Path("calls.jsonl").exists() else []
    return [dict(itertools.pairwise(given)) for given in map(json.loads, lines)]


def problems(*options: str, axes: list[str] = USERS) -> list[str]:
    before = len(calls())
    with pytest.raises(BadInput) as raised:
        run(*options, axes=axes)
    assert len(calls()) == before  # nothing was sent
    return raised.value.problems


def test_each_level_is_a_run_of_its_own_warmed_up_and_drained() -> None:
    assert run("--max-tokens", "9") == ExitCode.OK
    assert [call["--users"] for call in calls()] == ["1", "2", "4"]
    for call in calls():
        assert (call["--warm-up"], call["--stop-timeout"], call["--max-tokens"]) == ("2", "60", "9")
        assert call["--spawn-rate"] == call["--users"] and call["--results-dir"] == "out"
    assert sorted(path.parent.name for path in Path("out").glob("*/*")) == ["users-1", "users-2", "users-4"]


def test_what_is_given_stays() -> None:
    run("--warm-up", "5", "-r", "1", "--stop-timeout=3")
    assert calls()[0]["--warm-up"] == "5" and "--spawn-rate" not in calls()[0]


def test_sessions_are_a_rate_of_sessions() -> None:
    run(axes=["sessions=10,20"])
    assert [(call["--rate"], call["--arrivals-of"]) for call in calls()] == [("10", "sessions"), ("20", "sessions")]


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ({"users_4": 3}, ExitCode.CRITERIA_FAILED),
        ({"users_2": 4, "users_4": 3}, ExitCode.UNTRUSTED),
        ({"users_1": 1}, ExitCode.LOCUST),
    ],
)
def test_the_exit_code_is_the_gravest_of_the_levels(ends: dict[str, int], code: ExitCode) -> None:
    codes(**ends)
    assert run() == code
    assert len(calls()) == 3
    assert run() == code  # the same again from what is kept
    assert len(calls()) == 3


def test_an_interrupted_level_is_repeated_and_finished_ones_are_kept() -> None:
    codes(users_2=5)
    assert run() == ExitCode.UNTRUSTED
    assert [level.state for level in read_sweep(Path("out")).levels] == ["finished", "unfinished", "unfinished"]
    codes()
    assert run() == ExitCode.OK
    assert [call["--users"] for call in calls()] == ["1", "2", "2", "4"]
    assert len(list(Path("out/users-2").iterdir())) == 2  # nothing is overwritten


def test_a_finished_level_whose_files_changed_is_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    [rows] = Path("out/users-2").glob("*/requests.csv")
    rows.write_text("other rows")
    assert run() == ExitCode.OK
    assert [call["--users"] for call in calls()] == ["1", "2", "4", "2"]
    assert "users=2: requests.csv in out/users-2" in capsys.readouterr().err


def test_a_refused_level_ends_the_sweep_which_may_then_be_put_right() -> None:
    codes(users_1=2)
    assert run("--deployment", "no") == ExitCode.BAD_INPUT
    assert len(calls()) == 1
    codes()
    assert run("--deployment", "yes") == ExitCode.OK


def test_a_process_that_died_leaves_its_level_unfinished() -> None:
    codes(users_1=70)
    assert run() == ExitCode.UNTRUSTED
    assert read_sweep(Path("out")).levels[0].state == "unfinished"


def test_a_sweep_of_other_levels_options_scenario_or_version_is_not_gone_on_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run()
    assert "expected the axes users=1,2,4, got users=1,2" in problems(axes=["users=1,2"])[0]
    assert "scenario and the options that it was begun with" in problems("--max-tokens", "7")[0]
    Path("my.conf").write_text("run-time = 30s\n")
    assert "scenario and the options that it was begun with" in problems()[0]
    monkeypatch.setattr(sweep, "version", lambda: "99")
    assert any("version of Tokenswarm" in each and "99" in each for each in problems())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "expected JSON"),
        ("[]", "expected format = 'tokenswarm sweep 1'"),
        ('{"format": "tokenswarm sweep 9"}', "got 'tokenswarm sweep 9'"),
        ('{"format": "tokenswarm sweep 1"}', "damaged"),
        ("\x00\xff", "expected JSON"),
    ],
)
def test_a_damaged_or_foreign_file_is_named_and_kept(text: str, said: str) -> None:
    Path("out").mkdir()
    Path("out", FILE_NAME).write_bytes(text.encode("latin-1"))
    assert said in problems()[0]
    assert Path("out", FILE_NAME).read_bytes() == text.encode("latin-1")


def test_a_level_outside_the_sweep_is_a_damaged_file() -> None:
    run()
    found = json.loads(Path("out", FILE_NAME).read_text())
    found["levels"][0]["directory"] = "../elsewhere"
    Path("out", FILE_NAME).write_text(json.dumps(found))
    assert "damaged" in problems()[0]


def test_another_directory_is_left_alone() -> None:
    Path("out").mkdir()
    Path("out", "thesis.txt").write_text("mine")
    assert "expected a new directory or one of a sweep" in problems()[0]
    assert [path.name for path in Path("out").iterdir()] == ["thesis.txt"]


def test_a_sweep_that_is_on_is_not_begun_twice() -> None:
    run()
    lease = Lease(Path("out"))
    lease.take()
    assert "expected a sweep that is not on" in problems()[0]
    lease.release()


@pytest.mark.parametrize(
    ("scenario", "options", "said"),
    [
        ("users = 5\n", (), "run-time: expected how long each level is held"),
        ("run-time = 9s\nshape = step\n", (), "shape: expected none in a sweep"),
        ("run-time = 9s\nsearch = 1..9\n", (), "search: expected none in a sweep"),
        ("run-time = 9s\n", ("--users", "4"), "expected no --users beside it"),
        ("run-time = 9s\n", ("-u", "4"), "expected no --users beside it"),
        ("run-time = 9s\n", ("--results-dir", "x"), "expected no --results-dir"),
    ],
)
def test_what_cannot_be_a_sweep_is_refused(scenario: str, options: tuple[str, ...], said: str) -> None:
    Path("my.conf").write_text(scenario)
    assert any(said in each for each in problems(*options))
    assert not Path("out").exists()
