from __future__ import annotations

import heapq
import math

import pytest

from simulator.config.settings import Deployment
from simulator.service.limits import Charge, admit
from tokenswarm.control.capacity_search import (
    Search,
    SearchLevel,
    Step,
    describe_break,
    describe_limit,
    find_breaks,
    find_runaway,
    short_number,
)
from tokenswarm.metrics.criteria import CriterionResult, hold_s, parse_criteria
from tokenswarm.metrics.samples import percentile
from tokenswarm.userinput import BadInput
from tokenswarm.workload.arrivals import Lengths, LevelPlan
from tokenswarm.workload.distributions import Length
from tokenswarm.workload.levels import SearchRange, parse_search

CRITERIA = parse_criteria("p95(ttft_ms) > 1000; percentage(throttled) > 1")


def level(step: Step, breaks: tuple[str, ...] = ()) -> SearchLevel:
    return SearchLevel(step, 0.0, 60.0, 60, breaks, tpm=step.load * 5000)


def run(search: Search, limit_rpm: float) -> list[tuple[float, str]]:
    """Carry a search out against a target that sustains exactly `limit_rpm`."""
    steps = []
    while (step := search.next()) is not None:
        steps.append((step.load, step.purpose))
        search.add(level(step, () if step.load <= limit_rpm else ("throttled reaches 6 %",)))
    return steps


def test_it_doubles_bisects_and_confirms() -> None:
    search = Search(10, 120, 5)
    assert run(search, 40) == [
        (10, "rise"),
        (20, "rise"),
        (40, "rise"),
        (80, "rise"),
        (56.57, "bisect"),
        (47.57, "bisect"),
        (43.62, "bisect"),
        (41.77, "bisect"),
        (40, "confirm"),
    ]
    assert search.answer is not None
    assert search.sentence(CRITERIA) == (
        "sustains 40 RPM / 200K TPM with p95(ttft_ms) < 1000 and throttled < 1 %; at 41.77 RPM throttled reaches 6 %"
    )


@pytest.mark.parametrize("limit_rpm", [10, 11.3, 38, 40, 41, 59.9, 77, 119])
def test_the_answer_is_within_the_precision_below_the_limit(limit_rpm: float) -> None:
    search = Search(10, 120, 5)
    run(search, limit_rpm)
    assert search.answer is not None
    assert limit_rpm / 1.05 <= search.answer.step.load <= limit_rpm


def test_the_highest_rate_may_hold() -> None:
    search = Search(10, 120, 5)
    assert [rate for rate, _ in run(search, 500)] == [10, 20, 40, 80, 120, 120]
    assert search.sentence(CRITERIA).endswith("; this is the highest rate that was asked for")


def test_the_lowest_rate_may_break() -> None:
    search = Search(10, 120, 5)
    assert run(search, 9) == [(10, "rise")]
    assert search.answer is None
    assert search.judged is search.levels[-1]
    assert search.sentence(CRITERIA).startswith("does not sustain 10 RPM with p95(ttft_ms) < 1000")


def test_a_level_that_does_not_hold_again_is_not_the_answer() -> None:
    search = Search(10, 40, 5)
    while (step := search.next()) is not None:
        lucky = step.load <= 40 and step.purpose != "confirm"
        search.add(level(step, () if lucky or step.load <= 37 else ("throttled reaches 2 %",)))
    assert [each.step.load for each in search.levels if each.step.purpose == "confirm"] == [40, 38.1, 36.29]
    assert search.answer is not None and search.answer.step.load == 36.29


def test_a_search_that_never_holds_twice_gives_up() -> None:
    search = Search(10, 40, 5)
    while (step := search.next()) is not None:
        search.add(level(step, ("too slow",) if step.purpose == "confirm" else ()))
    assert search.answer is None
    assert len([each for each in search.levels if each.step.purpose == "confirm"]) == 4


