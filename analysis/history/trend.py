"""The history of one test: its runs, and the figures that change for good."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.compare.comparison import NOT_COMPARED
from analysis.history.change_points import ChangePoint, find_change_points
from analysis.history.past_run import FIGURES, PastRun, figure_key


@dataclass(frozen=True, slots=True)
class Change:
    """A figure that changed for good with `run`. `options`: those that differ from the run before, as sentences."""

    key: str
    point: ChangePoint
    run: PastRun
    options: Sequence[str]


@dataclass(frozen=True, slots=True)
class TestHistory:
    """Runs of one test in the order of their start, and their changes in the same order."""

    test_name: str
    runs: Sequence[PastRun]
    changes: Sequence[Change]

    @property
    def trusted(self) -> list[PastRun]:
        """The runs whose figures count in a trend."""
        return [run for run in self.runs if run.is_trusted]


def histories(runs: Sequence[PastRun]) -> list[TestHistory]:
    """One for each test, by name."""
    names = sorted({run.test_name for run in runs})
    return [history_of(name, [run for run in runs if run.test_name == name]) for name in names]


def history_of(test_name: str, runs: Sequence[PastRun]) -> TestHistory:
    """The history of one test. Runs that are not to be trusted are listed, and left out of the trend."""
    trusted = [run for run in runs if run.is_trusted]
    changes = [change for figure in FIGURES for change in _changes(figure_key(*figure), trusted)]
    return TestHistory(test_name, runs, sorted(changes, key=lambda change: trusted.index(change.run)))


def _changes(key: str, runs: Sequence[PastRun]) -> list[Change]:
    known = [(run, value) for run in runs if (value := run.figures.get(key)) is not None]
    points = find_change_points(np.array([value for _, value in known], dtype=np.float64))
    return [
        Change(key, point, known[point.index][0], differing_options(known[point.index - 1][0], known[point.index][0]))
        for point in points
    ]


def differing_options(before: PastRun, after: PastRun) -> list[str]:
    """`rate 4 -> 50`: a change that came with one of these may not be the service's."""
    keys = sorted((set(before.settings) | set(after.settings)) - NOT_COMPARED)
    pairs = [(key, before.settings.get(key), after.settings.get(key)) for key in keys]
    return [f"{key} {_shown(old)} -> {_shown(new)}" for key, old, new in pairs if old != new]


def _shown(value: object) -> str:
    return "none" if value in (None, "") else value if isinstance(value, str) else json.dumps(value, default=str)
