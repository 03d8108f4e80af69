"""Live figures by hand, and against a plain count of the same records."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tokenswarm.live.last_minute import Live
from tokenswarm.metrics.histogram import RELATIVE_ERROR
from tokenswarm.record import Outcome, RequestRecord, TokenSource

START = 1000.25


def answer(ended: float, e2e_ms: float = 500.0, **fields: Any) -> RequestRecord:
    known = {
        "call_id": "c",
        "name": "chat",
        "outcome": Outcome.OK,
        "status": 200,
        "started_at": ended - e2e_ms / 1000,
        "e2e_ms": e2e_ms,
        "ttft_ms": 100.0,
        "tbt_ms": 20.0,
        "context_tokens": 90,
        "max_tokens": 50,
        "prompt_tokens": 100,
        "completion_tokens": 40,
        "token_source": TokenSource.USAGE,
    }
    return RequestRecord(**(known | fields))


def test_a_minute_by_hand() -> None:
    live = Live(START)
    for second in range(10):
        live.add(answer(1001.5 + second))
    live.add(answer(1003.0, outcome=Outcome.THROTTLED, status=429, prompt_tokens=None, completion_tokens=None,
                    token_source=TokenSource.NONE, ttft_ms=None, tbt_ms=None))  # fmt: skip
    live.advance(1020.9)
    figures = live.figures()
    assert figures.seconds == 1020 - START
    assert figures.ok_rpm == pytest.approx(10 * 60 / 19.75)
    assert figures.throttled_rpm == pytest.approx(60 / 19.75)
    assert figures.total_tpm == pytest.approx(1400 * 60 / 19.75)
    assert figures.estimated_tpm == pytest.approx(11 * 140 * 60 / 19.75), "a throttled request was estimated, too"
    assert figures.ttft_ms.n == 10
    assert figures.ttft_ms.p50 == pytest.approx(100, rel=RELATIVE_ERROR)
    assert figures.ttft_ms.p95 is None, "ten values do not carry it"
    assert figures.tokens_per_s_user == pytest.approx(50, rel=RELATIVE_ERROR)
    recent, seconds = live.recent()
    assert (recent.ok, seconds) == (1, 10.0), "only what ended from 1010 on"


def test_the_window_moves_on_and_the_run_does_not_forget() -> None:
    live = Live(START)
    live.add(answer(1010.0))
    live.advance(1069.0)
    assert live.figures().tally.ok == 1
    live.advance(1071.0)
    assert live.figures().tally.ok == 0
    assert live.figures().ttft_ms.n == 0
    assert live.run().ok == 1
    live.add(answer(1010.5))  # too late for the window, not for the run
    live.advance(1072.0)
    assert (live.figures().tally.ok, live.run().ok) == (0, 2)


def test_nothing_is_not_zero() -> None:
    live = Live(START)
    live.advance(1060.0)
    figures = live.figures()
    assert (figures.ok_rpm, figures.total_tpm, figures.ttft_ms.p50) == (0.0, None, None)
    live.add(answer(1061.0, prompt_tokens=None, completion_tokens=None, token_source=TokenSource.NONE))
    live.advance(1070.0)
    assert live.figures().total_tpm is None, "an answer without usage has unknown tokens"


def test_the_service_is_heard_last() -> None:
    live = Live(START)
    live.add(answer(1010.0, utilization_pct=80.0, remaining_tokens=5))
    live.add(answer(1005.0, utilization_pct=10.0))  # an earlier one whose row came later
    live.add(answer(1012.0))  # one without such headers
    assert (live.service.utilization_pct, live.service.remaining_tokens) == (80.0, 5)


def test_any_order_of_rows_and_looks_gives_a_plain_count() -> None:
    rng = random.Random(3)
    records = [answer(START + rng.uniform(0.5, 150), rng.uniform(1, 400), name=rng.choice("ab")) for _ in range(2000)]
    records.sort(key=lambda record: record.started_at + record.e2e_ms / 1000 + rng.uniform(0, 3))
    live = Live(START)
    for position, record in enumerate(records):
        live.add(record)
        if position % 97 == 0:
            live.advance(record.started_at)
            live.figures()
    live.advance(1150.0)
    for name in (None, "a", "b"):
        inside = [
            record
            for record in records
            if 1090 <= record.started_at + record.e2e_ms / 1000 < 1150 and name in (None, record.name)
        ]
        figures = live.figures(name)
        assert figures.tally.ok == len(inside)
        assert figures.e2e_ms.n == len(inside)
        assert figures.e2e_ms.mean == pytest.approx(sum(record.e2e_ms for record in inside) / len(inside))


def test_time_after_the_end_is_no_time_of_the_run() -> None:
    """The end is known only when the last requests have been awaited; until then the window has moved on."""
    live = Live(START)
    for second in range(80):
        live.add(answer(1001.5 + second))
    live.advance(1085.0)
    live.settle(1081.9)
    live.add(answer(1080.5))
    figures = live.figures()
    assert (figures.tally.ok, figures.seconds) == (61, 60.0), "60 of [1021, 1081), and the one that came late"
    assert (live.recent()[0].ok, live.recent()[1]) == (11, 10.0)