def test_a_stopped_search_says_what_held() -> None:
    search = Search(10, 40, 5)
    said = "the search was stopped before its end"
    assert search.sentence(CRITERIA) == f"{said}: no level had ended" and search.judged is None
    search.add(level(Step(10, "rise")))
    assert search.judged is search.levels[0]
    assert search.sentence(CRITERIA) == f"{said}: 10 RPM held once; the answer was not confirmed"
    search.add(level(Step(20, "rise"), ("throttled reaches 6 %",)))
    assert search.judged is search.levels[0]
    assert search.sentence(CRITERIA) == (
        f"{said}: 10 RPM held once, at 20 RPM throttled reaches 6 %; the answer was not confirmed"
    )
    facts = search.facts(CRITERIA)
    assert (facts["answer"], facts["held"], facts["is_over"]) == (None, 10, False)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 13, 31, 47, 63])
def test_users_are_found_to_the_integer(limit: int) -> None:
    search = Search(1, 64, 3, "users")
    tried = run(search, limit)
    assert search.answer is not None and search.answer.step.load == limit
    assert all(float(load).is_integer() for load, _ in tried)
    assert len(tried) <= 14


def test_a_search_over_users_speaks_of_users() -> None:
    search = Search(1, 8, 3, "users")
    run(search, 1)
    assert search.sentence(CRITERIA).startswith("sustains 1 user / ")
    assert "; at 2 users throttled reaches 6 %" in search.sentence(CRITERIA)


@pytest.mark.parametrize("limit_rpm", [11.3, 38, 77, 119])
def test_by_default_the_answer_is_within_3_percent(limit_rpm: float) -> None:
    search = Search(10, 120, 3)
    run(search, limit_rpm)
    assert search.answer is not None
    assert limit_rpm / 1.03 <= search.answer.step.load <= limit_rpm


def slots(count: int, service_s: float, instants: list[float]) -> list[float]:
    """E2E in ms of arrivals that wait in one line for `count` slots of `service_s` each."""
    free = [0.0] * count
    found = []
    for at in instants:
        begin = max(at, heapq.heappop(free))
        heapq.heappush(free, begin + service_s)
        found.append(1000.0 * (begin + service_s - at))
    return found


@pytest.mark.parametrize(("count", "service_s"), [(4, 0.5), (16, 3.0), (2, 0.25)])
def test_slots_of_known_time_are_found_within_3_percent(count: int, service_s: float) -> None:
    """They carry count / service time; beyond, the line grows until the criterion breaks."""
    capacity_rpm = 60 * count / service_s
    criteria = parse_criteria(f"p95(e2e_ms) > {1000 * service_s + 2500}")
    search, offered = Search(capacity_rpm / 7, capacity_rpm * 3, 3), 0
    while (step := search.next()) is not None:
        plan = LevelPlan("constant", step.load, hold_s(step.load, criteria, 240, whole_minutes=False), offered, 1)
        offered += plan.count_before(math.inf)
        e2e = percentile(slots(count, service_s, list(plan.instants())), 95)
        search.add(level(step, ("p95(e2e_ms) reaches more",) if e2e > criteria[0].threshold else ()))
    assert search.answer is not None
    assert search.answer.step.load == pytest.approx(capacity_rpm, rel=0.03)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10..120", SearchRange(10, 120, "")),
        ("10..600 rpm", SearchRange(10, 600, "RPM")),
        ("1..64 users", SearchRange(1, 64, "users")),
        ("0.5..20 Sessions", SearchRange(0.5, 20, "sessions/min")),
    ],
)
def test_what_is_searched_over(text: str, found: SearchRange) -> None:
    assert parse_search(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "..",
        "10..",
        "120..10",
        "0..9",
        "1.5..8 users",
        "1..9 cats",
        "a..b",
        "1..2..3",
        "1..inf rpm",
        "1..9999999 users",
    ],
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="search: expected"):
        parse_search(text)


