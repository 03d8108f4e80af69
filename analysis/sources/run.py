"""A run, read and typed: its requests, what was configured, and what its source cannot tell (`loading` makes one)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.sources.columns import empty_stages
from analysis.sources.rows import empty_rows
from analysis.statistics import Group

TOKENSWARM = "tokenswarm"


@dataclass(frozen=True, slots=True)
class Given:
    """Figures of a source that has no rows, only its own aggregates. Times are Unix s."""

    overall: Group
    by_name: Mapping[str, Group] = field(default_factory=dict)
    minutes: pd.DataFrame | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run, read and typed.

    `rows` is the table of `analysis.sources.rows`; `stages` has the server-side stage times, one row per stage and
    request (`row` is the position in `rows`). `given` is set instead of rows for a source that only has aggregates.
    `notes` say what was missing or repaired; `blind_spots` what this kind of source can never tell. `skipped_lines`
    counts the lines that could not be read, a last one cut by a crash included.
    """

    path: Path
    label: str
    source: str = TOKENSWARM
    meta: Mapping[str, Any] = field(default_factory=dict)
    rows: pd.DataFrame = field(default_factory=empty_rows)
    stages: pd.DataFrame = field(default_factory=empty_stages)
    given: Given | None = None
    blind_spots: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped_lines: int = 0
    altered: str = ""
    """Why its rows are not those of one run as it wrote them; empty where they are, or where that cannot be told."""

    def setting(self, *keys: str) -> Any:
        """A value of run.json by its path of keys; `None` when any part of it is missing."""
        value: Any = self.meta
        for key in keys:
            if not isinstance(value, Mapping):
                return None
            value = value.get(key)
        return value

    def number(self, *keys: str) -> float | None:
        """A number of run.json; `None` when it is missing or something else."""
        value = self.setting(*keys)
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            return None
        return float(value)

    @property
    def state(self) -> str:
        """finished, interrupted, crashed (no word of an orderly end), or recovered (after a crash)."""
        if self.source != TOKENSWARM:
            return "finished"
        if self.setting("recovered") is not None:
            return "recovered"
        state = self.setting("state")
        return state if state in ("finished", "interrupted") else "crashed"


COUNTS = ("offered", "started", "completed", "failed", "throttled", "cancelled", "aborted", "dropped")
TOKENS = ("tokens_prompt", "tokens_generated", "tokens", "tokens_estimated")
LATENCIES = ("ttft_ms", "tbt_ms", "e2e_ms")
PERCENTS = (50.0, 95.0)
COLUMNS = (
    "minute",
    "full",
    *COUNTS,
    *TOKENS,
    *(f"{name}_p{percent:g}" for name in LATENCIES for percent in PERCENTS),
    "utilization_pct_avg",
)
"""`minute`: Unix s of its start. `full`: it lies wholly in the window. Offered by due instant; started, failed,
throttled, cancelled, aborted, latencies and estimated tokens by start; completed and used tokens by end; NaN for
unknown."""
MINUTE_S = 60
