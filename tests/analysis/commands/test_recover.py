from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.commands.recover import KEPT
from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from tests.analysis.run_directories import T, worked_records, worked_run, write_rows, write_run
from tokenswarm.lease import FILE_NAME, STALE_AFTER_S, Lease


def crashed(tmp_path: Path) -> Path:
    records = worked_records()
    meta = {"schema_version": 1, "state": "running", "started_at": T, "test_name": "cut", "accounting": {"planned": 8}}
    directory = write_run(tmp_path / "r", records[:4], meta)
    with (directory / "requests.csv").open("a") as file:
        file.write("c5,1,w1")
    write_rows(directory / "journal-w1.csv", records[2:7])
    journal = write_rows(directory / "journal-w2.csv", records[7:])
    journal.write_text(journal.read_text() + "broken,line\n" + "c99,1,w2,,,chat,,")
    age(directory)
    return directory


def age(directory: Path, seconds: float = STALE_AFTER_S + 1) -> None:
    """Nobody has written here for so long."""
    then = time.time() - seconds
    for path in directory.iterdir():
        os.utime(path, (then, then))


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
    counted = meta["accounting"]
    assert (counted["planned"], counted["sent"], counted["rows"], counted["dropped"]) == (8, 8, 9, 1)
    assert counted["sent"] == sum(counted[kind] for kind in ("ok", "throttled", "failed", "cancelled")) == 8
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


def unchanged(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != FILE_NAME}


@pytest.mark.parametrize("host", ["this", "another host", None])
def test_a_run_that_is_on_is_refused_whatever_its_host_is_called(
    tmp_path: Path, host: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its rows were replaced when the host name differed: two containers on one volume."""
    directory = crashed(tmp_path)
    meta = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps({**meta, "host": host, "pid": 1}))
    code = f"""
import sys
from pathlib import Path
from tokenswarm.lease import Lease
lease = Lease(Path({str(directory)!r}))
lease.take()
print("taken", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"taken\n"
        age(directory)
        before = unchanged(directory)
        assert main(["recover", str(directory)]) == 2
        assert "may be on: its process holds run.lock" in capsys.readouterr().err
        assert unchanged(directory) == before
        holder.kill()
    # Killed: the kernel has let the lock go, at once; that pid 1 of a container lives says nothing.
    assert main(["recover", str(directory)]) == 0


def test_a_run_of_another_machine_is_refused_until_it_has_been_silent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = crashed(tmp_path)
    (directory / FILE_NAME).write_text("another machine's boot")
    assert main(["recover", str(directory)]) == 2
    assert "perhaps from another machine" in capsys.readouterr().err
    age(directory)
    assert main(["recover", str(directory)]) == 0


def test_a_run_without_a_lock_is_refused_while_it_is_written_to(tmp_path: Path) -> None:
    directory = crashed(tmp_path)
    (directory / "requests.csv").touch()
    assert main(["recover", str(directory)]) == 2


@pytest.mark.parametrize("name", ["requests.csv", "journal-w1.csv", "run.json"])
def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    directory = crashed(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    (directory / name).rename(elsewhere)
    (directory / name).symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    assert main(["recover", str(directory)]) == 2
    assert elsewhere.read_bytes() == before


def test_a_link_under_the_name_of_a_new_file_is_not_written_through(tmp_path: Path) -> None:
    directory, elsewhere = crashed(tmp_path), tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    for name in ("requests.csv.part", "run.json.part"):
        (directory / name).symlink_to(elsewhere)
    assert main(["recover", str(directory)]) == 0
    assert elsewhere.read_text() == "mine"
    assert not (directory / "requests.csv").is_symlink()


def test_a_lease_is_of_one_holder_and_goes_with_its_release(tmp_path: Path) -> None:
    first, second = Lease(tmp_path), Lease(tmp_path)
    first.take()
    with pytest.raises(OSError):
        second.take()
    first.touch()
    first.release()
    assert not (tmp_path / FILE_NAME).exists()
    second.take()
    second.release()


def test_rows_on_other_machines_are_lost_at_least_until_they_are_copied_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = crashed(tmp_path)
    told = [
        {"worker": f"w{number}", "journal": f"/elsewhere/journal-w{number}.csv", "without_row": 7, "heard_at": T + 9}
        for number in (2, 3)
    ]
    (directory / "remote-workers.json").write_text(json.dumps([*told, "no worker", {"worker": "w4"}]))
    age(directory)
    assert main(["recover", str(directory)]) == 0
    said = capsys.readouterr().out
    assert "lost are at least 7" in said
    assert f"in /elsewhere/journal-w3.csv: copy that file into {directory} as journal-w3.csv" in said
    assert "journal-w2.csv" not in said  # it is here
    (lost,) = json.loads((directory / "run.json").read_text())["accounting"]["lost"]
    assert (lost["worker"], lost["rows"], lost["at_least"]) == ("w3", 7, True)
    assert any(problem.startswith("at least 7 rows") for problem in summarise(load_run(directory)).accounting.problems)
    write_rows(directory / "journal-w3.csv", worked_records()[:1])
    assert main(["recover", str(directory)]) == 0
    assert "lost are 0" in capsys.readouterr().out
    assert json.loads((directory / "run.json").read_text())["accounting"]["lost"] == []
