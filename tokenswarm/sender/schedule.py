"""Open-loop arrivals of one process: each goes to a free user, who sends it when it is due, or is dropped when none is
free."""

from __future__ import annotations

import math
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gevent
import gevent.queue
from gevent.event import Event

from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.sender.timer import Timer
from tokenswarm.workload.arrivals import Arrival, Assignment, Plan, WorkerShare

AHEAD_S = 0.01
"""A free user gets an arrival this long before it is due and puts the request together: what that takes would else be
the least gap between two requests, and no gap of a Poisson process is too short."""
PURGE_S = 0.25
OVERTAKEN_S = 1.0
"""An arrival that had waited less than this when the run ended is no part of it: it would have been sent, or not."""
OVERTAKEN_PCT, OVERTAKEN_FEW = 1.0, 10
"""More of them, in percent of what was offered and in number, are load that was not delivered."""

STOPPED_S, HEAR_S = 0.5, 0.3
"""A process that comes back so late had been stopped. It first hears what has become of its share meanwhile."""


@dataclass(frozen=True, slots=True)
class Due:
    """An arrival and the Unix s at which it should be sent; `come` is set then."""

    arrival: Arrival
    scheduled_at: float
    come: Event = field(default_factory=Event, repr=False, compare=False)


@dataclass(slots=True)
class _Offer:
    """This process's share of one plan, whose arrivals count from Unix s `origin` on and end before `until`.
    `ahead`: those that have been put and are not due yet, in their order."""

    share: WorkerShare
    origin: float
    until: float = math.inf
    ahead: deque[Due] = field(default_factory=deque)

    def due_at(self, arrival: Arrival) -> float:
        return self.origin + arrival.due_offset_s

    def next_event_at(self) -> float:
        """Unix s at which an arrival is to be put or has come; infinite when there are no more."""
        next_s = self.share.next_due_offset_s
        due_at = math.inf if next_s is None else self.origin + next_s
        put_at = due_at - AHEAD_S if due_at < self.until else math.inf
        return min(put_at, self.ahead[0].scheduled_at) if self.ahead else put_at

    def let_come(self, until: float) -> None:
        """What is due at or before Unix s `until` may be sent."""
        while self.ahead and self.ahead[0].scheduled_at <= until:
            self.ahead.popleft().come.set()


class Schedule:
    """The arrivals that belong to this process: of one plan, or of one after another.

    `drop` takes the record of an arrival that found no user within `max_lag_s`, or none before the end; `identity`
    holds the fields that say whose record it is (worker, target, name).
    """

    def __init__(self, max_lag_s: float, drop: Callable[[RequestRecord], None], identity: dict[str, Any]) -> None:
        self._max_lag_s = max_lag_s
        self._drop = drop
        self._identity = identity
        self._waiting: gevent.queue.Queue[Due] = gevent.queue.Queue()
        self._greenlets: list[Any] = []
        self._offers: list[_Offer] = []
        self._ended_at = math.inf
        self._moment_s = OVERTAKEN_S
        self.offered = 0
        self.overtaken = 0
        """Arrivals that were due in the last moment of the run and are not counted as offered."""

    @property
    def origin(self) -> float | None:
        """Unix s from which the current plan counts; `None` before the first one."""
        return self._offers[-1].origin if self._offers else None

    def start(self, plan: Plan, origin: float, assignments: Sequence[Assignment]) -> None:
        """Offer this process's arrivals of `plan` from Unix s `origin` on; an earlier plan is over from there on, which
        must not be sooner than `AHEAD_S` from now."""
        if self._offers:
            self._offers[-1].until = origin
        else:
            self._greenlets.append(gevent.spawn(self._purge))
        self._offers.append(_Offer(WorkerShare(plan, assignments), origin))
        self._greenlets.append(gevent.spawn(self._walk, self._offers[-1]))

    def assign(self, assignment: Assignment) -> None:
        """The number of workers changes from an arrival on."""
        if self._offers:
            self._offers[-1].share.assign(assignment)

    def end_plan(self, at: float) -> None:
        """Nothing of the current plan is due from Unix s `at` on."""
        if self._offers:
            self._offers[-1].until = min(at, self._offers[-1].until)

    def take(self) -> Due:
        """Wait for the next arrival that is not too late; the caller sends it as soon as it has `come`."""
        while True:
            due: Due = self._waiting.get()
            if time.time() - due.scheduled_at <= self._max_lag_s:
                return due
            self.drop(due, self._too_late)

    def stop(self, until: float) -> None:
        """End: of the arrivals due by Unix s `until`, those that no user has taken are given up."""
        self._ended_at = until
        for greenlet in self._greenlets:
            greenlet.kill()
        self._greenlets = []
        offers, self._offers = self._offers, []
        for offer in offers:
            while (arrival := offer.share.take_due(min(until, offer.until) - offer.origin)) is not None:
                self._put(arrival, offer)
        waiting = [self._waiting.get() for _ in range(self._waiting.qsize())]
        have_come = sum(0.0 < until - due.scheduled_at < OVERTAKEN_S for due in waiting)
        if have_come > max(OVERTAKEN_FEW, self.offered * OVERTAKEN_PCT / 100.0):
            self._moment_s = 0.0
        for due in waiting:
            self.give_up(due, "the run ended before a user was free")

    def put_back(self, due: Due) -> None:
        """Another user may send an arrival that has been taken: its user is stopped, and the run goes on."""
        self._waiting.put(due)

    def give_up(self, due: Due, reason: str) -> None:
        """The run ended before an arrival was sent: it is dropped, or was never offered if it had only just come."""
        if self._ended_at - due.scheduled_at < self._moment_s:
            self.offered -= 1
            self.overtaken += due.scheduled_at < self._ended_at  # a later one was never among the planned
        else:
            self.drop(due, reason)

    def drop(self, due: Due, reason: str) -> None:
        """Record an arrival that is not sent."""
        self._drop(
            RequestRecord(
                **self._identity,
                call_id=uuid.uuid4().hex,
                scheduled_at=due.scheduled_at,
                lag_ms=max(0.0, (time.time() - due.scheduled_at) * 1000.0),
                context_tokens=due.arrival.context_tokens,
                max_tokens=due.arrival.max_tokens,
                outcome=Outcome.DROPPED,
                error=reason,
            )
        )

    @property
    def _too_late(self) -> str:
        return f"no free user within {self._max_lag_s:g} s"

    def _put(self, arrival: Arrival, offer: _Offer) -> None:
        due_at = offer.due_at(arrival)
        if due_at < offer.until:
            self.offered += 1
            due = Due(arrival, due_at)
            offer.ahead.append(due)
            self._waiting.put(due)

    def _walk(self, offer: _Offer) -> None:
        timer = Timer()
        try:
            while (event_at := offer.next_event_at()) < math.inf:
                timer.wait_until(event_at)
                if time.time() - event_at > STOPPED_S:
                    gevent.sleep(HEAR_S)
                now = max(event_at, time.time())
                offer.let_come(now)
                arrival = offer.share.take_due(now + AHEAD_S - offer.origin)
                if arrival is not None:
                    self._put(arrival, offer)
        finally:
            timer.close()

    def _purge(self) -> None:
        while True:
            gevent.sleep(PURGE_S)
            limit = time.time() - self._max_lag_s
            while not self._waiting.empty() and self._waiting.peek().scheduled_at < limit:
                self.drop(self._waiting.get(), self._too_late)
