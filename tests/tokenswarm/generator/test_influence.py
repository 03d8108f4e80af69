from __future__ import annotations

import random

import pytest

from tokenswarm.generator.influence import Influence, Stalls
from tokenswarm.record import Outcome, RequestRecord


def answered(begin: float, ttft_ms: float | None, e2e_ms: float, worker: str = "w0") -> RequestRecord:
    return RequestRecord(
        call_id="c", worker=worker, outcome=Outcome.OK, started_at=begin, ttft_ms=ttft_ms, e2e_ms=e2e_ms
    )


def timeout(begin: float, after_ms: float) -> RequestRecord:
    return RequestRecord(call_id="c", worker="w0", outcome=Outcome.TIMEOUT, started_at=begin, e2e_ms=after_ms)


def influence(records: list[RequestRecord], stalls: list[tuple[float, float]], worker: str = "w0") -> Influence:
    found = Stalls()
    for record in records:
        found.add(record)
    found.add_stalls(worker, stalls)
    return found.influence()


def test_a_lag_is_held_against_the_latency_it_fell_into() -> None:
    """145 ms beside answers that take 4 s, 63 ms beside a first token after 0.7 s: said, and no more."""
    assert not influence([answered(number * 4.0, 3900, 3990) for number in range(10)], [(9.0, 145.0)]).matters
    slow = influence([answered(number * 1.0, 700, 900) for number in range(60)], [(n + 0.5, 63.0) for n in range(60)])
    assert (slow.touched, slow.matters, slow.longest_ms) == (0, False, 63.0)
    quick = influence([answered(number * 1.0, 100, 900) for number in range(60)], [(n + 0.06, 63.0) for n in range(60)])
    assert (quick.touched_pct, quick.matters) == (100.0, True)


def test_a_freeze_that_can_have_made_a_timeout_is_saturation_however_short_the_run() -> None:
    found = influence([answered(0.0, 500, 900), timeout(2.0, 5100.0)], [(7.1, 4600.0)])
    assert (found.timeouts, found.timeouts_touched, found.matters) == (1, 1, True)
    assert "1 of 1 timeouts" in str(found.describe())
    assert not influence([timeout(2.0, 1000.0)], [(9.0, 4600.0)]).matters
    assert not influence([timeout(2.0, 60_000.0)], [(9.0, 900.0)]).matters


def test_one_hiccup_touches_what_it_fell_into_and_nothing_else() -> None:
    records = [answered(number * 0.1, 50, 80) for number in range(100)]
    found = influence(records, [(5.03, 30.0)])
    assert (found.touched, found.matters) == (1, False)
    assert influence(records, [(5.03, 30.0)], worker="w1").touched == 0


def test_without_a_first_token_the_whole_answer_counts() -> None:
    assert influence([answered(0.0, None, 100)], [(0.09, 20.0)]).touched == 1
    assert influence([answered(0.0, 30, 100)], [(0.09, 20.0)]).touched == 0


def test_no_requests_and_no_stalls_say_nothing() -> None:
    assert influence([], []).describe() is None
    assert influence([answered(0.0, 30, 100)], []).facts()["saturated"] is False


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_plain_comparison_of_each_with_each(seed: int) -> None:
    rng = random.Random(seed)
    records = [answered(rng.uniform(0, 20), rng.uniform(20, 2000), 3000.0) for _ in range(60)]
    stalls = [(rng.uniform(0, 22), rng.choice([6.0, 40.0, 900.0, 3000.0])) for _ in range(20)]
    touched = 0
    for record in records:
        begin, ttft_ms = record.started_at or 0.0, record.ttft_ms or 0.0
        inside = [min(at, begin + ttft_ms / 1e3) - max(at - ms / 1e3, begin) for at, ms in stalls]
        touched += max(inside) * 1e3 >= ttft_ms * 0.1
    assert influence(records, stalls).touched == touched


@pytest.mark.parametrize("lag_ms", [1.0, 30.0, 300.0])
def test_a_run_that_is_on_is_weighed_by_the_rule_of_its_end(lag_ms: float) -> None:
    found = Stalls()
    for number in range(60):
        found.add(answered(number * 1.0, 100, 900))
        found.add(timeout(number * 1.0, 2000.0))
    assert found.so_far().reasons() == found.influence().reasons() == []
    found.add_stalls("w0", [(number + 0.06, lag_ms) for number in range(60)])
    assert found.so_far() == found.influence()
    assert [reason.kind for reason in found.so_far().reasons()] == (["saturated"] if lag_ms > 1.0 else [])


def test_a_long_run_is_looked_at_in_part_while_it_is_on() -> None:
    found = Stalls()
    for number in range(30_000):
        found.add(answered(number * 0.01, 100, 900))
    found.add_stalls("w0", [(number * 0.01 + 0.06, 63.0) for number in range(30_000)])
    assert found.so_far().answered <= 2_500
    assert found.so_far().touched_pct == found.influence().touched_pct == 100.0
