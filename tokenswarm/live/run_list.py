"""The runs of one process as its page lists them: directories, reports, comparisons with the run before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenswarm.live.report_job import COMPARISON, AnalysisJob, compare_runs, report_run
from tokenswarm.userinput import BadInput

SERVED = (
    "report.html",
    COMPARISON,
    "requests.csv",
    "run.json",
    "locust.html",
    "summary.csv",
    "minutes.csv",
    "report.md",
)
"""Files of a run that the page links to; nothing else is served."""


@dataclass(slots=True)
class EndedRun:
    """A run that has ended. `previous`: the run it can be compared with; `comparison`: once that was asked for."""

    directory: Path
    report: AnalysisJob
    previous: Path | None
    comparison: AnalysisJob | None = None


class RunList:
    """Runs in the order in which they started, counted from 1."""

    def __init__(self) -> None:
        self._ended: list[EndedRun] = []

    def add(self, directory: Path) -> None:
        """A run has ended: make its report."""
        previous = find_previous(directory, [run.directory for run in self._ended])
        run = EndedRun(directory, report_run(directory), previous)
        self._ended.append(run)
        run.report.start()

    def compare(self, number: int) -> None:
        """Compare a run with the one before it. Raises `BadInput` where there is none."""
        run = self._ended[number - 1] if 1 <= number <= len(self._ended) else None
        if run is None or run.previous is None:
            raise BadInput([f"comparison: expected a run with another one before it, got run {number}"])
        if run.comparison is None or run.comparison.state == "failed":
            run.comparison = compare_runs(run.previous, run.directory)
            run.comparison.start()

    def directories(self, current: Path | None) -> list[Path]:
        """Of all runs; `current` is that of the run that is on."""
        return [*(run.directory for run in self._ended), *([current] if current is not None else [])]

    def describe(self, current: Path | None) -> list[dict[str, Any]]:
        """For the live page."""
        runs: Sequence[EndedRun | None] = [*self._ended, None]
        return [
            _describe(number, directory, run)
            for number, (directory, run) in enumerate(zip(self.directories(current), runs, strict=False), start=1)
        ]


def find_previous(directory: Path, earlier: Sequence[Path]) -> Path | None:
    """The run of the same test before this one, else the last of `earlier`; `None` without either."""
    same_test = [
        other for other in directory.parent.iterdir() if other.name < directory.name and (other / "run.json").is_file()
    ]
    return max(same_test, default=None) or (earlier[-1] if earlier else None)


def _describe(number: int, directory: Path, run: EndedRun | None) -> dict[str, Any]:
    comparison = run.comparison if run is not None else None
    return {
        "number": number,
        "name": _name(directory),
        "report": run.report.state if run is not None else None,
        "problem": run.report.problem if run is not None else "",
        "previous": _name(run.previous) if run is not None and run.previous is not None else None,
        "comparison": comparison.state if comparison is not None else None,
        "comparison_problem": comparison.problem if comparison is not None else "",
        "files": [name for name in SERVED if (directory / name).is_file()],
    }


def _name(directory: Path) -> str:
    return f"{directory.parent.name}/{directory.name}"
