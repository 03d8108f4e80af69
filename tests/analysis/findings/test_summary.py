from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.figures import populations
from analysis.figures.metrics import METRICS
from analysis.findings.summarise import summarise
from analysis.findings.summary import Summary
from analysis.sources.loading import load_run
from analysis.sources.run import Run
from tests.analysis.run_directories import (
    T,
    answered,
    refused,
    worked_records,
    worked_run,
    write_rows,
    write_run,
)
from tokenswarm.metrics.answers import MEANINGS
from tokenswarm.metrics.verdict import ReasonKind
from tokenswarm.record import Doubt, Outcome, RequestRecord


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    return summarise(load_run(worked_run(tmp_path, options={"goodput": "ttft_ms<350"})))


def test_counts(summary: Summary) -> None:
    counts = summary.overall.counts
    assert (counts.sent, counts.ok, counts.failed) == (8, 5, 1)
    assert (counts.throttled, counts.cancelled, counts.dropped) == (1, 1, 1)
    assert counts.outcomes == {"cancelled": 1, "dropped": 1, "http_error": 1, "ok": 5, "throttled": 1}
    assert summary.left_out == 0


WORKED = {
    "requests": 8,
    "ok": 5,
    "failed": 1,
    "throttled": 1,
    "cancelled": 1,
    "aborted": 0,
    "wrong_pct": None,
    "dropped": 1,
    # of the 7 that were not cancelled
    "error_pct": 100 / 7,
    "throttled_pct": 100 / 7,
    # 7 first attempts and 1 dropped were due
    "dropped_pct": 100 / 8,
    "rpm_offered": 8 / 3,
    "rpm_started": 8 / 3,
    "rpm": 5 / 3,
    # ends: 1, 32 | 61, 82.5 | 175 s
    "rpm_max_minute": 2,
    # (22.5, 82.5] holds 32, 61, 82.5
    "rpm_max_60s": 3,
    "tokens_prompt": 500,
    # 50 + 50 + 100 + 80 + 20
    "tokens_generated": 300,
    "tokens": 800,
    "tpm_prompt": 500 / 3,
    "tpm_generated": 300 / 3,
    "tpm": 800 / 3,
    # by end: 150 + 150 | 200 + 180 | 120
    "tpm_max_minute": 380,
    # (22.5, 82.5]: 150 + 200 + 180
    "tpm_max_60s": 530,
    # 8 requests of 100 + 100, the refused, failed and cancelled ones too
    "tpm_estimated": 1600 / 3,
    # started at 0, 30, 59.5 | 70, 80, 90 | 130, 170
    "tpm_estimated_max_minute": 600,
    # (30, 90]: 59.5, 70, 80, 90
    "tpm_estimated_max_60s": 800,
    # c1, c2, c3 of 8 sent + 1 dropped - 1 cancelled
    "goodput_pct": 100 * 3 / 8,
    "goodput_rpm": 1,
    "usage_pct": 100,
    # 300 of 5 x 100
    "answer_length_pct": 60,
    "cached_pct": None,
    "cacheable_pct": None,
    "reasoning_pct": None,
    # c1 c2 c3 c4 c6 c8 c9
    "calls": 7,
    "calls_ok_pct": 100 * 5 / 7,
    "attempts_per_call": 8 / 7,
}


def test_every_scalar_metric_by_hand(summary: Summary) -> None:
    assert summary.overall.values.keys() == WORKED.keys()
    for name, expected in WORKED.items():
        assert summary.overall.values[name] == (None if expected is None else pytest.approx(expected)), name
    assert set(WORKED) == {name for name, metric in METRICS.items() if metric.kind != "distribution"}