def test_a_level_lasts_until_its_percentiles_carry() -> None:
    # p95 needs 20 values, with a tenth to spare 22: at 10 a minute 132 s.
    assert hold_s(10, CRITERIA, 60, whole_minutes=False) == pytest.approx(132)
    assert hold_s(10, CRITERIA, 60, whole_minutes=True) == 180
    assert hold_s(100, CRITERIA, 60, whole_minutes=True) == 60
    assert hold_s(100, CRITERIA, 90, whole_minutes=True) == 120
    assert hold_s(30, parse_criteria("percentage(throttled) > 1"), 60, whole_minutes=False) == 60


def test_levels_never_repeat_an_index() -> None:
    lengths = Lengths(7, Length("fixed", 100.0), None)
    first = LevelPlan("poisson", 120, 60, 0, 7, 1.0, lengths)
    n = first.count_before(math.inf)
    second = LevelPlan("poisson", 120, 60, n, 7, 1.0, lengths)
    assert [first.arrival(i, 0.0).index for i in (0, n - 1)] == [0, n - 1]
    assert second.arrival(0, 0.0).index == n
    assert list(first.instants()) != list(second.instants())
    assert all(instant < 60 for instant in second.instants())
    assert LevelPlan("constant", 40, 60, 0).count_before(math.inf) == 40


def test_what_breaks_is_said_in_words() -> None:
    slow, throttled = CRITERIA
    results = [CriterionResult(slow, "failed", 1240.4, 30), CriterionResult(throttled, "held", 0.0, 30)]
    assert find_breaks(results, 100, 100) == ["p95(ttft_ms) reaches 1240"]
    assert find_breaks(results, 100, 61) == ["p95(ttft_ms) reaches 1240", "only 61 % of the offer was sent"]
    assert describe_break(CriterionResult(throttled, "no_data", None, 0)) == "throttled has no data"
    good, named = parse_criteria("percentage(goodput) < 95; chat: p99(e2e_ms) > 5000")
    assert describe_limit(good) == "goodput > 95 %"
    assert describe_break(CriterionResult(good, "failed", 80.0, 30)) == "goodput falls to 80 %"
    assert describe_limit(named) == "chat: p99(e2e_ms) < 5000"
    assert [short_number(value) for value in (950, 190_000, 1_254_000)] == ["950", "190K", "1.25M"]


def test_a_rising_utilization_does_not_hold() -> None:
    # 50 PTU at 110 % of what drains: 10 % a minute, though nothing is refused yet.
    rising = [(at, 12 + at * 10 / 60 + (at % 3) * 0.2) for at in range(60)]
    assert find_runaway(rising, 0, 60) == "utilization rises by 10.1 % per minute, from 22 %"
    steady = [(at, 40 + (at * 7919 % 11) * 0.5) for at in range(60)]
    assert find_runaway(steady, 0, 60) is None
    assert find_runaway([(at, 90 - at) for at in range(60)], 0, 60) is None
    assert find_runaway(rising[:20], 0, 60) is None


def throttled_share(deployment: Deployment, rate_rpm: float, begin: float, seconds: float) -> float:
    """What the limiter refuses of a level, in percent."""
    plan = LevelPlan("constant", rate_rpm, seconds, 0)
    state: dict[str, object] = {}
    refused = [
        admit(deployment, state, begin + instant, Charge(4500, 0, 500)).refusal is not None
        for instant in plan.instants()
    ]
    return 100 * sum(refused) / len(refused)


def test_the_rate_of_a_quota_of_200k_tokens_is_found_within_5_percent() -> None:
    # 200,000 tokens a minute are 40 requests of 4500 + 500.
    deployment = Deployment(tpm=200_000)
    search = Search(10, 120, 5)
    now = 1_800_000_000.0
    while (step := search.next()) is not None:
        begin = math.ceil(now / 60) * 60.0
        seconds = hold_s(step.load, CRITERIA, 60, whole_minutes=True)
        share = throttled_share(deployment, step.load, begin, seconds)
        search.add(level(step, (f"throttled reaches {share:.0f} %",) if share > 1 else ()))
        now = begin + seconds + 3
    assert search.answer is not None
    assert 38 <= search.answer.step.load <= 42
