"""Carries a capacity search out, in the process that has all rows: starts each level, waits for its answers, judges."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import gevent

from tokenswarm.config.settings import Settings
from tokenswarm.control.capacity_search import Search, SearchLevel, Step, find_breaks, find_runaway
from tokenswarm.metrics.accounting import Accounting
from tokenswarm.metrics.criteria import Criterion, CriterionResult, answers_needed, evaluate, hold_s
from tokenswarm.metrics.samples import Samples, TimeSpan
from tokenswarm.metrics.verdict import Reason, ReasonKind
from tokenswarm.record import RequestRecord
from tokenswarm.workload.arrivals import Lengths, LevelPlan

START_AFTER_S = 0.3
"""From the start of a level's plan to its first arrival: time for the workers to hear of it."""

WARM_UP_SHARE, LEAST_WARM_UP_S = 0.1, 1.0
"""Of a level of users, what is left out at its beginning: a share of `search-hold`, and at least."""

MOST_HOLDS = 10.0
"""Times `search-hold` for which a level of users is held at most, where its answers come too slowly to be judged."""

POLL_S = 0.05
COUNT_EVERY_S = 0.5

RATE_METRICS = frozenset({"tpm", "rpm", "requests_per_sec"})

logger = logging.getLogger(__name__)


class Searched(Protocol):
    """The run whose levels are judged."""

    samples: Samples
    interrupted: bool
    """Whether it was stopped from outside; known at its end."""

    @property
    def answered(self) -> int:
        """Arrivals that have come to something."""

    def await_answers(self, count: int) -> None:
        """Wait until so many arrivals have been answered, or none can come any more."""


class Crowd(Protocol):
    """The users of a closed load."""

    def want(self, users: int) -> None:
        """So many from now on; those too many finish what they are about."""

    @property
    def present(self) -> int:
        """How many there are."""

    @property
    def rows_behind_s(self) -> float:
        """How long after users are gone their last rows may come."""


