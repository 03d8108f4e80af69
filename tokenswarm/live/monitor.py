"""What is known of a run while it is on, in the process that has all rows: for the web page and for the terminal.

Records flow in as the run sees them; every two seconds a point is kept for the charts. A snapshot is plain data
that goes into JSON as it is.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import gevent

from tokenswarm.control.messages import Rows
from tokenswarm.control.run import LoadRun
from tokenswarm.generator.heartbeat import HeartbeatWindow
from tokenswarm.generator.influence import Influence
from tokenswarm.live.criteria_so_far import CriteriaSoFar
from tokenswarm.live.last_minute import RECENT_S, WINDOW_S, Figures, Live, Tally, per_minute
from tokenswarm.metrics.criteria import CriterionResult
from tokenswarm.metrics.criterion_words import demand, finding, sentence
from tokenswarm.metrics.histogram import RELATIVE_ERROR
from tokenswarm.metrics.verdict import not_delivered
from tokenswarm.record import Outcome
from tokenswarm.workload.levels import USERS

TICK_S = 2.0
POINTS = 1800
"""Points kept for the charts: the last hour."""

SHIPPING_S = 1.0
"""How much later than they end rows of workers are all here."""

RECENT_WINDOWS = 500

SILENT_S = 5.0
"""A worker not heard of for so long has nothing under way that could be known."""


class Monitor:
    """The live side of one run. `local` tells of this process where it sends itself: requests under way, arrivals
    offered so far, and its heartbeat's windows."""

    def __init__(
        self,
        run: LoadRun,
        users: Callable[[], int],
        local: Callable[[], tuple[int, int | None, list[HeartbeatWindow]]] | None,
    ) -> None:
        settings = run.settings
        self.run = run
        self.live = Live(run.started_at)
        self.criteria_so_far = CriteriaSoFar(settings.criteria, run.started_at + settings.warm_up_s, settings.goodput)
        self.points: deque[dict[str, Any]] = deque(maxlen=POINTS)
        self._users = users
        self._local = local
        self._workers: dict[str, tuple[float, int, int | None]] = {}
        self._offers: deque[tuple[float, int]] = deque(maxlen=int(WINDOW_S / TICK_S) + 2)
        self._last_users = 0
        self._influence: Influence = run.influence
        self._greenlet: Any = None
        run.observers += [self.live.add, self.criteria_so_far.add]

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._tick_regularly)

    def finish(self) -> None:
        """The run is over: the figures stay as they are."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
            self._greenlet = None
        self.live.settle(self._now())
        self.tick()

    def hear(self, message: Rows) -> None:
        """Master: a worker's message has arrived."""
        self._workers[message.worker] = (time.time(), message.in_flight, message.offered)

    def tick(self) -> None:
        """Keep a point for the charts."""
        now = self._now()
        offered = self._offered()
        while self._offers and self._offers[-1][0] >= now:  # kept while the last requests were awaited
            self._offers.pop()
        if offered is not None:
            self._offers.append((now, offered))
        if self.run.ended_at is None:
            self._last_users = self._users()
        self.run.collect_stalls()
        self._influence = self.run.stalls.so_far()
        self.live.advance(self._until(now))
        while self.points and self.points[-1]["at"] >= round(now, 1):  # kept while the last requests were awaited
            self.points.pop()
        self.points.append(self._point(now))

    def snapshot(self) -> dict[str, Any]:
        """Everything that is shown of the run, as of now."""
        run, settings, now = self.run, self.run.settings, self._now()
        self.live.advance(self._until(now))
        criteria = self.criteria(now)
        return {
            "test_name": settings.test_name,
            "directory": str(run.directory),
            "started_at": run.started_at,
            "ended_at": run.ended_at,
            "at": now,
            "window_s": WINDOW_S,
            "percentile_error_pct": round(RELATIVE_ERROR * 100, 2),
            "users": self._last_users if run.ended_at is not None else self._users(),
            "in_flight": self.in_flight,
            "offered_rpm": self._offered_rpm(WINDOW_S),
            "figures": [dataclasses.asdict(figures) for figures in self.figures()],
            "counts": dataclasses.asdict(self.live.run()),
            "quota": {"tpm": settings.quota_tpm, "rpm": settings.quota_rpm, "ptu": settings.ptu},
            "service": dataclasses.asdict(self.live.service),
            "workers": [_worker(window, self._silent()) for window in self.windows],
            "criteria": [_criterion(result, run.ended_at is None) for result in criteria],
            "so_far": so_far(criteria, self.distrust(), self.live.run(), run.judge.facts() is not None),
            "verdict": _verdict(run),
            "criteria_replaced": [str(replacement) for replacement in run.replaced],
            "marks": _marks(run),
            "problems": [str(problem) for problem in run.problems],
            "stop_reason": run.stop_reason,
            "budget": self._budget(),
        }

    def figures(self) -> list[Figures]:
        """Of all requests, then of each name where there are several."""
        names = self.live.names
        return [self.live.figures(None), *(self.live.figures(name) for name in names if len(names) > 1)]

    def criteria(self, now: float) -> list[CriterionResult]:
        """The final results once there are any; until then what the criteria come to so far."""
        verdict = self.run.verdict
        return verdict.results if verdict is not None else self.criteria_so_far.read(now, self.run.samples)

    def distrust(self) -> list[str]:
        """Why the figures so far are not to be trusted: what the verdict would hold against them now."""
        silent = [
            f"{worker} has not been heard of for {silent_s:.0f} s: what it sent last may be missing"
            for worker, silent_s in self._silent().items()
        ]
        found, searches = self.run.accounting, self.run.judge.facts() is not None
        due = found.first_attempts + found.outcomes[Outcome.DROPPED]
        undelivered = [] if searches else not_delivered(found.first_attempts, due)
        return [*map(str, [*self.run.problems, *undelivered, *self._influence.reasons()]), *silent]

    def _silent(self) -> dict[str, float]:
        """Workers that are not heard of while the run is on, and for how many s."""
        if self.run.ended_at is not None:
            return {}
        now = time.time()
        return {worker: now - at for worker, (at, _, _) in self._workers.items() if now - at > SILENT_S}

    @property
    def user_count(self) -> int:
        """Users that run."""
        return self._users()

    @property
    def in_flight(self) -> int:
        """Requests under way; of workers as of their last message."""
        if self.run.ended_at is not None:
            return 0
        if self._local is not None:
            return self._local()[0]
        limit = time.time() - SILENT_S
        return sum(in_flight for heard_at, in_flight, _ in self._workers.values() if heard_at > limit)

    @property
    def windows(self) -> list[HeartbeatWindow]:
        """The last heartbeat window of each process that sends, by its name."""
        own = self._local()[2] if self._local is not None else []
        return latest_windows([*self.run.health[-RECENT_WINDOWS:], *own[-1:]])

    def _tick_regularly(self) -> None:
        while True:
            gevent.sleep(TICK_S)
            self.tick()

    def _now(self) -> float:
        ended_at = self.run.ended_at
        return time.time() if ended_at is None else ended_at

    def _until(self, now: float) -> float:
        late = self._local is None and self.run.ended_at is None
        return now - SHIPPING_S if late else now

    def _offered(self) -> int | None:
        """Arrivals offered so far; `None` in closed loop."""
        if self._local is not None:
            return self._local()[1]
        known = [offered for _, _, offered in self._workers.values() if offered is not None]
        return sum(known) if known else None

    def _offered_rpm(self, seconds: float) -> float | None:
        if not self._offers:
            return None
        at, total = self._offers[-1]
        begin = at - seconds - TICK_S / 2
        since, before = next(offer for offer in self._offers if offer[0] >= begin)
        if since == at:  # the first one: all of it has been offered since the start
            since, before = self.run.started_at, 0
        return per_minute(total - before, at - since)

    def _point(self, now: float) -> dict[str, Any]:
        recent, seconds = self.live.recent()
        figures = self.live.figures()
        windows = self.windows
        known = recent.counted > 0 or recent.ok == 0
        return {
            "at": round(now, 1),
            "ok_rpm": per_minute(recent.ok, seconds),
            "throttled_rpm": per_minute(recent.throttled, seconds),
            "failed_rpm": per_minute(recent.failed, seconds),
            "offered_rpm": self._offered_rpm(RECENT_S),
            "prompt_tpm": per_minute(recent.prompt, seconds) if known else None,
            "generated_tpm": per_minute(recent.generated, seconds) if known else None,
            "total_tpm": per_minute(recent.prompt + recent.generated, seconds) if known else None,
            "estimated_tpm": per_minute(recent.estimated, seconds),
            **{
                f"{metric}_{p}": getattr(getattr(figures, metric), p)
                for metric in ("ttft_ms", "tbt_ms", "e2e_ms")
                for p in ("p50", "p95", "p99")
            },
            "in_flight": self.in_flight,
            "users": self._last_users,
            "utilization_pct": self.live.service.utilization_pct,
            "lag_max_ms": max((window.lag_max_ms for window in windows), default=None),
            "lag_p95_ms": max((window.lag_p95_ms for window in windows), default=None),
        }

    def _budget(self) -> dict[str, Any]:
        settings, spent = self.run.settings, self.live.run()
        return {
            "tokens": spent.prompt + spent.generated if spent.counted else None,
            "max_tokens": settings.max_total_tokens,
            "requests": spent.sent,
            "max_requests": settings.max_total_requests,
            "cost": self.run.cost,
            "max_cost": settings.max_cost,
            "currency": settings.prices.currency,
        }


