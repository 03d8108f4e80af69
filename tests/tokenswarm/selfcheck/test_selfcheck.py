from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.generator.selfcheck_result import SelfCheck, from_json, read_stored, store, this_machine
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.selfcheck.__main__ import clean_environment, cpu_pct, judge, parse_levels

ANSWER_S = 2.18


def answered(name: str, started_at: float, late_ms: float = 0.0) -> tuple[RequestRecord, dict[str, Any]]:
    """A request of 100 tokens as it was measured (`late_ms` wrong in TTFT), and the target's line of it."""
    record = RequestRecord(
        call_id=name,
        started_at=started_at,
        ttft_ms=200.0 + late_ms,
        tbt_ms=20.0,
        e2e_ms=ANSWER_S * 1000.0,
        completion_tokens=100,
        read_lag_ms=0.1,
        outcome=Outcome.OK,
    )
    line = {
        "client_request_id": f"{name}-1",
        "outcome": "ok",
        "stream": True,
        "arrived_at": started_at,
        "received_at": started_at,
        "first_token_at": started_at + 0.2,
        "last_token_at": started_at + ANSWER_S,
        "completion_tokens": 100,
        "chunks": 100,
    }
    return record, line


def test_each_level_is_judged_by_the_requests_of_its_own_steady_part() -> None:
    # Two levels of 7 s from 100 s on. Steady: 102.48 to 107 and 109.48 to 114, start and end inside.
    pairs = [
        answered("first", 100.0, late_ms=50.0),  # in the ramp
        answered("steady", 102.5),
        answered("between", 106.0, late_ms=50.0),  # ends in the second level
        answered("wrong", 110.0, late_ms=30.0),
    ]
    low, high = judge([1, 2], 7.0, [record for record, _ in pairs], [line for _, line in pairs], [])
    assert low.accuracy is not None
    assert high.accuracy is not None
    assert (low.accuracy.requests, low.accuracy.accurate) == (1, True)
    assert (high.accuracy.requests, high.accurate) == (1, False)
    assert high.accuracy.ttft_p95_ms == pytest.approx(30.0, abs=0.01)
    # 100 chunks of "steady", and of "between" those from 106.2 to 107 of 106.2 to 108.18, in 4.52 s.
    assert low.chunks_per_s == pytest.approx((100 + 100 * 0.8 / 1.98) / 4.52, rel=1e-3)
    # One stream without a pause would have brought 100 chunks in each 2.18 s.
    assert low.delivered_pct == pytest.approx(low.chunks_per_s / (100 / 2.18) * 100, rel=1e-3)
    assert not low.accurate


def test_a_level_without_answers_is_not_accurate() -> None:
    record, line = answered("only", 100.0)
    (level,) = judge([1], 7.0, [record], [line], [])
    assert (level.accuracy, level.accurate) == (None, False)


def test_no_requests_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no request was sent"):
        judge([1], 7.0, [], [], [])


def test_cpu_is_taken_between_the_samples_inside() -> None:
    samples = [(float(second), second * 0.25) for second in range(10)]
    assert cpu_pct(samples, 1.5, 6.5) == 25.0
    assert cpu_pct(samples, 1.5, 2.5) is None


def test_levels() -> None:
    assert parse_levels("50, 200") == [50, 200]


@pytest.mark.parametrize("text", ["", "0,5", "5,5", "9,3", "a", "5,", "1,-2"])
def test_bad_levels_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="levels: expected rising numbers"):
        parse_levels(text)


def test_the_run_does_not_inherit_what_would_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUST_USERS", "7")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "secret")
    environment = clean_environment(MORE="1")
    assert "LOCUST_USERS" not in environment
    assert "AZURE_OPENAI_API_KEY" not in environment
    assert environment["MORE"] == "1"


def test_a_result_is_kept_for_this_machine_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "selfcheck.json"
    assert read_stored(path) is None
    check = SelfCheck(1.0, this_machine(), 0.0, [])
    store(check, path)
    assert read_stored(path) == check
    path.write_text(path.read_text().replace(this_machine().host, "elsewhere"))
    assert read_stored(path) is None
    path.write_text("{")
    assert read_stored(path) is None


def test_checks_a_machine_end_to_end(tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    command = [sys.executable, "-m", "tokenswarm.selfcheck", "--levels", "3", "--level-seconds", "7", "--json"]
    done = subprocess.run([*command, "--store", str(kept)], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 4), done.stderr  # right or wrong is the machine's matter
    printed = json.loads(done.stdout)
    assert printed == json.loads(kept.read_text())
    (level,) = from_json(printed).levels
    assert level.streams == 3
    assert level.accuracy is not None
    assert level.accuracy.requests >= 1
    assert (level.accuracy.unmatched, level.accuracy.tokens_wrong) == (0, 0)


def test_bad_arguments_start_nothing() -> None:
    command = [sys.executable, "-m", "tokenswarm.selfcheck", "--level-seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "level-seconds: expected 6 or more, got 1" in done.stderr
