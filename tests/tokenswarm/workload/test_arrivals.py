from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenswarm.userinput import BadInput
from tokenswarm.workload import arrivals
from tokenswarm.workload.arrivals import (
    Arrival,
    Assignment,
    Lengths,
    Plan,
    RatePlan,
    WorkerShare,
    parse_rate,
)
from tokenswarm.workload.distributions import parse_length
from tokenswarm.workload.stages import parse_stages
from tokenswarm.workload.traces import TraceRow, read_trace

SAMPLE = Path(__file__).parents[3] / "scenarios" / "traces" / "sample-azure.csv"
RAMP = parse_stages("2m:10, 5m:50, 1m:0")  # 185 arrivals: 10 + 150 + 25
DRAWN = Lengths(3, parse_length("normal(500, 100)"), parse_length("uniform(50, 200)"))
ROWS = [TraceRow(0.0, 10, 1), TraceRow(30.0, 20, 2, (0, 1)), TraceRow(60.0, 30, 3), TraceRow(90.0, 40, 4)]
PLANS = {
    "constant": RatePlan("constant", 300, lengths=DRAWN),
    "poisson": RatePlan("poisson", 300, 1, lengths=DRAWN),
    "gamma": RatePlan("gamma", 300, 1, 0.5, DRAWN),
    "ramp": arrivals.staged(RAMP),
    "poisson ramp": arrivals.staged(RAMP, "poisson", 1),
    "gamma ramp": arrivals.staged(RAMP, "gamma", 1, 4.0),
    "trace": arrivals.trace(read_trace(SAMPLE), speed=2.0),
}
EVERY_PLAN = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def walk(plan: Plan) -> Iterator[Arrival]:
    return (plan.arrival(index, due_offset_s) for index, due_offset_s in enumerate(plan.instants()))


def offsets(plan: Plan, n: int | None = None) -> list[float]:
    return list(islice(plan.instants(), n))


def test_constant_arrivals_start_at_zero_and_are_even() -> None:
    assert offsets(RatePlan("constant", 50), 5) == [0.0, 1.2, 2.4, 3.6, 4.8]
    # Not by adding gaps up: after an hour the arrival is where it belongs.
    assert next(islice(RatePlan("constant", 50).instants(), 3000, None)) == 3600.0


def test_staged_arrivals_are_due_where_the_integral_reaches_their_index() -> None:
    # 10 per minute reached after 2 min: the integral is t^2 / 1440, so arrival i is due at sqrt(1440 i).
    found = offsets(arrivals.staged(RAMP))
    assert found[:10] == pytest.approx([math.sqrt(1440 * i) for i in range(10)])
    assert (found[10], len(found)) == (pytest.approx(120.0), 185)
    assert all(RAMP.area(instant) / 60 == pytest.approx(index) for index, instant in enumerate(found))


def test_no_arrival_is_due_while_the_rate_is_zero() -> None:
    pause = arrivals.staged(parse_stages("1m:60, 0s:0, 5m:0, 0s:60, 1m:60", start=60))
    found = offsets(pause)
    assert found == pytest.approx([*range(60), *range(360, 420)])
    late = offsets(arrivals.staged(parse_stages("1m:0, 0s:60, 3s:60")))
    assert late == pytest.approx([60, 61, 62])


@EVERY_PLAN
def test_a_plan_is_the_same_each_time_and_never_goes_back(plan: Plan) -> None:
    found = offsets(plan, 2000)
    assert found == offsets(plan, 2000)
    assert found[0] >= 0
    assert all(earlier <= later for earlier, later in pairwise(found))
    assert list(islice(walk(plan), 50)) == list(islice(walk(plan), 50))


def test_the_seed_decides_the_plan() -> None:
    assert offsets(RatePlan("poisson", 60, 1), 10) == offsets(RatePlan("poisson", 60, 1), 10)
    assert offsets(RatePlan("poisson", 60, 1), 10) != offsets(RatePlan("poisson", 60, 2), 10)


def gaps(plan: Plan, n: int = 4000) -> list[float]:
    found = offsets(plan, n)
    return [found[0], *(later - earlier for earlier, later in pairwise(found))]


@pytest.mark.parametrize("rate_rpm", [50, 300, 12_000])
def test_poisson_gaps_are_exponential(rate_rpm: float) -> None:
    assert scipy.stats.kstest(gaps(RatePlan("poisson", rate_rpm, 11)), "expon", args=(0, 60 / rate_rpm)).pvalue > 0.01


@pytest.mark.parametrize("smoothness", [0.25, 1.0, 4.0, 100.0])
def test_gamma_gaps_have_the_asked_shape_and_mean(smoothness: float) -> None:
    mean_s = 60 / 300
    scale = mean_s / smoothness
    found = gaps(RatePlan("gamma", 300, 11, smoothness))
    assert scipy.stats.kstest(found, "gamma", args=(smoothness, 0, scale)).pvalue > 0.01


