"""What a run is held against: its failure criteria here, or a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tokenswarm.control.capacity_search import Step
from tokenswarm.metrics.accounting import Accounting
from tokenswarm.metrics.criteria import Criterion, CriterionResult, evaluate
from tokenswarm.metrics.samples import Samples, TimeSpan
from tokenswarm.metrics.verdict import Reason, not_delivered
from tokenswarm.record import RequestRecord


class Judge(Protocol):
    """What a run is held against."""

    def observe(self, record: RequestRecord) -> None:
        """Every record of the run."""

    def stop(self) -> None:
        """The run ends: nothing further is to be offered."""

    def results(self, samples: Samples, window: TimeSpan) -> list[CriterionResult]:
        """What the criteria came to in the run's window, which may have no length."""

    def distrust(self, accounting: Accounting) -> list[Reason]:
        """Why what was offered does not carry a verdict."""

    def facts(self) -> dict[str, Any] | None:
        """The `search` part of run.json; `None` without one."""

    @property
    def step(self) -> Step | None:
        """The level of a search that is on, or that comes next; `None` without one."""


class CriteriaJudge:
    """Holds the whole run against its failure criteria."""

    step = None

    def __init__(self, criteria: Sequence[Criterion]) -> None:
        self._criteria = criteria

    def observe(self, record: RequestRecord) -> None:
        """Criteria are evaluated from the run's samples."""

    def stop(self) -> None:
        """Nothing was offered from here."""

    def results(self, samples: Samples, window: TimeSpan) -> list[CriterionResult]:
        return evaluate(self._criteria, samples, window)

    def distrust(self, accounting: Accounting) -> list[Reason]:
        return not_delivered(accounting.first_attempts, accounting.planned)

    def facts(self) -> None:
        return None
