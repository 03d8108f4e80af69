"""Criteria in words: what must hold, what was found, of how many."""

from __future__ import annotations

import pytest

from tokenswarm.metrics.criteria import METRICS, CriterionResult, parse_criteria
from tokenswarm.metrics.criterion_words import SUBJECTS, sentence


@pytest.mark.parametrize(
    ("text", "value", "n", "expected"),
    [
        ("percentage(throttled) > 5", 100 * 15 / 27, 27,
         "Throttled requests must be at most 5 %, was 55.6 % (15 of 27)"),
        ("percentage(error) > 1", 0.0, 27, "Failed requests must be at most 1 %, was 0 % (0 of 27)"),
        ("p95(ttft_ms) > 1000", 1234.4, 120, "TTFT p95 must be at most 1,000 ms, was 1,234 ms (n = 120)"),
        ("p95(ttft_ms) > 1000", 1000.04, 120, "TTFT p95 must be at most 1,000 ms, was 1,000.04 ms (n = 120)"),
        ("percentage(error) > 1", 100 * 101 / 10000, 10000,
         "Failed requests must be at most 1 %, was 1.01 % (101 of 10,000)"),
        ("chat: percentage(goodput) < 95", 90.0, 10,
         "chat: requests within the goodput limits must be at least 95 %, was 90 % (9 of 10)"),
        ("count(dropped) > 10", 11.0, 2000, "Dropped requests must be at most 10, was 11 (of 2,000)"),
        ("min(tpm) < 50000", 49000.0, 3,
         "Tokens per minute, lowest must be at least 50,000/min, was 49,000/min (n = 3 minutes)"),
        ("avg(requests_per_sec) < 2.5", 2.25, 40,
         "Requests per second, mean must be at least 2.5/s, was 2.2/s (n = 40)"),
        ("p99(e2e_ms) > 9000", None, 0, "E2E p99 must be at most 9,000 ms, no data"),
    ],
)  # fmt: skip
def test_what_must_hold_and_what_was_found(text: str, value: float | None, n: int, expected: str) -> None:
    (criterion,) = parse_criteria(text)
    state = "no_data" if value is None else "failed" if criterion.is_true(value) else "held"
    assert sentence(CriterionResult(criterion, state, value, n)) == expected


def test_a_note_is_kept() -> None:
    (criterion,) = parse_criteria("p95(ttft_ms) > 10")
    assert sentence(CriterionResult(criterion, "failed", 12.0, 3, "too few values")).endswith("(n = 3); too few values")


def test_every_metric_has_a_subject() -> None:
    assert set(SUBJECTS) == set(METRICS)
