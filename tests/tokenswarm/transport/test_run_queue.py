from __future__ import annotations

import time
from collections import Counter

import gevent
import pytest
from gevent.event import Event

from tokenswarm.transport.run_queue import WOKEN_IN_A_TURN, RunQueue


class Turns:
    """Counts the turns of the loop by its polls."""

    def __init__(self) -> None:
        self.count = 0
        self._watcher = gevent.get_hub().loop.check(ref=False)
        self._watcher.start(self._note)

    def _note(self) -> None:
        self.count += 1

    def stop(self) -> None:
        self._watcher.stop()
        self._watcher.close()


def test_a_lone_user_passes_at_once() -> None:
    run_queue = RunQueue(gevent.get_hub().loop)
    turns = Turns()
    gevent.sleep(0)
    before = turns.count
    run_queue.pass_through()
    assert turns.count == before
    turns.stop()


def test_many_pass_in_order_at_most_one_in_a_turn() -> None:
    run_queue = RunQueue(gevent.get_hub().loop)
    turns = Turns()
    passed: list[tuple[int, int]] = []

    def user(number: int) -> None:
        run_queue.pass_through()
        passed.append((number, turns.count))

    gevent.joinall([gevent.spawn(user, number) for number in range(50)], timeout=10, raise_error=True)
    turns.stop()
    assert [number for number, _ in passed] == list(range(50))
    at = [turn for _, turn in passed]
    assert len(set(at)) == len(at)


def test_sleepers_are_woken_in_order_few_in_a_turn() -> None:
    run_queue = RunQueue(gevent.get_hub().loop)
    turns = Turns()
    woken: list[tuple[int, int]] = []

    def user(number: int) -> None:
        sleeper = Event()
        run_queue.wake_in_turn(sleeper)
        sleeper.wait()
        woken.append((number, turns.count))

    gevent.joinall([gevent.spawn(user, number) for number in range(50)], timeout=10, raise_error=True)
    turns.stop()
    assert [number for number, _ in woken] == list(range(50))
    in_a_turn = Counter(turn for _, turn in woken)
    assert max(in_a_turn.values()) == WOKEN_IN_A_TURN


def test_who_is_woken_last_need_not_wait_for_something_to_happen() -> None:
    run_queue = RunQueue(gevent.get_hub().loop)
    sleeper = Event()
    began = time.monotonic()
    run_queue.wake_in_turn(sleeper)
    assert sleeper.wait(timeout=10.0)  # which would be the next thing to happen
    assert time.monotonic() - began < 5.0


def test_input_is_looked_at_between_two_users() -> None:
    run_queue = RunQueue(gevent.get_hub().loop)
    order: list[str] = []

    def user(name: str) -> None:
        run_queue.pass_through()
        order.append(name)
        # Ready at once: handled in the next turn, before the next user begins.
        gevent.sleep(0.0)
        order.append(f"{name} goes on")

    gevent.joinall([gevent.spawn(user, name) for name in "abc"], timeout=10, raise_error=True)
    assert order.index("a goes on") < order.index("c")
    assert order.index("b goes on") < len(order) - 1


def test_a_user_that_is_killed_while_waiting_does_not_stop_the_others() -> None:
    run_queue = RunQueue(gevent.get_hub().loop)
    passed: list[int] = []

    def user(number: int) -> None:
        run_queue.pass_through()
        passed.append(number)

    users = [gevent.spawn(user, number) for number in range(5)]
    gevent.sleep(0)
    users[3].kill()
    gevent.joinall(users, timeout=10)
    assert passed == [0, 1, 2, 4]


def test_one_for_each_hub() -> None:
    assert RunQueue.of(gevent.get_hub()) is RunQueue.of(gevent.get_hub())


def test_an_idle_run_queue_does_not_keep_the_loop_busy() -> None:
    run_queue = RunQueue(gevent.get_hub().loop)
    gevent.joinall([gevent.spawn(run_queue.pass_through) for _ in range(5)], timeout=10, raise_error=True)
    turns = Turns()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
        gevent.sleep(60)
    turns.stop()
    assert turns.count < 50
