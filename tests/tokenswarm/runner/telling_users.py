"""Run by `test_stopping`: prints what became of users who were told that the run is over."""

from __future__ import annotations

from locust import User, constant, task
from locust.env import Environment
from locust.user.task import LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING

import json
from itertools import pairwise
from typing import Any

import gevent
from gevent.event import Event

from tokenswarm.runner.stopping import tell_users

USERS = 60
ANSWERED, DONE, ENDED = Event(), [], []


class Busy(User):
    wait_time = constant(0)

    @task
    def ask(self) -> None:
        ANSWERED.wait()
        DONE.append(self)


class Thinking(User):
    fixed_count = 1
    wait_time = constant(3600)

    @task
    def pass_by(self) -> None: ...

    def on_stop(self) -> None:
        gevent.sleep(0.05)
        ENDED.append(self)


def main() -> dict[str, Any]:
    runner = Environment(user_classes=[Busy, Thinking], stop_timeout=60).create_local_runner()
    runner.start(USERS + 1, spawn_rate=100)
    runner.spawning_greenlet.join()
    users = [greenlet.args[0] for greenlet in runner.user_greenlets]
    while not any(user._state == LOCUST_STATE_WAITING for user in users):
        gevent.sleep(0.01)
    told: list[int] = []

    def count() -> None:
        while True:
            told.append(sum(user._state == LOCUST_STATE_STOPPING for user in users))
            gevent.sleep(0)

    counting = gevent.spawn(count)
    tell_users(runner.user_greenlets)
    ended = len(ENDED)
    counting.kill()
    states = [greenlet.args[0]._state for greenlet in runner.user_greenlets]
    tell_users(runner.user_greenlets)  # once more: nobody is told twice, which Locust would refuse
    ANSWERED.set()
    runner.quit()
    in_a_turn = max(after - before for before, after in pairwise([0, *told, states.count(LOCUST_STATE_STOPPING)]))
    return {"left": len(states), "told in a turn": in_a_turn, "done": len(DONE), "ended": ended}


print(json.dumps(main()))