def test_the_test_of_gaps_tells_shapes_apart() -> None:
    assert scipy.stats.kstest(gaps(RatePlan("gamma", 300, 11, 2.0)), "expon", args=(0, 0.2)).pvalue < 1e-6


def test_a_staged_poisson_process_is_poisson_in_the_integral_of_its_rate() -> None:
    stages = parse_stages("10m:600, 10m:100")
    positions = [stages.area(instant) / 60 for instant in arrivals.staged(stages, "poisson", 5).instants()]
    assert len(positions) == pytest.approx(6500, abs=4 * math.sqrt(6500))
    unit_gaps = [later - earlier for earlier, later in pairwise(positions)]
    assert scipy.stats.kstest(unit_gaps, "expon").pvalue > 0.01


@EVERY_PLAN
@pytest.mark.parametrize("t_s", [-1.0, 0.0, 0.2, 1.2, 59.9, 60.0, 120.0, 480.0, 1000.0])
def test_counts_are_those_of_the_plan_itself(plan: Plan, t_s: float) -> None:
    expected = sum(1 for instant in offsets(plan, 6000) if instant < t_s)
    assert plan.count_before(t_s) == expected


@given(st.floats(0.5, 1e5), st.integers(0, 3000))
def test_a_constant_count_is_exact_at_the_arrival_itself(rate_rpm: float, index: int) -> None:
    plan = RatePlan("constant", rate_rpm)
    instant = next(islice(plan.instants(), index, None))
    assert plan.count_before(instant) == index
    assert plan.count_before(math.nextafter(instant, math.inf)) == index + 1


def test_the_forecast() -> None:
    assert PLANS["constant"].expected_count(60.1) == 301
    assert PLANS["poisson"].expected_count(60) == 300
    assert PLANS["gamma ramp"].expected_count(1e6) == 185
    assert PLANS["trace"].expected_count(1e6) == 132
    assert PLANS["constant"].duration_s is None
    assert PLANS["ramp"].duration_s == 480


def test_an_arrival_has_its_own_lengths_whoever_sends_it() -> None:
    plan = PLANS["poisson"]
    everything = list(islice(walk(plan), 100))
    assert len({arrival.context_tokens for arrival in everything}) > 50
    assert all(50 <= (arrival.max_tokens or 0) <= 200 for arrival in everything)
    share = WorkerShare(plan, [Assignment(0, 2, 3)])
    assert list(islice(share, 20)) == everything[2:62:3]


def test_a_trace_is_replayed_faster_and_from_its_window() -> None:
    assert list(walk(arrivals.trace(ROWS, speed=2.0))) == [
        Arrival(0, 0.0, 10, 1),
        Arrival(1, 15.0, 20, 2, (0, 1)),
        Arrival(2, 30.0, 30, 3),
        Arrival(3, 45.0, 40, 4),
    ]
    part = arrivals.trace(ROWS, speed=0.5, window=(20.0, 60.0))
    assert list(walk(part)) == [Arrival(0, 20.0, 20, 2, (0, 1))]
    assert part.duration_s == 80.0
    assert arrivals.trace(ROWS, window=(60.0, 600.0)).duration_s == 30.0


def test_asked_lengths_replace_those_of_the_trace() -> None:
    fixed_context = arrivals.trace(ROWS, lengths=Lengths(0, parse_length("7"), parse_length("trace")))
    assert list(walk(fixed_context))[1] == Arrival(1, 30.0, 7, 2, None)
    fixed_output = arrivals.trace(ROWS, lengths=Lengths(0, None, parse_length("9")))
    assert list(walk(fixed_output))[1] == Arrival(1, 30.0, 20, 9, (0, 1))


@pytest.mark.parametrize(
    ("text", "rate_rpm"), [("50", 50), (" 0.5 ", 0.5), ("5/s", 300), ("50/min", 50), ("6e6", 6_000_000)]
)
def test_rates_are_per_minute(text: str, rate_rpm: float) -> None:
    assert parse_rate(text) == rate_rpm


@pytest.mark.parametrize("text", ["-1", "0", "nan", "inf", "", "fast", "1e9", "1e6/s", "5/h", "1e-9"])
def test_wrong_rates_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="rate: expected requests per minute from"):
        parse_rate(text)


@given(st.text(alphabet=st.sampled_from("0123456789.e/smin- "), max_size=20) | st.text(max_size=20))
def test_any_text_gives_a_rate_or_bad_input(text: str) -> None:
    try:
        assert parse_rate(text) > 0
    except BadInput as error:
        assert error.problems


