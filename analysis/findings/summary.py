"""All figures of one run, as plain data: what every report, export and comparison is made from.

`summarise.summarise(run)` is the only way to make one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.accounting import AccountingCheck
from analysis.figures.sessions import SessionFigures
from analysis.figures.window import Window
from analysis.findings.correctness import LoadLevel
from analysis.findings.cost import Cost
from analysis.findings.load_curve import LoadCurve
from analysis.findings.quota import QuotaTruth
from analysis.findings.routes import Spillover
from analysis.findings.verdict import Judgement
from analysis.statistics import Distribution, Group

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Figures of one run. `window` is `None` when nothing can be measured; `minutes` has one row per clock minute
    (see `analysis.figures.minutes`); `warnings` say what makes the figures doubtful; `left_out` counts the rows outside
    the window."""

    label: str
    path: str
    source: str
    state: str
    window: Window | None
    left_out: int
    overall: Group
    by_name: Mapping[str, Group] = field(default_factory=dict)
    by_turn: Mapping[str, Group] = field(default_factory=dict)
    sessions: SessionFigures | None = None
    by_route: Mapping[str, Group] = field(default_factory=dict)
    """By what served a request: deployment or backend, region, service tier; empty where all were served alike."""
    by_target: Mapping[str, Group] = field(default_factory=dict)
    """By which of several targets was asked; empty where there was one."""
    spillover: Spillover | None = None
    by_load: Sequence[LoadLevel] = ()
    """Right and wrong answers by how many requests were in progress; empty where none was judged."""
    same_answer_pct: float | None = None
    cost: Cost | None = None
    curve: LoadCurve | None = None
    """Latency, throughput and cost over load; `None` where one load was offered."""
    by_stage: Mapping[str, Distribution] = field(default_factory=dict)
    minutes: pd.DataFrame
    accounting: AccountingCheck
    quota: QuotaTruth | None = None
    judgement: Judgement
    delivery: Mapping[str, Any] = field(default_factory=dict)
    generator: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    blind_spots: Sequence[str] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    skipped_lines: int = 0
    answer_doubts: Mapping[str, int] = field(default_factory=dict)
    """Rows by what is doubtful about their answers (`tokenswarm.record.Doubt`)."""
    end_notes: Mapping[str, int] = field(default_factory=dict)
    models: Mapping[str, int] = field(default_factory=dict)
    """Rows by the model that the answer says it is of."""
    schema_version: int = SCHEMA_VERSION

    def self_check(self, key: str) -> list[str]:
        """What the generator's machines said of themselves: lines of `self_checks` or of `beyond_self_check`."""
        lines = self.generator.get(key)
        return [str(line) for line in lines] if isinstance(lines, list) else []

    def as_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`: no NaN, tables as lists of objects."""
        plain: dict[str, Any] = _plain(self)
        if self.window is not None:
            plain["window"]["length_s"] = self.window.length_s
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return [_plain(row) for row in value.to_dict("records")]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if value is pd.NA or value is pd.NaT else value
