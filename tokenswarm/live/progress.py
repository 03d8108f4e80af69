"""How far a run has come, and what it asks for now: level, rate, seconds left. No clock, no socket."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenswarm.config.settings import Settings
from tokenswarm.control.capacity_search import Step
from tokenswarm.workload.arrivals import RatePlan
from tokenswarm.workload.levels import RPM
from tokenswarm.workload.stages import Stages


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The course of one run. Instants are Unix s.

    `begun_at`: when the load began, as far as known; `run_time_s`: `None` without a limit; `rate_changes`: rates set by
    hand and the instants from which they hold; `step`: the level of a search that is on.
    """

    settings: Settings
    begun_at: float
    run_time_s: float | None
    rate_changes: Sequence[tuple[float, float]] = ()
    step: Step | None = None

    @property
    def duration_s(self) -> float | None:
        """Seconds from the beginning after which the run ends by itself; `None` when nothing but a stop ends it."""
        plan, shape = self.settings.plan, self.settings.shape
        ends = [float(self.run_time_s)] if self.run_time_s else []
        if plan is not None and plan.duration_s is not None and not self.rate_changes:
            ends.append(plan.duration_s)
        if shape is not None and math.isfinite(shape.duration_s):
            ends.append(shape.duration_s)
        return min(ends, default=None)

    def rate_rpm(self, now: float) -> float | None:
        """Requests per minute asked for at Unix s `now`; `None` where users or a trace decide."""
        if self.step is not None:
            waits = self.step.begins_at is not None and now < self.step.begins_at
            return (0.0 if waits else self.step.load) if self.step.unit == RPM else None
        changed = [rate for at, rate in self.rate_changes if at <= now]
        if changed:
            return changed[-1]
        plan = self.settings.plan
        if not isinstance(plan, RatePlan):
            return None
        return plan.rate.value(now - self.begun_at) if isinstance(plan.rate, Stages) else plan.rate

    def level(self, now: float) -> str:
        """Where the run is in its stages or its search; empty where it has neither."""
        if self.step is not None:
            wait_s = max(0.0, (self.step.begins_at or now) - now)
            return f"search, {self.step.purpose}: {self.step}" + (f", begins in {wait_s:.0f} s" if wait_s else "")
        plan = self.settings.plan
        staged = plan.rate if isinstance(plan, RatePlan) else self.settings.shape
        if not isinstance(staged, Stages) or any(at <= now for at, _ in self.rate_changes):
            return ""
        return f"stage {staged.position(now - self.begun_at)} of {len(staged.stages)}"

    def facts(self, now: float) -> dict[str, Any]:
        """For the live page."""
        elapsed_s, duration_s = max(0.0, now - self.begun_at), self.duration_s
        return {
            "elapsed_s": elapsed_s,
            "duration_s": duration_s,
            "left_s": None if duration_s is None else max(0.0, duration_s - elapsed_s),
            "rate_rpm": self.rate_rpm(now),
            "level": self.level(now),
        }
