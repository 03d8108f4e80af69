"""Answers that stop well short of the length that was asked for: the load is then lighter than it looks."""

from __future__ import annotations

from typing import Any

from tokenswarm.record import Outcome, RequestRecord

MIN_ROWS = 20
MIN_SHARE = 0.9


class AnswerLengths:
    """Counts answers that ended by themselves, before `max_tokens`."""

    def __init__(self) -> None:
        self.rows = 0
        self._completion = 0
        self._asked = 0

    def add(self, record: RequestRecord) -> None:
        if record.outcome is not Outcome.OK or record.finish_reason == "length":
            return
        if record.completion_tokens is None or record.max_tokens is None:
            return
        self.rows += 1
        self._completion += record.completion_tokens
        self._asked += record.max_tokens

    @property
    def share(self) -> float | None:
        """Tokens received as a share of those asked for; `None` while too few answers tell."""
        return self._completion / self._asked if self.rows >= MIN_ROWS and self._asked else None

    def describe(self) -> str | None:
        """A warning; `None` when lengths are near what was asked for, or unknown."""
        share = self.share
        if share is None or share >= MIN_SHARE:
            return None
        return (
            f"Answers are shorter than asked for: {self._completion / self.rows:.0f} tokens on average instead of "
            f"{self._asked / self.rows:.0f} ({100 * share:.0f} %, {self.rows} answers that ended by themselves)"
        )

    def facts(self) -> dict[str, Any] | None:
        """The `length_shortfall` part of run.json; `None` while too few answers tell."""
        if self.share is None:
            return None
        return {
            "rows": self.rows,
            "mean_completion_tokens": self._completion / self.rows,
            "mean_max_tokens": self._asked / self.rows,
            "share_pct": 100 * self.share,
        }
