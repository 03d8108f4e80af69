"""The verdict fails closed: each of these runs was called passed, or would be by a rule that is left out."""

from __future__ import annotations

from typing import Any

import pytest

from tokenswarm.exit_codes import ExitCode, gravest
from tokenswarm.metrics.criteria import evaluate, parse_criteria
from tokenswarm.metrics.samples import Samples
from tokenswarm.metrics.verdict import Evidence, Reason, ReasonKind, decide, not_delivered, read_reasons
from tokenswarm.record import Outcome, RequestRecord

START = 12_000.0
LOST = Reason(ReasonKind.LOST, "rows lost")
STOPPED = Reason(ReasonKind.STOPPED, "auto-stop")


def record(outcome: Outcome = Outcome.OK, e2e_ms: float = 900.25) -> RequestRecord:
    return RequestRecord(call_id="c", name="chat", outcome=outcome, started_at=START, e2e_ms=e2e_ms)


@pytest.mark.parametrize(
    ("criteria", "evidence", "state", "code", "n_reasons"),
    [
        ("max(e2e_ms) > 2000", {}, "passed", 0, 0),
        ("max(e2e_ms) > 500", {}, "failed", 3, 1),
        ("max(e2e_ms) > 2000", {"distrust": [LOST]}, "untrusted", 4, 1),
        ("max(e2e_ms) > 500", {"distrust": [LOST]}, "untrusted", 4, 2),
        ("", {}, "none", 0, 0),
        ("", {"sent": 3, "not_ok": 2}, "none", 1, 0),
        ("max(e2e_ms) > 2000", {"sent": 3, "not_ok": 2}, "passed", 0, 0),
        ("", {"distrust": [LOST]}, "untrusted", 4, 1),
        ("max(e2e_ms) > 2000", {"failures": [STOPPED]}, "failed", 3, 1),
        ("max(e2e_ms) > 2000", {"interrupted": True}, "interrupted", 5, 1),
        ("", {"interrupted": True}, "interrupted", 5, 1),
        ("max(e2e_ms) > 500", {"interrupted": True}, "failed", 3, 2),
        ("max(e2e_ms) > 2000", {"answered": 0}, "failed", 3, 1),
        ("", {"answered": 0}, "failed", 3, 1),
        ("", {"sent": 0, "answered": 0}, "failed", 3, 1),
    ],
)
def test_the_verdict(criteria: str, evidence: dict[str, Any], state: str, code: int, n_reasons: int) -> None:
    parsed = parse_criteria(criteria) if criteria else []
    results = evaluate(parsed, Samples.from_records([record()]))
    verdict = decide(results, bool(criteria), Evidence(**{"sent": 1, "answered": 1} | evidence))
    assert (verdict.state, int(verdict.exit_code), len(verdict.reasons)) == (state, code, n_reasons)


def test_criteria_that_were_never_judged_have_not_held() -> None:
    verdict = decide([], True, Evidence(sent=1, answered=1))
    assert (verdict.state, verdict.reasons[0].kind) == ("failed", ReasonKind.NOT_JUDGED)


def test_what_is_untrusted_says_that_it_failed_too() -> None:
    results = evaluate(parse_criteria("max(e2e_ms) > 500"), Samples.from_records([record()]))
    both = decide(results, True, Evidence(sent=1, answered=1, distrust=[LOST]))
    assert both.headline == "UNTRUSTED AND FAILED"
    assert decide([], False, Evidence(sent=1, answered=1, distrust=[LOST])).headline == "UNTRUSTED"


@pytest.mark.parametrize(
    ("outcome", "criteria"),
    [
        (Outcome.HTTP_ERROR, "p95(response_time_ms) > 10000"),
        (Outcome.THROTTLED, "percentage(error) > 1"),
        (Outcome.HTTP_ERROR, "p95(latency) > 10000; count(requests) < 1"),
        (Outcome.CANCELLED, "count(requests) < 1"),
    ],
)
def test_nothing_answered_fails_whatever_the_criteria_say(outcome: Outcome, criteria: str) -> None:
    results = evaluate(parse_criteria(criteria), Samples.from_records([record(outcome, 12.0)] * 40))
    verdict = decide(results, True, Evidence(sent=40, answered=0))
    assert (verdict.state, verdict.exit_code) == ("failed", ExitCode.CRITERIA_FAILED)
    assert ReasonKind.NOTHING_ANSWERED in {reason.kind for reason in verdict.reasons}


def test_no_data_is_no_pass() -> None:
    results = evaluate(parse_criteria("p95(ttft_ms) > 1000"), Samples())
    assert decide(results, True, Evidence(sent=1, answered=1)).exit_code is ExitCode.CRITERIA_FAILED


def test_a_warm_up_as_long_as_the_run_leaves_no_data() -> None:
    samples = Samples.from_records([record()])
    (result,) = evaluate(parse_criteria("max(e2e_ms) > 2000"), samples, (START + 10.0, START + 5.0))
    assert result.state == "no_data"


def test_a_reason_reads_as_the_criterion_in_words_and_comes_back_from_run_json() -> None:
    results = evaluate(parse_criteria("max(e2e_ms) > 500"), Samples.from_records([record()]))
    verdict = decide(results, True, Evidence(sent=1, answered=1))
    assert [str(reason) for reason in verdict.reasons] == ["max(e2e_ms) must be at most 500 ms, was 900.2 ms (n = 1)"]
    assert read_reasons(verdict.facts()["reasons"]) == verdict.reasons


def test_reasons_of_other_versions_are_kept_as_others() -> None:
    items = ["disk full", {"kind": "of tomorrow", "text": "what"}, {"kind": "lost"}, 7]
    assert read_reasons(items) == [Reason(ReasonKind.OTHER, "disk full"), Reason(ReasonKind.OTHER, "what")]
    assert read_reasons(None) == []


@pytest.mark.parametrize(("sent", "planned", "said"), [(99, 100, 0), (98, 100, 1), (0, None, 0), (0, 0, 0)])
def test_load_that_was_not_delivered(sent: int, planned: int | None, said: int) -> None:
    assert len(not_delivered(sent, planned)) == said


def test_the_gravest_code_is_not_the_largest() -> None:
    assert gravest([0, 5, 3]) is ExitCode.CRITERIA_FAILED
    assert gravest([5, 4, 3, 0]) is ExitCode.UNTRUSTED
    assert gravest([0, 5]) is ExitCode.INTERRUPTED
    assert gravest([]) is ExitCode.OK
