"""What a history keeps of one run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.compare.measures import settings_of
from analysis.figures.metrics import METRICS
from analysis.findings.summarise import summarise
from analysis.findings.summary import Summary
from analysis.sources.loading import load_run
from analysis.sources.run import Run
from tokenswarm.userinput import parse_json

FIGURES = (
    ("rpm", ""),
    ("tpm", ""),
    ("error_pct", ""),
    ("throttled_pct", ""),
    ("goodput_pct", ""),
    ("ttft_ms", "p95"),
    ("tbt_ms", "p95"),
    ("e2e_ms", "p95"),
)
"""Metric and aggregation of each figure that is kept."""
FIT_FOR_TREND = frozenset({"passed", "failed", "none"})
"""Verdicts of runs whose figures can be trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One run. `test_name` as in run.json, `path` below the directory of the history, `started_at` in Unix s.

    `verdict`: that of `analysis check`, or crashed; `figures` by `figure_key`, `None` without data or with too few
    requests for the percentile. `settings`: the options it ran with, and what it talked to.
    """

    path: str
    test_name: str
    started_at: float | None
    verdict: str
    sent: int
    figures: Mapping[str, float | None]
    settings: Mapping[str, Any]

    @property
    def is_trusted(self) -> bool:
        """Whether its figures count in a trend."""
        return self.verdict in FIT_FOR_TREND


def figure_key(metric: str, aggregation: str) -> str:
    """`ttft_ms p95`, `rpm`."""
    return f"{metric} {aggregation}".strip()


def figure_title(key: str) -> str:
    """`TTFT p95`, `RPM completed`."""
    metric, _, aggregation = key.partition(" ")
    return f"{METRICS[metric].title} {aggregation}".strip()


def read_past_run(directory: Path, root: Path) -> PastRun:
    """Measure a run directory below `root`. Raises `BadInput` when it cannot be read as a run."""
    run = load_run(directory)
    name = run.setting("test_name")
    test_name = name if isinstance(name, str) and name else directory.absolute().parent.name
    return _past_run(run, summarise(run), directory.relative_to(root).as_posix(), test_name)


def _past_run(run: Run, summary: Summary, path: str, test_name: str) -> PastRun:
    return PastRun(
        path=path,
        test_name=test_name,
        started_at=run.number("started_at"),
        verdict="crashed" if run.state == "crashed" else summary.judgement.state,
        sent=summary.overall.counts.sent,
        figures={figure_key(*figure): _value(summary, *figure) for figure in FIGURES},
        settings=settings_of(run),
    )


def _value(summary: Summary, metric: str, aggregation: str) -> float | None:
    if not aggregation:
        return summary.overall.values.get(metric)
    found = summary.overall.distributions.get(metric)
    return None if found is None else found.percentile(aggregation).value


def to_text(run: PastRun) -> str:
    """A run as JSON, without its path."""
    return json.dumps({name: value for name, value in dataclasses.asdict(run).items() if name != "path"})


def from_text(path: str, text: str) -> PastRun:
    """The run that `to_text` wrote. Raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    found = parse_json(text)
    return PastRun(
        path=path,
        test_name=str(found["test_name"]),
        started_at=None if found["started_at"] is None else float(found["started_at"]),
        verdict=str(found["verdict"]),
        sent=int(found["sent"]),
        figures={str(key): None if value is None else float(value) for key, value in found["figures"].items()},
        settings=dict(found["settings"]),
    )