def latest_windows(health: list[HeartbeatWindow]) -> list[HeartbeatWindow]:
    """The last window of each worker, by its name."""
    latest = {window.worker: window for window in health}
    return [latest[worker] for worker in sorted(latest)]


def so_far(
    results: Sequence[CriterionResult], distrust: Sequence[str], counts: Tally, searches: bool
) -> dict[str, Any]:
    """What the run would come to if it ended now. `state`: untrusted, searching, failing, waiting (nothing has ended
    yet), undecided (a criterion has no data), holding, or none (no criteria); `reasons` in words."""
    failing = [sentence(result, "is") for result in results if result.state == "failed"]
    open_ones = [sentence(result, "is") for result in results if result.state == "no_data"]
    if distrust:
        return {"state": "untrusted", "reasons": [*distrust, *failing]}
    if searches:
        return {"state": "searching", "reasons": []}
    if counts.sent and not counts.ok:
        failing.insert(0, f"no request has been answered, {counts.sent} have ended")
    if failing:
        return {"state": "failing", "reasons": failing}
    if not counts.sent:
        return {"state": "waiting", "reasons": []}
    if open_ones:
        return {"state": "undecided", "reasons": open_ones}
    return {"state": "holding" if results else "none", "reasons": []}


def _criterion(result: CriterionResult, is_on: bool) -> dict[str, Any]:
    criterion, verb = result.criterion, "is" if is_on else "was"
    return {
        **result.facts(),
        "sentence": sentence(result, verb),
        "words": demand(criterion) + ("" if result.value is None else f", {finding(result, verb)}"),
        "metric": criterion.metric,
        "aggregation": criterion.aggregation,
        "name": criterion.name,
        "operator": criterion.operator,
        "threshold": criterion.threshold,
    }


def _marks(run: LoadRun) -> list[dict[str, Any]]:
    """Instants at which what was asked for changed: by hand, or by a search."""
    search = run.judge.facts() or {}
    of_rates = search.get("levels", []) if search.get("unit") != USERS else []
    levels = [(level["begin"], level["load"]) for level in of_rates]
    return [{"at": at, "rate_rpm": rate_rpm} for at, rate_rpm in sorted([*run.rate_changes, *levels])]


def _worker(window: HeartbeatWindow, silent: dict[str, float]) -> dict[str, Any]:
    return {
        "silent_s": silent.get(window.worker),
        "worker": window.worker,
        "lag_p95_ms": window.lag_p95_ms,
        "lag_max_ms": window.lag_max_ms,
        "cpu_pct": window.cpu_pct,
        "late": window.is_late,
        "at": window.ended_at,
    }


def _verdict(run: LoadRun) -> dict[str, Any] | None:
    return None if run.verdict is None else run.verdict.facts()
