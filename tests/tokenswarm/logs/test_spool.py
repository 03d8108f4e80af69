from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tokenswarm.logs.logged import LoggedRequest
from tokenswarm.logs.spool import Fact, Spool
from tokenswarm.traffic.__main__ import main


def test_requests_come_back_by_their_instants_and_those_of_one_in_their_order(tmp_path: Path) -> None:
    made = [LoggedRequest(at_s, session=str(number)) for number, at_s in enumerate([3.0, 1.0, 2.0, 1.0, 3.0])]
    made[2].body = {"messages": [{"role": "user", "content": "é\ud800"}]}
    with Spool(tmp_path) as spool:
        for request in made:
            spool.add(request)
        assert (len(spool), spool.count(Fact.ASKED)) == (5, 1)
        assert [request.session for request in spool.in_order()] == ["1", "3", "2", "0", "4"]
        assert list(spool.in_order())[2] == made[2]
    assert list(tmp_path.iterdir()) == []


def test_spans_of_one_answer_that_began_together_are_one_call(tmp_path: Path) -> None:
    """As of a client that writes spans itself and of what instruments it. A cache gave the last one."""
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    calls = [
        (1.001, None, "a"),
        (1.0, body, "a"),
        (1.002, body, "b"),
        (1.0, body, ""),
        (1.5, None, "b"),
        (3.0, None, "b"),
    ]
    with Spool(tmp_path) as spool:
        for at_s, asked, answer in calls:
            spool.add(LoggedRequest(at_s, body=asked, answer=answer))
        spool.leave_out_twice()
        assert (len(spool), spool.twice, spool.count(Fact.ASKED)) == (5, 1, 3)
        assert [(request.at_s, request.answer) for request in spool.in_order()] == [
            (1.0, "a"), (1.0, ""), (1.002, "b"), (1.5, "b"), (3.0, "b"),
        ]  # fmt: skip


def log_of(path: Path, count: int, text: str) -> Path:
    with path.open("w") as file:
        for number in range(count):
            entry = {"call_type": "acompletion", "startTime": 1_790_000_000 + (number * 7919) % count, "model": "m",
                     "messages": [{"role": "user", "content": f"{number} {text}"}]}  # fmt: skip
            file.write(json.dumps(entry) + "\n")
    return path


PEAK = """
import resource, sys
from tokenswarm.traffic.__main__ import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


def peak_bytes(source: Path) -> int:
    made = source.with_suffix(".requests.jsonl")
    command = [sys.executable, "-c", PEAK, "import", "litellm", str(source), "-o", str(made)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return int(output.splitlines()[-1]) * (1 if sys.platform == "darwin" else 1024)


def test_a_log_is_not_held_in_memory(tmp_path: Path) -> None:
    large = log_of(tmp_path / "large.jsonl", 3000, "x" * 10_000)
    assert peak_bytes(large) - peak_bytes(log_of(tmp_path / "small.jsonl", 3, "x")) < os.path.getsize(large) / 3
    with (tmp_path / "large.requests.jsonl").open() as made:
        instants = [json.loads(line)["timestamp"] for line in made]
    assert instants == sorted(instants) and len(instants) == 3000


def test_a_share_that_keeps_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = log_of(tmp_path / "log.jsonl", 1, "x")
    assert main(["import", "litellm", str(source), "-o", str(tmp_path / "o.jsonl"), "--sample", "0.001"]) == 2
    assert "keeps at least one session" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["import", "litellm"], ["anonymise"]])
def test_what_is_read_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    source = log_of(tmp_path / "log.jsonl", 1, "x")
    before = source.read_bytes()
    assert main([*command, str(source), "-o", str(source)]) == 2
    assert "expected another file than the one that is read" in capsys.readouterr().err
    assert source.read_bytes() == before