def test_a_wrong_plan_is_refused_all_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        arrivals.staged(parse_stages("1m:0"), "gamma", 0, 0.0)
    assert len(caught.value.problems) == 2
    for bad in (math.nan, math.inf, 0.0):
        with pytest.raises(BadInput):
            arrivals.trace(ROWS, speed=bad)
    with pytest.raises(BadInput, match="arrival: expected one of constant, poisson, gamma, got 'even'"):
        arrivals.staged(RAMP, "even")
    with pytest.raises(BadInput, match="rate: expected"):
        arrivals.staged(parse_stages("1m:0"))
    with pytest.raises(BadInput, match="which lasts 90 s"):
        arrivals.trace(ROWS, window=(100.0, 200.0))


def test_a_position_beyond_the_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a position below 2 workers, got 2"):
        Assignment(0, 2, 2)


# Each change: the index from which it holds, and how many workers there are from then on.
CHANGES = st.lists(st.tuples(st.integers(0, 120), st.integers(1, 5)), max_size=5).map(sorted)


def assignments_of(worker: int, changes: list[tuple[int, int]]) -> list[Assignment]:
    return [Assignment(begin, worker if worker < count else None, count) for begin, count in changes]


def drain(share: WorkerShare, until_s: float) -> list[Arrival]:
    return list(iter(lambda: share.take_due(until_s), None))


@given(st.sampled_from(sorted(PLANS)), st.integers(1, 5), CHANGES)
def test_workers_together_send_the_whole_plan_exactly_once(
    name: str, count: int, changes: list[tuple[int, int]]
) -> None:
    plan = PLANS[name]
    all_changes = [(0, count), *changes]
    shares = [WorkerShare(plan, assignments_of(worker, all_changes)) for worker in range(5)]
    last_s = offsets(plan, 131)[-1]
    taken = [arrival for share in shares for arrival in drain(share, last_s)]
    whole = [arrival for arrival in islice(walk(plan), 150) if arrival.due_offset_s <= last_s]
    assert sorted(taken, key=lambda arrival: arrival.index) == whole


@settings(max_examples=50)
@given(st.integers(1, 5), CHANGES, st.randoms(use_true_random=False))
def test_changes_that_arrive_in_time_keep_every_arrival(
    count: int, changes: list[tuple[int, int]], rng: random.Random
) -> None:
    plan = RatePlan("constant", 60)  # arrival i is due at i seconds
    shares = [WorkerShare(plan, assignments_of(worker, [(0, count)])) for worker in range(5)]
    taken: list[Arrival] = []
    for begin, workers in changes:
        # The news reach each worker at its own time, but before anything of the new order is due.
        for worker, share in enumerate(shares):
            taken += drain(share, rng.randint(0, begin) - 1.0)
            position = worker if worker < workers else None
            assert share.assign(Assignment(begin, position, workers)) == begin
    for share in shares:
        taken += drain(share, 150.0)
    assert sorted(arrival.index for arrival in taken) == list(range(151))


def test_a_late_change_says_from_where_it_holds() -> None:
    share = WorkerShare(RatePlan("constant", 60), [Assignment(0, 0, 1)])
    assert [next(share).index for _ in range(5)] == [0, 1, 2, 3, 4]
    assert share.next_due_offset_s == 5.0
    assert share.assign(Assignment(2, 1, 2)) == 5
    assert [next(share).index for _ in range(3)] == [5, 7, 9]


def test_a_share_of_nothing_ends() -> None:
    endless = RatePlan("constant", 60)
    assert list(WorkerShare(endless, [])) == []
    assert [arrival.index for arrival in WorkerShare(endless, [Assignment(0, 0, 2), Assignment(5, None, 1)])] == [
        0,
        2,
        4,
    ]
    joins_later = WorkerShare(endless, [Assignment(4, 1, 2)])
    assert [next(joins_later).index for _ in range(2)] == [5, 7]


def test_what_is_not_due_is_not_taken() -> None:
    share = WorkerShare(RatePlan("constant", 60), [Assignment(0, 1, 2)])
    assert share.take_due(0.5) is None
    assert share.take_due(1.0) == Arrival(1, 1.0)
    assert share.take_due(2.9) is None
    assert share.next_due_offset_s == 3.0


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 6), st.data())
def test_the_loss_of_a_worker_is_counted(begin: int, end: int, count: int, data: st.DataObject) -> None:
    assignment = Assignment(0, data.draw(st.integers(0, count - 1)), count)
    assert assignment.count_owned(begin, end) == sum(assignment.owns(index) for index in range(begin, end))
    assert Assignment(0, None, count).count_owned(begin, end) == 0
