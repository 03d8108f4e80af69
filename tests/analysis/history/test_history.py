"""The history of real run directories: order, cache, trend, gates, and what is damaged."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.history import collecting
from analysis.history.cache import FILE_NAME, open_cache, store
from analysis.history.past_run import PastRun, from_text, to_text
from analysis.history.trend import history_of
from tests.analysis.synthetic import START, make_records, stamp, write_run
from tokenswarm.userinput import BadInput


def write(root: Path, number: int, *, slower: float = 1.0, **meta: object) -> Path:
    options = {"options": {"test-name": "nightly"}}
    records = list(make_records(seed=number, minutes=1.5, slower=slower))
    return write_run(
        root / "nightly" / stamp(number), records, test_name="nightly", **{**options, **meta},
        started_at=START + 86400 * number, ended_at=START + 86400 * number + 120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve nights: the service gets 1.6 times slower with the seventh."""
    root = tmp_path_factory.mktemp("results")
    for number in range(12):
        write(root, number, slower=1.0 if number < 6 else 1.6)
    return root


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the run directories whose rows are read."""
    read: list[str] = []
    original = collecting.read_past_run

    def spy(directory: Path, root: Path) -> PastRun:
        read.append(directory.name)
        return original(directory, root)

    monkeypatch.setattr(collecting, "read_past_run", spy)
    yield read


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["history", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_runs_are_listed_in_order_and_the_change_is_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, str(results), "--format", "json")
    (test,) = json.loads(out)["tests"]
    assert code == 0
    assert [each["path"] for each in test["runs"]] == [f"nightly/{stamp(number)}" for number in range(12)]
    changed = {change["figure"]: change for change in test["changes"]}
    assert changed["ttft_ms p95"]["from_run"] == f"nightly/{stamp(6)}"
    assert 1.3 < changed["ttft_ms p95"]["after"] / changed["ttft_ms p95"]["before"] < 1.9
    assert "error_pct" not in changed


def test_text_and_markdown_say_the_same(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = run(capsys, str(results))
    _, markdown, _ = run(capsys, str(results), "--format", "markdown", "--last", "3")
    assert "TTFT p95" in text and f"from nightly/{stamp(6)} on" in text
    assert f"from nightly/{stamp(6)} on" in markdown
    assert sum(line.startswith(("| nightly", "|nightly")) for line in markdown.splitlines()) == 3


def test_only_new_and_changed_runs_are_measured(results: Path, measured: list[str], tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, number)
    first = collecting.collect(tmp_path).runs
    assert len(measured) == 3
    assert collecting.collect(tmp_path).runs == first
    assert len(measured) == 3
    write(tmp_path, 1, slower=2)
    write(tmp_path, 3)
    again = collecting.collect(tmp_path)
    assert measured[3:] == [stamp(1), stamp(3)]
    assert again.runs[1].figures["ttft_ms p95"] != first[1].figures["ttft_ms p95"]
    assert len(collecting.collect(tmp_path, rebuild=True).runs) == 4 and len(measured) == 9


def test_a_deleted_run_is_gone_and_a_cut_one_is_listed_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        write(tmp_path, number)
    assert len(collecting.collect(tmp_path).runs) == 3
    (tmp_path / "nightly" / stamp(0)).rename(tmp_path.parent / f"{tmp_path.name}-moved")
    (tmp_path / "nightly" / stamp(1) / "run.json").write_text("{")
    (test,) = json.loads(run(capsys, str(tmp_path), "--format", "json")[1])["tests"]
    assert {each["path"]: each["verdict"] for each in test["runs"]} == {
        f"nightly/{stamp(1)}": "crashed", f"nightly/{stamp(2)}": "none",
    }  # fmt: skip


def test_a_directory_that_is_no_run_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, 0)
    write(tmp_path, 1)
    meta = tmp_path / "nightly" / stamp(1) / "run.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "schema_version": 99}))
    code, out, err = run(capsys, str(tmp_path), "--format", "json")
    assert (code, len(json.loads(out)["tests"][0]["runs"])) == (0, 1)
    assert "left out" in err and "schema_version" in err


@pytest.mark.parametrize("kind", ["text", "other program", "other version", "damaged"])
def test_a_cache_that_is_not_ours_is_named_and_kept(tmp_path: Path, kind: str) -> None:
    write(tmp_path, 0)
    path = tmp_path / FILE_NAME
    if kind == "text":
        path.write_text("my notes\n" * 50)
    elif kind == "damaged":
        open_cache(path).close()
        path.write_bytes(path.read_bytes()[:100] + b"\xff" * 3000)
    else:
        with closing(open_cache(path)) if kind == "other version" else closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 99")
            connection.execute("CREATE TABLE notes (text)")
            connection.commit()
    before = path.read_bytes()
    for rebuild in (False, True):
        with pytest.raises(BadInput, match=r"history\.sqlite: expected the cache of a history"):
            collecting.collect(tmp_path, rebuild)
    assert path.read_bytes() == before


def test_a_directory_that_cannot_be_written_is_measured_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 0)
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = collecting.collect(tmp_path)
    assert len(found.runs) == 1 and not (tmp_path / FILE_NAME).exists()
    assert "cannot be written" in found.notes[0]


def test_the_latest_run_is_judged_against_those_before(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = ("--fail-if", "p95(ttft_ms) worse > 20 %")
    code, out, _ = run(capsys, str(results), *gate)
    assert code == 0 and "held" in out and "against 5 trusted runs" in out
    for number in range(4):
        write(tmp_path, number, slower=1.0 if number < 3 else 1.6)
    code, out, _ = run(capsys, str(tmp_path), *gate, "--against", "3")
    assert code == 3 and "FAILED" in out


def test_without_a_trusted_run_before_the_gate_is_untrusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, 0, state="running")
    write(tmp_path, 1)
    code, out, _ = run(capsys, str(tmp_path), "--fail-if", "rpm worse > 10 %")
    assert (code, "no trusted run before" in out) == (4, True)


def past(number: int, verdict: str = "passed", rate: int = 50, tpm: float = 100.0) -> PastRun:
    return PastRun(
        path=f"t/{number}", test_name="t", started_at=float(number), verdict=verdict, sent=10,
        figures={"tpm": tpm}, settings={"rate": rate, "seed": number},
    )  # fmt: skip


def test_a_change_that_came_with_other_options_says_so() -> None:
    runs = [
        past(number, rate=50 if number < 7 else 90, tpm=100.0 + number + 80 * (number >= 7)) for number in range(14)
    ]
    (change,) = history_of("t", runs).changes
    assert (change.run.path, change.options) == ("t/7", ["rate 50 -> 90"])


def test_untrusted_runs_are_listed_and_left_out_of_the_trend() -> None:
    runs = [past(number) for number in range(12)] + [past(12 + n, "untrusted", tpm=900.0) for n in range(8)]
    history = history_of("t", runs)
    assert (len(history.runs), len(history.trusted), history.changes) == (20, 12, [])


def test_a_run_survives_the_cache_unchanged() -> None:
    assert from_text("t/3", to_text(past(3))) == past(3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: expected a directory"),
        ([".", "--last", "0", "--against", "0"], "--against: expected a whole number from 1, got 0"),
        ([".", "--test", "weekly"], "--test: expected one of the tests below . (nightly), got weekly"),
        ([".", "--fail-if", "p95(ttft) worse > 1 %"], "--fail-if: expected one of"),
    ],
)
def test_mistakes_are_named(
    results: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(results)
    code, _, err = run(capsys, *arguments)
    assert code == 2 and message in err


def test_a_thousand_runs_are_listed_without_reading_their_rows(tmp_path: Path, measured: list[str]) -> None:
    directories = [tmp_path / "t" / str(number) for number in range(1000)]
    for directory in directories:
        directory.mkdir(parents=True)
        (directory / "run.json").write_text("{}")
    files = {directory.relative_to(tmp_path).as_posix(): collecting._files_of(directory) for directory in directories}
    with closing(open_cache(tmp_path / FILE_NAME)) as connection:
        store(connection, {path: (files[path], past(int(path[2:]))) for path in files}, [])
    assert len(collecting.collect(tmp_path).runs) == 1000
    assert measured == []


def test_the_command_of_the_package_lists_results_by_default(results: Path) -> None:
    (results / "results").symlink_to(results)
    command = [sys.executable, "-m", "tokenswarm", "history", "--last", "1"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, cwd=results, env=environment, capture_output=True, text=True, timeout=60)
    (results / "results").unlink()
    assert done.returncode == 0, done.stderr
    assert f"nightly/{stamp(11)}" in done.stdout
