"""What a run wrote, gone or changed while it was on: exit code 4 and the reason, whatever the criteria say."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from tests.faults.locust_run import headless, read_rows, running_locust
from tests.simulator_process import Simulator, fixed_times, running_simulator
from tokenswarm.metrics.accounting import Accounting
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.results.csv_rows import HEADER, format_row
from tokenswarm.results.journal import Journal
from tokenswarm.results.read_back import WrittenFiles

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
"""Of prctl(2) and capabilities(7)."""
HELD = ("--failure-criteria", "percentage(error) > 50", "--think-time", "0.05")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(fixed_times(5, 1)) as simulator:
        yield simulator


def delete(directory: Path) -> None:
    (directory / "requests.csv").unlink()


def truncate(directory: Path) -> None:
    os.truncate(directory / "requests.csv", 0)


def replace(directory: Path) -> None:
    rows = directory / "requests.csv"
    shutil.copy(rows, directory / "other.csv")
    os.replace(directory / "other.csv", rows)


def remove(directory: Path) -> None:
    gone = directory.rename(directory.with_name("gone"))  # nothing new is written into it while it is emptied
    shutil.rmtree(gone)


def edit(directory: Path) -> None:
    """As long as before, and better."""
    with (directory / "requests.csv").open("r+b") as file:
        before = file.read()
        begin = before.index(b"\n") + 1
        file.seek(begin)
        file.write(before[begin : begin + 8].translate(bytes.maketrans(b"0123456789abcdef", b"123456789abcdef0")))


def append(directory: Path) -> None:
    path = directory / "requests.csv"
    last = path.read_text().splitlines(keepends=True)[-1]
    with path.open("a") as file:
        file.write(last)


def rename(directory: Path) -> None:
    directory.rename(directory.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("spoil", "reason", "workers"),
    [
        (delete, "requests.csv is gone", 1),
        (delete, "requests.csv is gone", 2),
        (truncate, "requests.csv does not begin with its header", 1),
        (replace, "requests.csv is another one than at the start", 2),
        (edit, "requests.csv is not what was written", 1),
        (edit, "requests.csv is not what was written", 2),
        (append, "requests.csv is not what was written", 1),
        (remove, "the run directory is gone", 2),
        (rename, "the run directory is gone", 1),
    ],
)
def test_evidence_that_is_gone_is_no_verdict(
    simulator: Simulator, tmp_path: Path, spoil: Callable[[Path], None], reason: str, workers: int
) -> None:
    flags = ("--processes", "2") if workers > 1 else ()
    with running_locust(tmp_path, *headless(simulator.chat_url, *HELD, *flags, run_time="60s")) as run:
        run.wait_until(lambda: len(read_rows(run.directory / "requests.csv")) >= 20)
        directory = run.directory
        spoil(directory)
        served = simulator.admin("POST", "/admin/flush")["lines"]
        run.wait_until(lambda: simulator.admin("POST", "/admin/flush")["lines"] > served + 20)
        run.process.send_signal(signal.SIGTERM)
        assert run.wait(40) == 4
        assert reason in run.output
        if directory.exists():
            facts = run.facts
            assert (facts["verdict"]["state"], facts["verdict"]["exit_code"]) == ("untrusted", 4)
            assert any(reason in each["text"] for each in facts["verdict"]["reasons"])
            truth = [line for line in simulator.truth(30) if line["received_at"] > run.began_at]
            lost = sum(each["rows"] for each in facts["accounting"]["lost"])
            assert facts["accounting"]["sent"] + lost >= len([x for x in truth if x["client_request_id"]])
        else:
            assert str(directory) not in run.output.rpartition("could not be written")[2]


def bind_to_permissions() -> None:
    """A child that runs as root may then no longer write where its permissions forbid it."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def test_a_directory_that_becomes_read_only_is_no_verdict(simulator: Simulator, tmp_path: Path) -> None:
    """Rows go on into the file that is open; run.json and Locust's page cannot be written."""
    started = headless(simulator.chat_url, *HELD, run_time="60s")
    with running_locust(tmp_path, *started, before=bind_to_permissions) as run:
        run.wait_until(lambda: len(read_rows(run.directory / "requests.csv")) >= 20)
        run.directory.chmod(0o555)
        try:
            run.process.send_signal(signal.SIGTERM)
            assert run.wait(40) == 4
        finally:
            run.directory.chmod(0o755)
        assert "run.json could not be written: Permission denied" in run.output
        assert "Verdict: UNTRUSTED" in run.output and "Traceback" not in run.output
        assert run.facts["state"] == "running"
        judgement = summarise(load_run(run.directory)).judgement
        assert (judgement.state, judgement.exit_code) == ("failed", 3)
        assert "crashed" in {str(reason.kind) for reason in judgement.reasons}
        served = [line for line in simulator.truth(30) if line["received_at"] > run.began_at]
        assert len(run.rows) == len([line for line in served if line["client_request_id"]])


def row(number: int, outcome: Outcome = Outcome.OK, attempt: int = 1) -> str:
    return format_row(RequestRecord(call_id=f"c{number}", attempt=attempt, outcome=outcome, error='a "b",\nc'))


def test_rows_are_counted_as_they_lie_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    path.write_text(HEADER)
    files = WrittenFiles(tmp_path)
    with path.open("a") as file:
        file.write(row(1) + row(2, Outcome.DROPPED) + row(3, Outcome.TIMEOUT, 2) + "not,a,row\n" + row(4)[:-9])
    found, problems = files.read_back()
    assert (found.rows, found.sent, found.first_attempts) == (3, 2, 1)
    assert problems == ["requests.csv has 2 lines that are no rows"]


def test_rows_that_somebody_else_has_changed_are_not_what_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "requests.csv")
    files = WrittenFiles(tmp_path)
    for number in (1, 2):
        journal.add(row(number))
        journal.flush()
    assert files.read_back(journal.written)[1] == []
    rows = (tmp_path / "requests.csv").read_text()
    for changed in (rows.replace(",ok,", ",timeout,", 1), rows + row(3), rows.replace("c2", "c9"), rows + rows[-1:]):
        (tmp_path / "requests.csv").write_text(changed)
        _, problems = files.read_back(journal.written)
        assert len(problems) == 1 and problems[0].startswith("requests.csv "), changed


def test_a_whole_file_has_no_problem(tmp_path: Path) -> None:
    (tmp_path / "requests.csv").write_text(HEADER + row(1))
    found, problems = WrittenFiles(tmp_path).read_back()
    assert problems == []
    assert isinstance(found, Accounting) and found.rows == 1
