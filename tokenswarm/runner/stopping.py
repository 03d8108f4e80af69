"""Telling many users that the run is over, while answers are still being read."""

from __future__ import annotations

from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING
from locust.user.users import User

from collections.abc import Iterable, Iterator

import gevent

AT_ONCE = 20
"""Users that are told in one turn of the loop, about half a millisecond: Locust starts a greenlet for each and lets all
of them run in one turn, in which nothing is read. Of a thousand users that was a pause of 30 to 50 ms."""


def tell_users(greenlets: Iterable[gevent.Greenlet]) -> None:
    """Have users stop as Locust does where there is a stop-timeout: one with a request under way ends it first. Those
    that were told before, and the one that asks, are passed over; Locust then waits for all of them, but not for users
    that are killed: it cannot tell who they are. Those are waited for here."""
    killed = []
    for told, greenlet in enumerate(_others(greenlets), 1):
        user = greenlet.args[0]
        if user._state == LOCUST_STATE_RUNNING:
            user.stop()
        else:
            user.group.killone(greenlet, block=False)
            killed.append(greenlet)
        if told % AT_ONCE == 0:
            gevent.sleep(0)
    gevent.joinall(killed)


def _others(greenlets: Iterable[gevent.Greenlet]) -> Iterator[gevent.Greenlet]:
    """Of users that are not told yet; of each when its turn has come."""
    for greenlet in list(greenlets):
        user = greenlet.args[0] if greenlet.args else None
        is_told = not isinstance(user, User) or user._state == LOCUST_STATE_STOPPING
        if not is_told and greenlet is not gevent.getcurrent():
            yield greenlet
