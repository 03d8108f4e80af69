"""A criterion that was replaced is named; one that the given ones contain is not."""

from __future__ import annotations

import pytest

from tokenswarm.metrics.criteria import parse_criteria
from tokenswarm.metrics.verdict import Evidence, Replacement, decide, read_replacements, replacements


@pytest.mark.parametrize(
    ("agreed", "given", "expected"),
    [
        ("p95(ttft_ms) > 1000", "p95(ttft_ms) > 1000", []),
        ("p95(ttft_ms) > 1000", "percentage(error) > 1; p95(ttft_ms) > 500", []),
        ("avg(tpm) < 100", "avg(tpm) < 200", []),
        ("p95(ttft_ms) > 1000", "p95(ttft_ms) > 1001", ["p95(ttft_ms) > 1001"]),
        ("avg(tpm) < 100", "avg(tpm) < 99", ["avg(tpm) < 99"]),
        ("p95(ttft_ms) > 1000", "p50(ttft_ms) > 10", ["p50(ttft_ms) > 10"]),
        ("p95(ttft_ms) > 1000", "chat: p95(ttft_ms) > 10", ["chat: p95(ttft_ms) > 10"]),
        ("p95(ttft_ms) > 1000; percentage(error) > 1", "percentage(error) > 90", [None, "percentage(error) > 90"]),
        ("min(ttft_ms) < 5", "min(ttft_ms) > 5", ["min(ttft_ms) > 5"]),
    ],
)
def test_what_the_given_criteria_do_not_contain(agreed: str, given: str, expected: list[str | None]) -> None:
    found = replacements(parse_criteria(agreed), parse_criteria(given), "x.conf")
    assert [each.by for each in found] == expected
    assert read_replacements([each.facts() for each in found]) == found


def test_no_criteria_replace_all() -> None:
    (found,) = replacements(parse_criteria("percentage(error) > 1"), [], "x.conf")
    assert str(found) == "percentage(error) > 1 (x.conf) was replaced by nothing"


@pytest.mark.parametrize("value", [None, "x", {}, [None, 1, {}, {"criterion": ""}]])
def test_run_json_of_another_version_says_nothing(value: object) -> None:
    assert read_replacements(value) == []


def test_the_verdict_sentence_does_not_hide_it() -> None:
    replaced = [Replacement("percentage(error) > 1", None, "x.conf")]
    assert decide([], False, Evidence(sent=1, answered=1, replaced=replaced)).headline == "NONE, 1 criterion replaced"