# n, average, median
WORKED_DISTRIBUTIONS = {
    "ttft_ms": (5, 300, 300),
    "tbt_ms": (5, 30, 30),
    # 1000 1500 2000 2500 5000
    "e2e_ms": (5, 2400, 2000),
    # 400 + 10 000 of the retry: 100 200 300 500 10400
    "ttft_from_due_ms": (5, 2300, 300),
    # 1000 1500 2000 5000 12500
    "e2e_from_due_ms": (5, 4400, 2000),
    # 20 30 1000 1500 2000 2500 5000 20000
    "response_time_ms": (8, 32_050 / 8, 1750),
    # 15 25 90 190 290 390 490; the cancelled one saw none
    "latency": (7, 1490 / 7, 190),
    # 1000 / 10, 20, 30, 40, 50
    "tokens_per_s_per_user": (5, (100 + 50 + 100 / 3 + 25 + 20) / 5, 100 / 3),
    "prompt_tokens": (5, 100, 100),
    "completion_tokens": (5, 60, 50),
    # the dropped arrival was not sent: its lag is none of a request
    "lag_ms": (1, 10_000, None),
    # c4 from its first attempt at 70 s to 82.5 s: 1000 1500 2000 5000 12500
    "call_e2e_ms": (5, 4400, 2000),
    # 1000 1500 2000 5000
    "first_attempt_e2e_ms": (4, 2375, 1750),
}


def test_every_distribution_by_hand(summary: Summary) -> None:
    assert summary.overall.distributions.keys() == WORKED_DISTRIBUTIONS.keys()
    for name, (n, average, median) in WORKED_DISTRIBUTIONS.items():
        found = summary.overall.distribution(name)
        assert found.n == n, name
        assert found.avg.value == pytest.approx(average), name
        assert found.percentile("p50").value == (None if median is None else pytest.approx(median)), name
        assert found.percentile("p95").value is None, name


def test_metrics_that_the_worked_run_lacks(tmp_path: Path) -> None:
    records = [
        answered("a", 0, 10, 20, 40, reasoning_tokens=10, cached_tokens=25, ttft_visible_ms=15, gap_max_ms=7,
                 read_lag_ms=0.5, utilization_pct=50.0),
        answered("b", 1, 10, 20, 60, reasoning_tokens=20, cached_tokens=75, ttft_visible_ms=25, gap_max_ms=9,
                 read_lag_ms=1.5, utilization_pct=70.0),
        refused("c", 2, utilization_pct=102.0),
    ]  # fmt: skip
    overall = summarise(load_run(write_run(tmp_path, records))).overall
    # 25 + 75 of 200 prompt tokens, 10 + 20 of 100 completion tokens
    assert overall.values["cached_pct"] == 50.0
    assert overall.values["reasoning_pct"] == 30.0
    assert overall.distribution("ttft_visible_ms").avg.value == 20.0
    assert overall.distribution("gap_max_ms").max == 9.0
    assert overall.distribution("read_lag_ms").avg.value == 1.0
    # the refused request has one, too: (50 + 70 + 102) / 3
    assert overall.distribution("utilization_pct").avg.value == 74.0
    assert set(METRICS) == set(WORKED) | set(WORKED_DISTRIBUTIONS) | {
        "ttft_visible_ms", "gap_max_ms", "read_lag_ms", "utilization_pct", "session_s", "first_progress_ms"
    }  # fmt: skip


def test_by_request_name(summary: Summary) -> None:
    assert set(summary.by_name) == {"chat", "rag"}
    assert summary.by_name["rag"].counts.ok == 1
    assert summary.by_name["rag"].values["tpm"] == pytest.approx(120 / 3)
    assert summary.by_name["chat"].values["error_pct"] == pytest.approx(100 / 6)


def test_by_clock_minute(summary: Summary) -> None:
    minutes = summary.minutes.set_index("minute")
    assert list(minutes.index) == [T, T + 60, T + 120]
    assert minutes["full"].all()
    assert list(minutes["offered"]) == [3, 3, 2]
    assert list(minutes["started"]) == [3, 3, 2]
    assert list(minutes["completed"]) == [2, 2, 1]
    assert list(minutes["throttled"]) == [0, 1, 0]
    assert list(minutes["failed"]) == [0, 1, 0]
    assert list(minutes["cancelled"]) == [0, 0, 1]
    assert list(minutes["dropped"]) == [0, 1, 0]
    assert list(minutes["tokens"]) == [300, 380, 120]
    assert list(minutes["tokens_prompt"]) == [200, 200, 100]
    assert list(minutes["tokens_generated"]) == [100, 180, 20]
    assert list(minutes["tokens_estimated"]) == [600, 600, 400]
    # c1, c2, c3 started in the first minute; one value carries no median
    assert minutes["ttft_ms_p50"].iloc[0] == 200.0
    assert minutes["ttft_ms_p50"].iloc[1:].isna().all()
    assert minutes["ttft_ms_p95"].isna().all()


