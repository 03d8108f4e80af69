from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.figures.window import Window, window_of
from analysis.findings.quota import (
    ALLOWANCE,
    CAPACITY,
    REQUESTS,
    TOKENS,
    UNKNOWN,
    UTILIZATION,
    QuotaTruth,
    cause_in,
    quota_truth,
)
from analysis.sources.loading import load_run
from tests.analysis.run_directories import T, answered, refused, worked_run, write_run
from tokenswarm.record import RequestRecord


def truth_of(directory: Path) -> QuotaTruth:
    run = load_run(directory)
    window = window_of(run)
    assert window is not None
    truth = quota_truth(run, window)
    assert truth is not None
    return truth


def quota_run(tmp_path: Path, records: list[RequestRecord], **quota: Any) -> QuotaTruth:
    return truth_of(write_run(tmp_path / "r", records, {"state": "finished", "started_at": T, "quota": quota}))


def test_estimated_beside_used(tmp_path: Path) -> None:
    truth = truth_of(worked_run(tmp_path, quota={"tpm": 700, "rpm": 60}))
    # 4 requests of 100 + 100 in the 60 s up to second 90; 150 + 200 + 180 used in those up to 82.5
    assert (truth.estimated_tpm, truth.used_tpm, truth.sent_rpm) == (800.0, 530.0, 4.0)
    # 8 x 200 / 8; (150 + 150 + 200 + 180 + 120) / 5
    assert (truth.estimated_per_request, truth.used_per_request) == (200.0, 160.0)
    assert [(item.seconds, item.most, item.allowed) for item in truth.slices] == [(1.0, 1, 1.0), (10.0, 1, 10.0)]


@pytest.mark.parametrize(
    ("headers", "cause"),
    [
        ({"utilization_pct": 101.5}, UTILIZATION),
        ({"utilization_pct": 60.0}, UNKNOWN),
        ({"remaining_requests": 0, "remaining_tokens": 5000}, REQUESTS),
        # the request needs 200
        ({"remaining_tokens": 199}, TOKENS),
        ({"remaining_tokens": 200}, UNKNOWN),
        # -1: the service does not say
        ({"remaining_tokens": -1, "remaining_requests": -1}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_headers_explain_a_429(tmp_path: Path, headers: dict[str, Any], cause: str) -> None:
    assert quota_run(tmp_path, [answered("a", 0, 1, 2, 3), refused("b", 30, **headers)]).reasons == {cause: 1}


def test_the_token_estimate_explains_a_429_without_headers(tmp_path: Path) -> None:
    # 200 tokens each: the fourth within 60 s makes 800 of 700; the first has left the 60 s when the last comes
    records = [answered(f"a{at}", at, 1, 2, 3) for at in (0, 15, 30)] + [refused("b", 45), refused("c", 75)]
    truth = quota_run(tmp_path, records, tpm=700)
    assert truth.reasons == {TOKENS: 1, UNKNOWN: 1}
    assert any("quota of 700 TPM" in line for line in truth.explained)


def test_a_burst_explains_a_429_without_headers(tmp_path: Path) -> None:
    # 60 RPM allow 1 in 1 s and 10 in 10 s
    records = [answered("a", 0, 1, 2, 3), refused("b", 0.5), answered("c", 20, 1, 2, 3), refused("d", 40)]
    truth = quota_run(tmp_path, records, rpm=60, tpm=1_000_000)
    assert truth.reasons == {REQUESTS: 1, UNKNOWN: 1}
    assert truth.slices[0].most == 2
    assert any(line.startswith("Spread the requests: 60 RPM admits one every 1 s") for line in truth.advice)


def test_ten_second_slice(tmp_path: Path) -> None:
    # 6 RPM allow 1 in 10 s; the 1 s slice never allows fewer than 1
    truth = quota_run(tmp_path, [answered("a", 0, 1, 2, 3), refused("b", 5)], rpm=6)
    assert truth.reasons == {REQUESTS: 1}


def test_advice_to_lower_max_tokens(tmp_path: Path) -> None:
    # 100 answers of 120 tokens with max_tokens 500, prompt 100: estimate 600. 120 x 1.1 = 132, rounded up to 140:
    # 240 a request. 60 000 TPM admit 100 RPM at 600 and 250 RPM at 240.
    records = [answered(f"a{n}", n, 10, 20, 120, max_tokens=500) for n in range(100)]
    truth = quota_run(tmp_path, records, tpm=60_000)
    assert truth.advice == [
        "Lower max_tokens from 500 to 140: answers average 120 tokens and 99 in 100 end within 140. "
        "The quota of 60,000 TPM then admits 250 RPM instead of 100."
    ]


def test_no_advice_when_the_answers_fill_what_was_asked_for(tmp_path: Path) -> None:
    assert quota_run(tmp_path, [answered(f"a{n}", n, 10, 20, 98) for n in range(20)], tpm=60_000).advice == []


def test_advice_to_ask_for_more(tmp_path: Path) -> None:
    # 6 requests of 200 in one minute: 1200 estimated tokens
    records = [answered(f"a{n}", n, 10, 20, 100) for n in range(5)] + [refused("b", 6)]
    truth = quota_run(tmp_path, records, tpm=1000)
    assert truth.reasons == {TOKENS: 1}
    assert truth.advice == ["To admit this load as it is, ask for 2K TPM (now 1K)."]


def test_a_run_that_sent_nothing_has_no_quota_truth(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "r", [], {"started_at": T, "ended_at": T + 1, "state": "finished"}))
    window = window_of(run)
    assert window is not None
    assert quota_truth(run, window) is None


AZURE = (
    "HTTP 429: RateLimitReached: Your requests to d for gpt-4.1 in Sweden Central have exceeded the {} rate limit for"
)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (AZURE.format("call") + " your current OpenAI S0 pricing tier.", REQUESTS),
        (AZURE.format("token") + " your current AIServices S0 pricing tier.", TOKENS),
        ("HTTP 429: Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2023-05-15 have "
         "exceeded call rate limit of your current OpenAI S0 pricing tier. Please retry after 7 seconds.", REQUESTS),
        ("HTTP 429: rate_limit_exceeded: Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): "
         "Limit 30000, Used 29000, Requested 2000.", TOKENS),
        ("HTTP 429: Rate limit reached for gpt-4o on requests per min (RPM): Limit 3, Used 3, Requested 1.", REQUESTS),
        ("HTTP 429: rate_limit_error: This request would exceed your organization's rate limit of 40,000 input tokens "
         "per minute", TOKENS),
        ("HTTP 429: insufficient_quota: You exceeded your current quota, check your plan and billing", ALLOWANCE),
        ("HTTP 429: The system is currently experiencing high demand and cannot process your request.", CAPACITY),
        ("HTTP 429: Too Many Requests", UNKNOWN),
        ("HTTP 429: Rate limit is exceeded. Try again in 7 seconds.", UNKNOWN),
        ("HTTP 429: limits of 10 requests per minute and 100 tokens per minute apply", UNKNOWN),  # names both
    ],
)  # fmt: skip
def test_what_the_text_of_a_refusal_names(text: str, cause: str) -> None:
    assert cause_in(text) == cause