class SearchDriver:
    """Judges a run by its levels. `start_level(plan, origin)` offers a level's arrivals from Unix s `origin` on; of a
    search over users, `crowd` is them. `finished(sentence)` is told the answer."""

    def __init__(
        self,
        settings: Settings,
        start_level: Callable[[LevelPlan, float], None],
        finished: Callable[[str], None],
        crowd: Crowd | None = None,
    ) -> None:
        assert settings.search is not None
        low, high, unit = settings.search
        self.search = Search(low, high, settings.search_precision_pct, unit)
        self._settings = settings
        self._start_level = start_level
        self._finished = finished
        self._crowd = crowd
        self._run: Searched | None = None
        self.step: Step | None = None
        """The level that is on; the next one while it is being prepared."""
        self._utilization: list[tuple[float, float]] = []
        self._offered = 0
        self._greenlet: Any = None

    def start(self, run: Searched) -> None:
        """Offer level after level in `run`."""
        self._run = run
        self._greenlet = gevent.spawn(self._survey, run)
        # Without it nothing would end the run.
        self._greenlet.link_exception(lambda _greenlet: self._finished("the search itself has failed: see the log"))

    def stop(self) -> None:
        """The run ends, with or without an answer."""
        if self._greenlet is not None and self._greenlet is not gevent.getcurrent():
            self._greenlet.kill(block=False)

    def observe(self, record: RequestRecord) -> None:
        """Every record of the run."""
        if record.utilization_pct is not None and record.started_at is not None:
            self._utilization.append((record.started_at, record.utilization_pct))

    def results(self, samples: Samples, window: TimeSpan | None) -> list[CriterionResult]:
        """What the run's criteria came to on the level that the verdict is about, which has its own time."""
        judged = self.search.judged
        return list(judged.results) if judged is not None else []

    def distrust(self, accounting: Accounting) -> list[Reason]:
        """Why there is no answer although no criterion failed. More is offered than can be delivered, on purpose."""
        judged = self.search.judged
        if not self.search.is_over:
            is_cut = self._run is None or not self._run.interrupted
            return [Reason(ReasonKind.SEARCH, self.search.so_far)] if is_cut else []
        if judged is None:
            return []
        failed = any(result.state != "held" for result in judged.results)
        return (
            [] if failed or judged.holds else [Reason(ReasonKind.SEARCH, f"search: {text}") for text in judged.breaks]
        )

    def facts(self) -> dict[str, Any]:
        """The `search` part of run.json."""
        return self.search.facts(self._settings.criteria)

    def _survey(self, run: Searched) -> None:
        while (step := self.search.next()) is not None:
            self.step = step
            self._utilization = []
            level = self._offer_rate(step, run) if self._crowd is None else self._offer_users(step, run, self._crowd)
            self.search.add(level)
            logger.info("Search: %s %s", step, ", ".join(level.breaks) or "holds")
        self.step = None
        sentence = self.search.sentence(self._settings.criteria)
        logger.info("Search: %s", sentence)
        self._finished(sentence)

    def _offer_rate(self, step: Step, run: Searched) -> SearchLevel:
        plan = make_plan(self._settings, step.load, self._offered)
        begin = self._next_begin()
        self.step = replace(step, begins_at=begin)
        logger.info("Search: %s (%s) for %.0f s, in %.1f s", step, step.purpose, plan.duration, begin - time.time())
        answered = run.answered
        self._start_level(plan, begin)
        gevent.sleep(begin + plan.duration - time.time())
        planned = plan.count_before(math.inf)
        self._offered += planned
        run.await_answers(answered + planned)
        return self._judge(step, (begin, begin + plan.duration), planned, run.samples)

    def _offer_users(self, step: Step, run: Searched, crowd: Crowd) -> SearchLevel:
        """Warmed up, held until there are answers enough, and drained: nobody of this level asks in the next."""
        least_s, needed = self._settings.search_hold_s, answers_needed(self._settings.criteria)
        logger.info("Search: %s (%s) for %.0f s at least", step, step.purpose, least_s)
        self._await_users(crowd, int(step.load))
        gevent.sleep(max(LEAST_WARM_UP_S, WARM_UP_SHARE * least_s))
        begin = time.time()
        gevent.sleep(least_s)
        latest = begin + MOST_HOLDS * least_s
        while run.samples.count("ok", None, (begin, time.time())) < needed and time.time() < latest:
            gevent.sleep(COUNT_EVERY_S)
        end = time.time()
        self._await_users(crowd, 0)
        gevent.sleep(crowd.rows_behind_s)
        return self._judge(step, (begin, end), None, run.samples)

    def _await_users(self, crowd: Crowd, users: int) -> None:
        crowd.want(users)
        while crowd.present != users:
            gevent.sleep(POLL_S)

    def _next_begin(self) -> float:
        """A limiter that counts per clock minute must see whole minutes of one rate."""
        soon = time.time() + START_AFTER_S
        return math.ceil(soon / 60) * 60.0 if counts_minutes(self._settings) else soon

    def _judge(self, step: Step, span: TimeSpan, planned: int | None, samples: Samples) -> SearchLevel:
        """`planned`: arrivals of an open load, whose late ones belong to the level, too."""
        begin, end = span
        until = end if planned is None else time.time()
        sent = samples.count("offered", None, (begin, until)) - samples.count("dropped", None, (begin, until))
        results = [
            evaluate([criterion], samples, (begin, end if criterion.metric in RATE_METRICS else until))[0]
            for criterion in self._settings.criteria
        ]
        breaks = find_breaks(results, planned, sent)
        runaway = find_runaway(self._utilization, begin, end)
        minutes = (end - begin) / 60
        has_tokens = samples.with_tokens(None, (begin, until)) > 0
        return SearchLevel(
            step,
            begin,
            end,
            sent if planned is None else planned,
            tuple([*breaks, runaway] if runaway else breaks),
            tuple(results),
            completed_rpm=samples.count("ok", None, (begin, until)) / minutes,
            tpm=samples.total("tokens", None, (begin, until)) / minutes if has_tokens else None,
            utilization_pct=max((percent for _, percent in self._utilization), default=None),
        )


def counts_minutes(settings: Settings) -> bool:
    """Whether the deployment has a quota per clock minute, as the scenario says."""
    return settings.quota_tpm is not None or settings.quota_rpm is not None


def make_plan(settings: Settings, rate_rpm: float, first_index: int, duration: float | None = None) -> LevelPlan:
    """The plan of a level; a worker is told the duration that the master has worked out."""
    if duration is None:
        criteria: list[Criterion] = settings.criteria
        duration = hold_s(rate_rpm, criteria, settings.search_hold_s, counts_minutes(settings))
    lengths = Lengths(settings.seed, settings.context, settings.output)
    return LevelPlan(
        settings.arrival, rate_rpm, duration, first_index, settings.seed, settings.arrival_smoothness, lengths
    )