def test_warm_up_and_cool_down_are_cut_by_time(tmp_path: Path) -> None:
    run = load_run(worked_run(tmp_path, window={"warm_up_s": 60, "cool_down_s": 60}))
    summary = summarise(run)
    # in [60, 120]: c4 twice, c6 and the dropped c7; c3 and c4 end in it
    assert (summary.overall.counts.sent, summary.overall.counts.dropped, summary.left_out) == (3, 1, 5)
    assert summary.overall.values["rpm"] == 2
    assert summary.overall.values["tpm"] == 380
    assert summary.overall.values["tpm_max_minute"] == 380
    assert summary.overall.values["rpm_offered"] == 3
    assert [row["full"] for row in summary.as_json()["minutes"]] == [False, True, False]


def test_a_window_with_nothing_left_says_so(tmp_path: Path) -> None:
    summary = summarise(load_run(worked_run(tmp_path, window={"warm_up_s": 100, "cool_down_s": 100})))
    assert summary.overall.values["rpm"] is None
    assert any("leave nothing" in line for line in summary.warnings)


def test_a_run_of_less_than_a_minute_has_no_best_minute(tmp_path: Path) -> None:
    records = [answered("a", 0, 10, 20, 40), answered("b", 20, 10, 20, 40)]
    values = summarise(load_run(write_run(tmp_path, records))).overall.values
    for name in ("rpm_max_minute", "rpm_max_60s", "tpm_max_minute", "tpm_max_60s", "tpm_estimated_max_60s"):
        assert values[name] is None, name
    # 280 tokens in 20.02 s
    assert values["tpm"] == pytest.approx(280 / 20.02 * 60)


def test_accounting_identity_holds(summary: Summary) -> None:
    assert summary.accounting.holds
    assert summary.accounting.lines() == [
        "8 planned = 7 sent (first attempts) + 1 dropped",
        "8 sent = 5 ok + 1 throttled + 1 failed + 1 cancelled",
    ]


def test_a_missing_row_breaks_the_identity_and_the_trust(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "r", worked_records()[1:], {
        "schema_version": 1, "state": "finished", "started_at": T, "ended_at": T + 180,
        "accounting": {"planned": 8, "sent": 8},
    })  # fmt: skip
    summary = summarise(load_run(directory))
    assert not summary.accounting.holds
    assert summary.judgement.state == "untrusted"
    assert "counted 8 requests sent, found are 7 rows" in "; ".join(map(str, summary.judgement.reasons))


def test_requests_that_were_sent_again_are_said(tmp_path: Path) -> None:
    summary = summarise(load_run(worked_run(tmp_path, accounting={"planned": 8, "sent": 8, "resent": 3})))
    assert summary.accounting.holds
    assert any(warning.startswith("3 requests met a kept connection") for warning in summary.warnings)


def test_doubtful_answers_are_counted_and_said(tmp_path: Path) -> None:
    doubts = [None, "unknown end", "unknown end;answer in one piece"]
    records = [answered(str(n), n, 100, 1000, 10, doubts=each) for n, each in enumerate(doubts)]
    records.append(answered("d", 4, 100, 1000, 10, end_note="body left open"))
    summary = summarise(load_run(write_run(tmp_path / "r", records, {"schema_version": 1, "state": "finished"})))
    assert summary.answer_doubts == {"unknown end": 2, "answer in one piece": 1}
    assert summary.end_notes == {"body left open": 1}
    said = "\n".join(summary.warnings)
    assert "2 answers are doubtful: unknown end (" in said
    assert "1 answer is doubtful: answer in one piece (all of it came at once" in said
    assert "1 x body left open" in said


@pytest.mark.parametrize(
    ("api", "asked", "said"),
    [
        ("openai", "gpt-4.1-mini", True),
        ("openai", "llama", False),
        ("openai", "meta/Llama-7b", False),
        ("azure", "gpt-4.1-mini", False),
    ],
)
def test_answers_of_another_model_than_asked_are_said(tmp_path: Path, api: str, asked: str, said: bool) -> None:
    records = [answered(str(n), n, 100, 1000, 10, model="llama-7b") for n in range(2)]
    meta = {"state": "finished", "target": {"kind": "chat", "api": api, "deployment": asked}}
    summary = summarise(load_run(write_run(tmp_path / "r", records, meta)))
    assert summary.models == {"llama-7b": 2}
    assert (f"2 answers are of llama-7b, asked was {asked}." in summary.warnings) == said


