"""Criteria in words: what must hold, what was found, of how many."""

from __future__ import annotations

import pytest

from tokenswarm.metrics.criteria import CriterionResult, over_all_levels, parse_criteria
from tokenswarm.metrics.criterion_words import demand, finding, sentence


@pytest.mark.parametrize(
    ("text", "value", "n", "expected"),
    [
        ("percentage(throttled) > 5", 100 * 15 / 27, 27,
         "percentage(throttled) must be at most 5 %, was 55.6 % (15 of 27)"),
        ("percentage(error) > 1", 0.0, 27, "percentage(error) must be at most 1 %, was 0 % (0 of 27)"),
        ("percentage(error) > 1", 100 * 101 / 10000, 10000,
         "percentage(error) must be at most 1 %, was 1.01 % (101 of 10000)"),
        ("p95(ttft_ms) > 1000", 1000.04, 120, "p95(ttft_ms) must be at most 1000 ms, was 1000.04 ms (n = 120)"),
        ("chat: percentage(goodput) < 95", 90.0, 10,
         "chat: percentage(goodput) must be at least 95 %, was 90 % (9 of 10)"),
        ("count(dropped) > 10", 11.0, 2000, "count(dropped) must be at most 10, was 11"),
        ("min(tpm) < 50000", 49000.0, 3, "min(tpm) must be at least 50000 /min, was 49000 /min (n = 3)"),
        ("p99(e2e_ms) > 9000", None, 0, "p99(e2e_ms) must be at most 9000 ms, there is no data"),
    ],
)  # fmt: skip
def test_what_must_hold_and_what_was_found(text: str, value: float | None, n: int, expected: str) -> None:
    (criterion,) = parse_criteria(text)
    state = "no_data" if value is None else "failed" if criterion.is_true(value) else "held"
    result = CriterionResult(criterion, state, value, n)
    assert sentence(result) == expected
    assert expected.endswith(f"{demand(criterion)}, {finding(result)}")


def test_while_a_run_is_on_a_finding_is_not_past() -> None:
    (criterion,) = parse_criteria("percentage(throttled) > 5")
    assert finding(CriterionResult(criterion, "held", 0.0, 8), "is") == "is 0 % (0 of 8)"


def test_a_figure_of_the_whole_run_is_told_from_those_of_its_levels() -> None:
    (criterion,) = parse_criteria("percentage(throttled) > 5")
    found = [CriterionResult(criterion, "failed", 50.0, 8), CriterionResult(criterion, "no_data", None, 0)]
    assert [sentence(each) for each in over_all_levels(found)] == [
        "percentage(throttled) must be at most 5 %, was 50 % over all levels together (4 of 8)",
        "percentage(throttled) must be at most 5 %, there is no data over all levels together",
    ]
