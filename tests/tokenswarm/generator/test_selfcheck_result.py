from __future__ import annotations

import dataclasses
import json

import pytest

from tokenswarm.generator.accuracy import Accuracy
from tokenswarm.generator.selfcheck_result import (
    SelfCheck,
    SelfCheckLevel,
    SelfCheckMachine,
    describe,
    from_json,
    table,
    to_json,
    warn_beyond,
)

RIGHT = Accuracy(
    requests=120,
    unmatched=0,
    ttft_p95_ms=0.4,
    ttft_max_ms=1.5,
    tbt_mean_ms=0.002,
    e2e_p95_ms=0.5,
    tokens_wrong=0,
    read_lag_p95_ms=0.7,
)
WRONG = dataclasses.replace(RIGHT, ttft_p95_ms=30.0)
MACHINE = SelfCheckMachine(host="bench", cores=2, python="3.11.7", clock="kernel", shared_core=False)


def check(*accuracies: Accuracy | None) -> SelfCheck:
    levels = [SelfCheckLevel(100 * n, 4600.0 * n, 8.0 * n, accuracy, 99.6) for n, accuracy in enumerate(accuracies, 1)]
    return SelfCheck(1000.0, MACHINE, 3.0, levels)


def test_the_accurate_maximum_is_the_last_level_before_the_first_wrong_one() -> None:
    best = check(RIGHT, RIGHT, WRONG, RIGHT).best
    assert best is not None
    assert best.streams == 200
    assert check(WRONG, RIGHT).best is None
    assert check(None, RIGHT).best is None


def test_a_level_that_does_not_keep_up_is_not_accurate_however_right_it_is() -> None:
    slow = dataclasses.replace(check(RIGHT).levels[0], delivered_pct=75.0)
    assert not slow.accurate


def test_a_run_within_the_maximum_is_not_warned_of() -> None:
    assert warn_beyond(check(RIGHT, RIGHT, WRONG), 200, 9000.0) is None
    assert warn_beyond(check(RIGHT, RIGHT, WRONG), 150) is None


@pytest.mark.parametrize(("streams", "chunks_per_s"), [(201, None), (50, 10_000.0)])
def test_a_run_beyond_it_is_warned_of_by_streams_or_by_chunks(streams: int, chunks_per_s: float | None) -> None:
    warning = warn_beyond(check(RIGHT, RIGHT, WRONG), streams, chunks_per_s)
    assert warning is not None
    assert "200 streams (9,200 chunks/s)" in warning


def test_a_machine_that_was_wrong_everywhere_is_warned_of_at_once() -> None:
    warning = warn_beyond(check(WRONG), 1)
    assert warning is not None
    assert "not to be trusted" in warning


def test_one_line_and_a_table() -> None:
    found = check(RIGHT, WRONG, None)
    assert describe(found) == (
        "Self-check (bench, 2 cores, Python 3.11.7, kernel timestamps): right up to 100 streams (4,600 chunks/s) per "
        "worker; there TTFT p95 is off by 0.40 ms, E2E p95 by 0.50 ms, TBT by +0.002 ms, tokens by 0"
    )
    rows = [line.split() for line in table(found).splitlines()]
    assert rows[1] == [
        "100",
        "4,600",
        "100",
        "%",
        "120",
        "0.40",
        "1.50",
        "+0.002",
        "0.50",
        "0",
        "0.70",
        "8",
        "17.4",
        "yes",
    ]
    assert rows[2][-1] == "no"
    assert rows[3] == ["300", "13,800", "100", "%", "0", "–", "–", "–", "–", "–", "–", "24", "17.4", "no"]
    assert "wrong at every load" in describe(check(WRONG))


def test_a_check_beside_other_work_says_so() -> None:
    busy = dataclasses.replace(check(RIGHT), others_cpu_pct=45.0)
    assert "other work took 45 % of a core meanwhile: repeat when it is quiet" in describe(busy)
    assert "other work" not in describe(check(RIGHT))


def test_survives_json() -> None:
    found = check(RIGHT, WRONG, None)
    data = json.loads(json.dumps(to_json(found)))
    assert from_json(data) == found
    assert (data["honest_streams"], data["honest_chunks_per_s"]) == (100, 4600.0)


@pytest.mark.parametrize(
    "change", [{"schema_version": 1}, {"schema_version": None}, {"levels": [{}]}, {"levels": None}]
)
def test_refuses_what_is_not_a_result(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="self-check result"):
        from_json({**to_json(check(RIGHT)), **change})


def test_refuses_an_empty_object() -> None:
    with pytest.raises(ValueError, match="self-check result"):
        from_json({})
