"""Locust's own statistics in the run directory: one set for each run, where Locust alone keeps one for each process."""

from __future__ import annotations

from locust.html import get_html_report
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV, StatsCSVFileWriter

import csv
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent

from tokenswarm.metrics.verdict import ReasonKind
from tokenswarm.redaction import SECRETS, Redacted
from tokenswarm.userinput import counted

if TYPE_CHECKING:
    from locust.env import Environment

    from tokenswarm.control.run import LoadRun

logger = logging.getLogger(__name__)


def note_unseen(environment: Environment, run: LoadRun, rows_are_whole: bool) -> None:
    """Note in a run, before its verdict, what Locust knows to have gone wrong and no row tells: tasks of the locustfile
    that raised, and failures of users that are not ours (`rows_are_whole`: what has no row may be lost otherwise)."""
    runner, total, rows = environment.runner, environment.stats.total, run.accounting
    assert runner is not None
    if raised := list(runner.exceptions.values()):
        times = counted(sum(each["count"] for each in raised), "exception")
        run.note_problem(f"tasks of the locustfile raised {times}: {raised[0]['msg']:.200}", ReasonKind.OTHER)
    if not rows_are_whole:
        return
    requests, failures = total.num_requests - rows.rows, total.num_failures - rows.not_ok
    if failures > 0:
        text = f"{counted(failures, 'request')} of users that are not Tokenswarm's failed: no criterion has seen that"
        run.note_problem(text, ReasonKind.OTHER)
    elif requests > 0:
        logger.warning("%s of users that are not Tokenswarm's: not in its figures", counted(requests, "request"))


class LocustFiles:
    """locust_stats.csv and its sisters, written each second while the run is on, and locust.html at its end.

    Raises `OSError` when a file cannot be created."""

    def __init__(self, environment: Environment, directory: Path) -> None:
        self._environment = environment
        self._directory = directory
        prefix = str(directory / "locust")
        self._writer: Any = StatsCSVFileWriter(environment, PERCENTILES_TO_REPORT, prefix, full_history=True)
        self._greenlet: Any = gevent.spawn(self._writer.stats_writer)

    def finish(self) -> None:
        """Bring all files to their final state. What cannot be written is logged: rows matter more."""
        self._greenlet.kill()
        try:
            self._writer.close_files()
            self._write_csvs()
            page = get_html_report(self._environment, show_download_link=False)
            (self._directory / "locust.html").write_text(SECRETS.hide(page), encoding="utf-8")
        except OSError as error:
            logger.error("Locust's statistics could not be written to %s: %s", self._directory, error)

    def _write_csvs(self) -> None:
        """Locust's tables at their final state. Raises `OSError`."""
        statistics = StatsCSV(self._environment, PERCENTILES_TO_REPORT)
        for name, write in (
            ("stats", statistics.requests_csv),
            ("failures", statistics.failures_csv),
            ("exceptions", statistics.exceptions_csv),
        ):
            with open(self._directory / f"locust_{name}.csv", "w", encoding="utf-8", newline="") as file:
                write(csv.writer(Redacted(file)))
