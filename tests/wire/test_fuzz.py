"""A short run of the fuzzer; `python -m tests.wire.fuzz` is the long one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wire.cases import spaced
from tests.wire.fuzz import BASES, Base, make, problems_of, run
from tests.wire.replay import Answer, replay
from tokenswarm.record import Outcome, RequestRecord

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("first_seed", [1, 1_000_000])
def test_whatever_comes_makes_one_row_that_can_be(first_seed: int) -> None:
    outcomes, failures = run(first_seed, 1500)
    assert failures == []
    assert len(outcomes) >= 5, "the answers are too much alike to show anything"


@pytest.mark.parametrize("base", BASES, ids=lambda base: f"{type(base.api).__name__} {len(base.events)}")
def test_a_stream_that_is_cut_anywhere_is_not_ok(base: Base) -> None:
    """Every prefix that lacks the proof of the end, however its connection goes on."""
    whole = b"".join(base.events)
    ok = replay(Answer(pieces=spaced(base.events)), base.asked, base.api)
    assert ok.outcome is Outcome.OK
    if not base.proofs and not base.body:
        return
    ends = len(whole) if base.body else max(whole.index(proof) + len(proof) for proof in base.proofs)
    for cut in range(0, ends, 7):
        for end in ("whole", "closed", "open"):
            record = replay(Answer(pieces=((5.0, whole[:cut]),), end=end), base.asked, base.api)
            assert record.outcome is not Outcome.OK, (cut, end)


def test_the_checks_can_fail() -> None:
    base, answer, data = make(1)
    row = RequestRecord(
        call_id="c", outcome=Outcome.OK, status=200, ttft_ms=5.0, last_token_ms=1.0, tbt_ms=-1.0, chunks=0
    )
    found = problems_of(row, base, answer, data)
    assert {"tbt_ms is -1.0", "ok without a token"} <= set(found)
    assert any("not in order" in each for each in found)


def test_the_command_says_seed_and_count() -> None:
    command = [sys.executable, "-m", "tests.wire.fuzz", "--seed", "7", "--count", "50"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["seed"], said["count"], said["failures"]) == (7, 50, 0)


def test_the_command_says_so_when_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "tests.wire.fuzz", "--minutes", "9"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60.0)
        finally:
            process.kill()
    last = json.loads(said.splitlines()[-1])
    assert last["seed"] == 1 and last["minutes"] < 9.0
