from __future__ import annotations

import csv
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.record import COLUMNS, Outcome, RequestRecord
from tokenswarm.results.csv_rows import HEADER, format_row, parse_rows
from tokenswarm.results.journal import Journal
from tokenswarm.results.recorder import Batch, Recorder, read_journal_after


def record(number: int, **fields: Any) -> RequestRecord:
    return RequestRecord(call_id=f"c{number}", outcome=Outcome.OK, started_at=100.0 + number, **fields)


def call_ids(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return [row["call_id"] for row in csv.DictReader(file)]


def test_rows_reach_the_file_the_watcher_and_the_master(tmp_path: Path) -> None:
    seen: list[RequestRecord] = []
    batches: list[Batch] = []
    recorder = Recorder("w1", tmp_path / "journal.csv", seen.append, batches.append)
    for _ in range(3):
        recorder.start_call()
    for number in range(3):
        recorder.record(record(number, error='a "quoted", text\nof two lines'))
    recorder.flush()
    recorder.record(record(3))
    recorder.close()
    assert call_ids(tmp_path / "journal.csv") == ["c0", "c1", "c2", "c3"]
    assert [each.call_id for each in seen] == ["c0", "c1", "c2", "c3"]
    assert [(batch.rows, batch.made, batch.written) for batch in batches] == [(3, 3, 3), (1, 4, 4)]
    assert (batches[0].started, batches[0].finished) == (3, 0)
    assert [each.call_id for batch in batches for each in parse_rows(batch.text)] == ["c0", "c1", "c2", "c3"]
    assert parse_rows(batches[0].text)[0].error == 'a "quoted", text of two lines'


def test_a_large_outbox_is_shipped_in_several_messages(tmp_path: Path) -> None:
    batches: list[Batch] = []
    recorder = Recorder("w1", tmp_path / "journal.csv", None, batches.append)
    for number in range(1200):
        recorder.record(record(number))
    recorder.close()
    assert [(batch.rows, batch.is_last) for batch in batches] == [(500, False), (500, False), (200, True)]


def test_the_rest_of_a_journal_after_what_was_shipped(tmp_path: Path) -> None:
    path = tmp_path / "journal.csv"
    rows = [format_row(record(number, error="two\nlines")) for number in range(5)]
    path.write_text(HEADER + "".join(rows) + rows[0][:20])
    rest = read_journal_after(path, 3)
    assert [each.call_id for each in parse_rows("".join(rest))] == ["c3", "c4"]
    assert read_journal_after(tmp_path / "none.csv", 0) == []


def test_a_killed_process_keeps_what_was_flushed(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    code = (
        "import sys, time; from pathlib import Path; from tokenswarm.results.recorder import Recorder;"
        "from tokenswarm.record import *; r = Recorder('w', Path(sys.argv[1]));"
        "[r.record(RequestRecord(call_id=f'c{i}', outcome=Outcome.OK)) for i in range(50)]; r.flush();"
        "print('flushed', flush=True); time.sleep(30)"  # until it is killed
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "flushed\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert len(call_ids(path)) == 50


def test_a_full_disk_keeps_rows_in_memory_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "requests.csv")
    real_write = os.write

    def no_space(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", no_space)
    journal.add(format_row(record(1)))
    journal.flush()
    assert journal.problem == "rows could not be written to requests.csv: No space left on device"
    monkeypatch.setattr(os, "write", real_write)
    journal.add(format_row(record(2)))
    journal.close()
    assert call_ids(tmp_path / "requests.csv") == ["c1", "c2"]
    assert journal.rows_lost == 0


def test_a_file_size_limit_cuts_no_row(tmp_path: Path) -> None:
    """A disk that takes half a batch: the other half follows when there is room again."""
    path = tmp_path / "requests.csv"
    journal = Journal(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(HEADER) + 150, hard))
        for number in range(20):
            journal.add(format_row(record(number)))
        journal.flush()
        assert journal.problem is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    journal.close()
    assert call_ids(path) == [f"c{number}" for number in range(20)]


def test_the_header_is_the_records(tmp_path: Path) -> None:
    Journal(tmp_path / "requests.csv").close()
    assert (tmp_path / "requests.csv").read_text() == ",".join(COLUMNS) + "\n"