def test_every_doubt_is_explained() -> None:
    assert set(MEANINGS) == set(Doubt)


def test_lost_rows_are_named_with_worker_and_time(tmp_path: Path) -> None:
    lost = [{"worker": "w2", "rows": 3, "from": T, "to": T + 5}]
    summary = summarise(load_run(worked_run(tmp_path, accounting={"planned": 11, "sent": 11, "lost": lost})))
    assert summary.accounting.lost == 3
    assert summary.accounting.lines()[0].endswith(" dropped + 3 lost")
    assert len(summary.accounting.problems) == 1
    assert "3 rows of worker w2" in summary.accounting.problems[0]
    assert summary.judgement.exit_code == 4


def test_stages_and_what_they_leave(tmp_path: Path) -> None:
    records = [
        answered("a", 0, 100, 1000, 10, turn=1, stages="history=100;generation=600"),
        answered("b", 1, 100, 2000, 10, turn=2, stages="history=300;generation=1200;odd"),
        refused("c", 2, stages="history=5000"),
    ]
    summary = summarise(load_run(write_run(tmp_path, records)))
    # of answered requests only; the rest is 1000 - 700 and 2000 - 1500
    assert {name: found.avg.value for name, found in summary.by_stage.items()} == {
        "generation": 900.0,
        "network and the rest": 400.0,
        "history": 200.0,
    }
    assert {turn: part.distribution("e2e_ms").avg.value for turn, part in summary.by_turn.items()} == {
        "1": 1000.0,
        "2": 2000.0,
    }


def test_unknown_tokens_are_absent_and_not_zero(tmp_path: Path) -> None:
    records = [RequestRecord(call_id="a", name="rag", started_at=T, e2e_ms=100.0, ttft_ms=50.0, outcome=Outcome.OK)]
    summary = summarise(load_run(write_run(tmp_path, records)))
    assert summary.overall.values["tpm"] is None
    assert summary.overall.values["tokens"] is None
    assert summary.overall.values["tpm_estimated"] is None
    assert summary.minutes["tokens"].isna().all()


def test_a_run_without_any_answer_has_failed_clearly(tmp_path: Path) -> None:
    records = [refused(f"c{at}", at, Outcome.CONNECTION_ERROR, first_byte_ms=None, status=None) for at in range(5)]
    summary = summarise(load_run(write_run(tmp_path, records, {"state": "finished", "started_at": T})))
    assert (summary.judgement.state, summary.judgement.exit_code) == ("failed", 3)
    assert ReasonKind.NOTHING_ANSWERED in {reason.kind for reason in summary.judgement.reasons}
    assert summary.overall.values["error_pct"] == 100.0
    assert "ttft_ms" not in summary.overall.distributions


def test_an_empty_run_has_failed_clearly(tmp_path: Path) -> None:
    summary = summarise(load_run(write_run(tmp_path, [], {"state": "finished", "started_at": T, "ended_at": T + 5})))
    assert (summary.judgement.state, summary.judgement.exit_code) == ("failed", 3)
    assert ReasonKind.NOTHING_SENT in {reason.kind for reason in summary.judgement.reasons}
    assert len(summary.minutes) == 0


def test_json_has_no_nan_and_comes_back(summary: Summary) -> None:
    text = json.dumps(summary.as_json(), allow_nan=False)
    back = json.loads(text)
    assert back["window"]["length_s"] == 180.0
    assert back["overall"]["values"]["tpm"] == pytest.approx(800 / 3)
    assert back["minutes"][1]["ttft_ms_p50"] is None


def test_sliding_maximum_is_half_open() -> None:
    # (0, 60] holds two, [0, 60] would hold three
    assert populations.sliding_max(np.array([0.0, 30.0, 60.0]), np.ones(3)) == 2.0
    assert populations.sliding_max(np.array([0.0, 30.0, 59.9]), np.ones(3)) == 3.0
    assert populations.sliding_max(np.array([1.0]), np.array([np.nan])) is None


def test_run_of_rows_only(tmp_path: Path) -> None:
    run = load_run(write_rows(tmp_path / "some.csv", worked_records()))
    assert isinstance(run, Run)
    assert summarise(run).overall.counts.ok == 5
