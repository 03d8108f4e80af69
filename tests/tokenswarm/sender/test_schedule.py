from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.sender.schedule import AHEAD_S, Due, Schedule
from tokenswarm.workload.arrivals import Assignment, RatePlan

IDENTITY: dict[str, Any] = {"worker": "w0", "target": "chat", "name": "chat"}
ALL = [Assignment(0, 0, 1)]


def schedule(dropped: list[RequestRecord], max_lag_s: float = 10.0) -> Schedule:
    return Schedule(max_lag_s, dropped.append, IDENTITY)


def take(source: Schedule, taken: list[Due], hold_s: float = 0.0) -> None:
    while True:
        due = source.take()
        try:
            due.come.wait()
        except gevent.GreenletExit:  # killed after the end
            source.give_up(due, "the run ended before it was sent")
            raise
        taken.append(due)
        gevent.sleep(hold_s)


def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    """Let greenlets run until it is true."""
    with gevent.Timeout(timeout_s):
        while not condition():
            gevent.sleep(0.001)


def test_arrivals_go_to_free_users_when_they_are_due() -> None:
    dropped: list[RequestRecord] = []
    taken: list[Due] = []
    plan = schedule(dropped)
    users = [gevent.spawn(take, plan, taken) for _ in range(3)]
    origin = time.time() + 0.02
    plan.start(RatePlan("constant", 6000), origin, ALL)  # one each 10 ms
    until(lambda: len(taken) >= max(30, int((time.time() - origin) / 0.01)))  # nothing waits when it is stopped
    end = time.time()
    plan.stop(end)
    gevent.killall(users)
    assert [due.arrival.index for due in taken] == list(range(len(taken)))
    assert all(abs(due.scheduled_at - (origin + due.arrival.index * 0.01)) < 1e-6 for due in taken)
    assert plan.offered == len(taken) + len(dropped)
    assert plan.offered == int((end - origin) / 0.01) + 1
    assert len(dropped) <= 1


def test_a_free_user_gets_an_arrival_ahead_and_may_send_it_when_it_is_due() -> None:
    was_ahead = False
    for _ in range(20):  # once is enough: a busy machine may stop this process for longer than an arrival is ahead
        plan = schedule([])
        origin = time.time() + 0.1
        plan.start(RatePlan("constant", 60), origin, ALL)
        due = plan.take()
        has_come, now = due.come.is_set(), time.time()
        assert now >= origin - AHEAD_S
        was_ahead = now < origin and not has_come
        due.come.wait()
        assert time.time() >= due.scheduled_at == origin
        plan.stop(time.time())
        if was_ahead:
            return
    raise AssertionError("never ahead")


def test_what_is_ahead_when_the_run_ends_was_not_offered() -> None:
    dropped: list[RequestRecord] = []
    for _ in range(20):  # a busy machine may stop this process for longer than an arrival is ahead
        plan = schedule(dropped)
        end = time.time()
        plan.start(RatePlan("constant", 60), end + AHEAD_S / 2, ALL)
        due = plan.take()
        plan.stop(end)
        if not due.come.is_set():
            break
    assert not due.come.is_set()
    plan.give_up(due, "the run ended before it was sent")
    assert (plan.offered, plan.overtaken, dropped) == (0, 0, [])


def test_what_a_stopped_user_had_taken_is_another_users() -> None:
    plan = schedule([])
    plan.start(RatePlan("constant", 60), time.time(), ALL)
    due = plan.take()
    plan.put_back(due)
    assert plan.take() is due
    assert plan.offered == 1
    plan.stop(time.time())


def test_an_arrival_that_waits_too_long_is_dropped_and_its_lag_is_known() -> None:
    dropped: list[RequestRecord] = []
    taken: list[Due] = []
    plan = schedule(dropped, max_lag_s=0.05)
    user = gevent.spawn(take, plan, taken, hold_s=0.1)
    plan.start(RatePlan("constant", 6000), time.time(), ALL)
    until(lambda: len(taken) > 3 and dropped)
    plan.stop(time.time())
    user.kill()
    assert plan.offered == len(taken) + len(dropped)
    assert dropped
    for record in dropped:
        assert record.outcome is Outcome.DROPPED
        assert record.started_at is None
        assert record.scheduled_at is not None
        assert record.lag_ms is not None
    assert "no free user within 0.05 s" in {str(record.error) for record in dropped}


def test_what_waited_at_the_end_is_dropped_and_what_had_only_just_come_was_not_offered() -> None:
    dropped: list[RequestRecord] = []
    plan = schedule(dropped)
    origin = time.time() - 4.5  # five arrivals are due already: 0, 1, 2, 3, 4 s
    plan.start(RatePlan("constant", 60), origin, ALL)
    plan.stop(origin + 4.5)
    assert plan.offered == len(dropped) == 4
    assert plan.overtaken == 1
    assert {str(record.error) for record in dropped} == {"the run ended before a user was free"}


@pytest.mark.parametrize(
    ("due", "rate_rpm", "overtaken"), [(10, 600, 10), (20, 1200, 0), (2000, 1200, 20), (300, 6000, 0)]
)
def test_more_than_a_few_that_had_only_just_come_were_not_delivered(due: int, rate_rpm: int, overtaken: int) -> None:
    """As of a generator that is always a second late: it sent less than it was asked to."""
    dropped: list[RequestRecord] = []
    plan = schedule(dropped, max_lag_s=1000.0)
    end = time.time()
    plan.start(RatePlan("constant", rate_rpm), end - (due - 0.5) * 60.0 / rate_rpm, ALL)
    plan.stop(end)
    assert (plan.offered, plan.overtaken, len(dropped)) == (due - overtaken, overtaken, due - overtaken)


def test_two_processes_share_a_plan_without_gap_or_double() -> None:
    taken: list[Due] = []
    plans = [schedule([]) for _ in range(2)]
    users = [gevent.spawn(take, plan, taken) for plan in plans for _ in range(2)]
    origin = time.time() + 0.02
    for position, plan in enumerate(plans):
        plan.start(RatePlan("constant", 12000), origin, [Assignment(0, position, 2)])
    until(lambda: len(taken) > 10)
    soon = int((time.time() - origin) / 0.005) + 30
    plans[0].assign(Assignment(soon, 0, 1))  # from this arrival on, the first has all
    plans[1].assign(Assignment(soon, None, 1))
    until(lambda: len(taken) > soon + 10)
    for plan in plans:
        plan.stop(time.time())
    gevent.killall(users)
    indices = sorted(due.arrival.index for due in taken)
    assert indices == list(range(len(indices)))


def test_a_new_plan_takes_over_without_losing_what_was_due() -> None:
    dropped: list[RequestRecord] = []
    taken: list[Due] = []
    plan = schedule(dropped)
    user = gevent.spawn(take, plan, taken)
    first = time.time() - 0.05
    plan.start(RatePlan("constant", 6000), first, ALL)
    second = time.time() + AHEAD_S
    plan.start(RatePlan("constant", 600), second, ALL)
    until(lambda: taken and taken[-1].scheduled_at > second)
    plan.stop(time.time())
    user.kill()
    assert plan.offered == len(taken) + len(dropped)
    assert sum(due.scheduled_at <= second for due in taken) == int((second - first) / 0.01) + 2
