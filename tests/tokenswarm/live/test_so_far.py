"""What a run would come to if it ended now: never a pass without data, never a pass that is in doubt."""

from __future__ import annotations

import pytest

from tokenswarm.live.last_minute import Tally
from tokenswarm.live.monitor import so_far
from tokenswarm.metrics.criteria import CriterionResult, parse_criteria

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