def test_the_services_words_win_over_headers_and_over_our_own_count(tmp_path: Path) -> None:
    """The rows said 15 call rate and 10 token rate, the report 22 token estimate and 3 unknown."""
    records = [answered(f"a{n}", n, 1, 2, 100) for n in range(30)]
    records += [refused(f"c{n}", 30 + n, error=AZURE.format("call"), remaining_tokens=5) for n in range(15)]
    records += [refused(f"t{n}", 45 + n, error=AZURE.format("token")) for n in range(10)]
    truth = quota_run(tmp_path, records, tpm=2000)
    assert truth.reasons == {REQUESTS: 15, TOKENS: 10}
    # 55 requests of 200 in less than 60 s
    assert truth.estimated_tpm == 11_000.0
    assert "To admit this load as it is, ask for 11K TPM (now 2K)." in truth.advice


def test_advice_from_a_run_of_seconds_is_for_its_rate(tmp_path: Path) -> None:
    """72 requests in 6 s are 720 a minute: the advice was to ask for more than 72 RPM."""
    records = [answered(f"a{n}", n / 8, 1, 2, 100) for n in range(24)]
    records += [refused(f"t{n}", n / 8, error=AZURE.format("call")) for n in range(48)]
    meta = {"started_at": T, "ended_at": T + 6, "state": "finished"}
    run = load_run(write_run(tmp_path / "r", records, meta))
    truth = quota_truth(run, Window(T, T + 6))
    assert truth is not None and truth.sent_rpm == 72
    assert truth.advice == [
        "Ask for more than 720 RPM (the average of this run, which lasted 6 s), or spread the requests more evenly."
    ]
    tokens = [replace(record, error=AZURE.format("token")) if record.error else record for record in records]
    truth = quota_truth(load_run(write_run(tmp_path / "t", tokens, meta)), Window(T, T + 6))
    assert truth is not None and truth.estimated_tpm == 72 * 200
    assert truth.advice == ["To admit this load as it is, ask for 150K TPM."]


def test_a_minute_of_two_halves_does_not_hide_what_60_s_held(tmp_path: Path) -> None:
    """The limit is advised from any 60 s: clock minutes that a run touches in part hold half of it each."""
    records = [answered(f"a{n}", 40 + n, 1, 2, 100) for n in range(40)]
    records += [refused("t", 79.5, error=AZURE.format("token"))]
    truth = quota_run(tmp_path, records)
    assert truth.estimated_tpm == 41 * 200
    assert truth.advice == ["To admit this load as it is, ask for 9K TPM."]


def test_no_line_says_that_less_than_the_quota_used_it_up(tmp_path: Path) -> None:
    records = [answered("a", 0, 1, 2, 100), refused("t", 1, error=AZURE.format("token"))]
    truth = quota_run(tmp_path, records, tpm=200_000)
    [line] = truth.explained
    assert "400 estimated tokens" in line and "within the quota of 200,000 TPM" in line and "used up" not in line
    assert truth.advice == ["See which limit is in effect: 200,000 TPM would have admitted this load."]
