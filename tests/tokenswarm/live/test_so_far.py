"""What a run would come to if it ended now: never a pass without data, never a pass that is in doubt."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tokenswarm.control.messages import Rows
from tokenswarm.control.run import LoadRun
from tokenswarm.live.last_minute import Tally
from tokenswarm.live.monitor import Monitor, so_far
from tokenswarm.metrics.criteria import CriterionResult, parse_criteria
from tokenswarm.record import Outcome

(CRITERION,) = parse_criteria("percentage(throttled) > 5")
HELD = CriterionResult(CRITERION, "held", 0.0, 20)
FAILED = CriterionResult(CRITERION, "failed", 100 * 15 / 27, 27)
NO_DATA = CriterionResult(CRITERION, "no_data", None, 0)
WORDS = "percentage(throttled) must be at most 5 %, is 55.6 % (15 of 27)"


NO_ANSWER = "no request has been answered, 3 have ended"


@pytest.mark.parametrize(
    ("results", "counts", "expected"),
    [
        ([HELD], Tally(ok=20), ("holding", [])),
        ([HELD, FAILED], Tally(ok=20), ("failing", [WORDS])),
        ([FAILED], Tally(throttled=3), ("failing", [NO_ANSWER, WORDS])),
        ([HELD], Tally(failed=3), ("failing", [NO_ANSWER])),
        ([], Tally(failed=3), ("failing", [NO_ANSWER])),
        ([HELD, NO_DATA], Tally(ok=20), ("undecided", ["percentage(throttled) must be at most 5 %, there is no data"])),
        ([NO_DATA], Tally(), ("waiting", [])),
        ([], Tally(ok=20), ("none", [])),
    ],
)
def test_so_far(results: list[CriterionResult], counts: Tally, expected: tuple[str, list[str]]) -> None:
    assert so_far(results, [], counts, searches=False) == {"state": expected[0], "reasons": expected[1]}


def test_a_doubt_wins_and_failures_are_said_too() -> None:
    facts = so_far([FAILED], ["the disk is full"], Tally(ok=20), searches=False)
    assert facts == {"state": "untrusted", "reasons": ["the disk is full", WORDS]}


def test_a_search_judges_its_levels_not_the_run() -> None:
    assert so_far([FAILED], [], Tally(ok=20), searches=True) == {"state": "searching", "reasons": []}


def a_monitor(first_attempts: int, dropped: int) -> Monitor:
    run: Any = SimpleNamespace(
        settings=SimpleNamespace(criteria=[], warm_up_s=0.0, goodput=None),
        accounting=SimpleNamespace(first_attempts=first_attempts, outcomes=Counter({Outcome.DROPPED: dropped})),
        judge=SimpleNamespace(facts=lambda: None),
        influence=SimpleNamespace(reasons=list),
        started_at=0.0, ended_at=None, observers=[], problems=[],
    )  # fmt: skip
    return Monitor(cast(LoadRun, run), lambda: 1, None)


def test_a_worker_that_is_silent_is_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be one at the end: until it is heard of again, nobody may read that the run passes."""
    monitor, clock = a_monitor(100, 1), [1000.0]
    monkeypatch.setattr("tokenswarm.live.monitor.time", SimpleNamespace(time=lambda: clock[0]))
    monitor.hear(cast(Rows, SimpleNamespace(worker="w1", in_flight=0, offered=None)))
    clock[0] += 4.0
    assert monitor.distrust() == []
    clock[0] += 3.0
    assert monitor.distrust() == ["w1 has not been heard of for 7 s: what it sent last may be missing"]
    monitor.hear(cast(Rows, SimpleNamespace(worker="w1", in_flight=0, offered=None)))
    assert monitor.distrust() == []


def test_load_that_is_not_delivered_so_far_is_a_doubt() -> None:
    assert a_monitor(97, 3).distrust() == ["load not delivered: 97 of 100 planned were sent (97.0 %)"]
