"""The open load of one run, in the process that judges it: which plan is offered from when on, through whom."""

from __future__ import annotations

import logging
import math
import time

import gevent

from tokenswarm.control.run import LoadRun
from tokenswarm.control.search_driver import SearchDriver, make_plan
from tokenswarm.control.workers import Workers
from tokenswarm.runner.run_part import RunPart
from tokenswarm.sender.schedule import AHEAD_S
from tokenswarm.userinput import BadInput
from tokenswarm.workload.arrivals import Assignment, LevelPlan, Plan, RatePlan

MARGIN_S = 0.1
WAIT_S = 0.05
JUST_BEFORE_S = 1e-6
"""An arrival that is due when the run time is up is none of the run, however the sum of two instants is rounded."""

START_AFTER_S = 0.3
"""From "all users are there" to the first arrival of an open plan: time for the workers to hear of it."""

CHANGE_AFTER_S = 1.0
"""From a change of the rate to its first arrival with workers: none may offer the old plan beyond it unknowingly."""

BEGINS_WITHIN_S = 20.0
"""How long beyond the run time an open load may take to begin, when workers are slow to report their users."""

NO_END_S = 1e8
"""Of a rate that holds until the run ends."""

logger = logging.getLogger(__name__)


class OpenLoad:
    """Of the run that `part` takes part in. `workers`: through whom it is offered, `None` where this process sends its
    own share, `assignment`. `search`: what decides the rates of a capacity search."""

    def __init__(self, part: RunPart, workers: Workers | None, assignment: Assignment) -> None:
        self._part = part
        self._workers = workers
        self._assignment = assignment
        settings = part.settings
        self.search = SearchDriver(settings, self._start_level, self._end_search) if settings.search else None

    def begin(self) -> None:
        """All users are there: the first plan, or the search, begins."""
        part = self._part
        if self._workers is not None:
            self._workers.await_users()
        if part.run is None or part.ended_at is not None:
            return  # stopped meanwhile
        part.origin = time.time() + START_AFTER_S
        if self.search is not None:
            self.search.start(part.run)
        elif (plan := part.settings.plan) is not None:
            self._start_plan(plan, part.origin)
            if plan.duration_s is not None:
                ends_at = part.origin + plan.duration_s
                gevent.spawn_later(ends_at - time.time() + MARGIN_S, self._end_with_plan, ends_at)

    def last(self, run_time_s: float) -> float | None:
        """Wait until the load has lasted for `run_time_s` from its first due instant, or the run ends otherwise: Locust
        counts from its own start, before users are there. Unix s of the end; `None` where no load has begun."""
        part = self._part
        deadline = time.monotonic() + BEGINS_WITHIN_S
        while part.origin is None and part.ended_at is None and time.monotonic() < deadline:
            gevent.sleep(WAIT_S)
        if part.origin is None or part.ended_at is not None:
            return None
        ends_at = part.origin + run_time_s - JUST_BEFORE_S
        self._offer_until(ends_at)
        while part.ended_at is None and (left_s := ends_at - time.time()) > 0:
            gevent.sleep(min(WAIT_S, left_s))
        return ends_at

    def _offer_until(self, ends_at: float) -> None:
        """No arrival is due from Unix s `ends_at` on, as everybody who sends any hears before."""
        if self._workers is not None:
            self._workers.end_plan(ends_at)
        elif self._part.schedule is not None:
            self._part.schedule.end_plan(ends_at)

    def change_rate(self, rate_rpm: float) -> float:
        """Offer another rate from now on, whatever was planned; returns the Unix s from which it holds.

        Raises `BadInput` when no open load is on, or one whose rate is not ours to choose.
        """
        part = self._part
        if part.run is None or part.origin is None:
            raise BadInput(["rate: expected a running load test with an open load, got none"])
        if self.search is not None or not isinstance(part.settings.plan, RatePlan | LevelPlan):
            raise BadInput(["rate: expected a load of rate or rate-stages; a search or a trace chooses its own"])
        after_s = CHANGE_AFTER_S if self._workers is not None else AHEAD_S
        origin = max(time.time() + after_s, part.origin)
        self._start_level(make_plan(part.settings, rate_rpm, self.planned(origin), NO_END_S), origin)
        part.run.rate_changes.append((origin, rate_rpm))
        logger.info("The rate is %g requests per minute from now on", rate_rpm)
        return origin

    def planned(self, until: float) -> int:
        """Arrivals that were due by Unix s `until`."""
        if self._workers is not None:
            return self._workers.planned(until)
        return self._part.schedule.offered if self._part.schedule is not None else 0

    def _start_plan(self, plan: Plan, origin: float, level: list[float] | None = None) -> None:
        """Offer a plan's arrivals from Unix s `origin` on, through the workers where there are any."""
        if self._workers is not None:
            self._workers.start_plan(plan, origin, level)
        elif self._part.schedule is not None:
            self._part.schedule.start(plan, origin, [self._assignment])

    def _start_level(self, plan: LevelPlan, origin: float) -> None:
        self._start_plan(plan, origin, [plan.rate_rpm, plan.first_index, plan.duration])

    def _end_with_plan(self, ends_at: float) -> None:
        """Stages and traces are over one day: the run is, too, with the last answer."""
        run = self._part.run
        if run is None or run.rate_changes:
            return
        run.await_answers(self.planned(math.nextafter(ends_at, math.inf)))
        if run.ended_at is None and not run.rate_changes and run.stop_reason is None:
            run.end("the plan is over")

    def _end_search(self, sentence: str) -> None:
        end_search(self._part.run, sentence)


def end_search(run: LoadRun | None, sentence: str) -> None:
    """A search has its answer: that is a run's end in order, and nothing to warn of."""
    if run is not None:
        run.end(f"capacity search finished: {sentence}", logging.INFO)
