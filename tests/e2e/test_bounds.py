"""Numbers, names and files beyond all measure: one message and exit code 2, at once."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.__main__ import main
from tests.analysis.run_directories import answered, dropped, worked_meta, worked_records, write_run
from tests.e2e.locust_process import Target, credentials, run_locust, scenario
from tests.webui.web_process import running_locust
from tokenswarm.userinput import MAX_DEPTH, BadInput, open_file, parse_json


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trace", "/dev/zero"], "trace /dev/zero: expected a file of at most"),
        (["--trace", "/dev/urandom"], "trace /dev/urandom: expected a file of at most"),
        (["--dataset", "/dev/zero"], "dataset /dev/zero: expected"),
        (["--env-file", "/dev/zero"], "env-file /dev/zero: expected"),
        (["-u", "1000000000"], "users: expected at most 1000000, got 1000000000"),
        (["--shape", "stages", "--stages", "1m:1000000000"], "expected"),
        (["--test-name", "n" * 300], "test-name: expected at most 120 characters"),
        (["--test-name", "a\x1b[2J\u202eb"], "test-name: expected at most 120 characters that can be printed"),
        (["--run-time", "0"], "run-time: expected more than 0 seconds"),
        (["--extra-body", "[" * 5000 + "]" * 5000], "extra-body: expected"),
    ],
)
def test_a_start_beyond_all_measure_is_refused(target: Target, tmp_path: Path, flags: list[str], message: str) -> None:
    finished = run_locust(scenario("smoke", *flags), credentials(target), tmp_path)
    assert message in finished.output
    assert finished.code == 2
    assert "Traceback" not in finished.output
    assert "\x1b" not in finished.output and "\u202e" not in finished.output
    assert target.truth() == []


def test_the_form_starts_no_load_beyond_all_measure(target: Target, tmp_path: Path) -> None:
    with running_locust(tmp_path, target.url) as locust:
        form = {"user_count": "1000000000", "spawn_rate": "1", "run_time": "0", "test_name": "n" * 300}
        answer = json.loads(locust.post("/swarm", form)[1])
        for part in ("users: expected at most", "run time: expected more than 0", "test-name: expected at most"):
            assert part in answer["message"]
        answer = json.loads(locust.post("/swarm", {"user_count": "1", "spawn_rate": "1", "deployment": "a\0b"})[1])
        assert "NUL" in answer["message"]
        assert locust.live()["state"] == "ready"


@pytest.mark.parametrize("depth", [101, 700, 100_000])
def test_deep_json_in_run_json_is_one_message(tmp_path: Path, depth: int, capsys: pytest.CaptureFixture[str]) -> None:
    directory = write_run(tmp_path / "run", worked_records(), worked_meta())
    (directory / "run.json").write_text('{"schema_version": 1, "options": ' + "[" * depth + "]" * depth + "}")
    assert main(["report", str(directory)]) == 2
    assert capsys.readouterr().err.strip().endswith(f"got JSON nested deeper than {MAX_DEPTH} levels")


@pytest.mark.parametrize("name", ["e2e_ms", "ttft_ms", "lag_ms", "started_at", "scheduled_at", "tbt_ms"])
def test_a_number_beyond_all_measure_in_a_row_is_one_message(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = dataclasses.replace(answered("cx", 100.0, 100.0, 1000.0, 50), **{name: 1e308})
    rows = [*worked_records(), row, dataclasses.replace(dropped("cy", 1.0), scheduled_at=1e308)]
    directory = write_run(tmp_path / "run", rows if name == "scheduled_at" else rows[:-1], worked_meta())
    assert main(["report", str(directory)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "60 days" in line


@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "status", "attempt", "turn", "max_tokens"])
def test_a_count_beyond_all_measure_is_no_traceback(tmp_path: Path, name: str) -> None:
    row = dataclasses.replace(answered("cx", 100.0, 100.0, 1000.0, 50), **{name: 1e308})
    directory = write_run(tmp_path / "run", [*worked_records(), row], worked_meta())
    assert main(["report", str(directory)]) in (0, 2)


def test_twenty_thousand_stages_of_a_request_are_a_note(tmp_path: Path) -> None:
    many = ";".join(f"s{number}=1" for number in range(20_000))
    rows = [*worked_records(), answered("cx", 100.0, 100.0, 1000.0, 50, stages=many)]
    directory = write_run(tmp_path / "run", rows, worked_meta())
    command = [sys.executable, "-m", "analysis", "report", str(directory)]
    before = os.times().children_user
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert os.times().children_user - before < 20, "seconds of CPU; it took 34"
    assert done.returncode == 0
    assert "19900 stage times beyond 100 of a request or a run were left out" in done.stdout


def test_only_a_file_of_bounded_size_is_opened(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 11)
    (tmp_path / "small").write_bytes(b"x" * 10)
    with open_file(tmp_path / "small", "trace", 10) as file:
        assert file.read() == b"x" * 10
    for path in (tmp_path / "big", "/dev/zero", tmp_path, "a\0b", tmp_path / "missing"):
        with pytest.raises(BadInput, match="trace"):
            open_file(path, "trace", 10)


def test_json_is_read_to_a_depth() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(ValueError, match="nested deeper"):
            parse_json("[" * depth + "]" * depth)
