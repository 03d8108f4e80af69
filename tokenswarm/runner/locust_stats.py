"""Locust's own statistics in the run directory: one set for each run, where Locust alone keeps one for each process."""

from __future__ import annotations

from locust.html import get_html_report
from locust.stats import PERCENTILES_TO_REPORT, StatsCSVFileWriter

import logging
from pathlib import Path
from typing import Any

import gevent

from tokenswarm.control.run import write_locust_csvs

logger = logging.getLogger(__name__)


class LocustFiles:
    """locust_stats.csv and its sisters, written each second while the run is on, and locust.html at its end."""

    def __init__(self, environment: Any, directory: Path) -> None:
        self._environment = environment
        self._directory = directory
        self._writer: Any = None
        self._greenlet: Any = None

    def start(self) -> None:
        """Raises `OSError` when a file cannot be created."""
        prefix = str(self._directory / "locust")
        self._writer = StatsCSVFileWriter(self._environment, PERCENTILES_TO_REPORT, prefix, full_history=True)
        self._greenlet = gevent.spawn(self._writer.stats_writer)

    def finish(self) -> None:
        """Bring all files to their final state. What cannot be written is logged: rows matter more."""
        if self._greenlet is not None:
            self._greenlet.kill()
        try:
            self._writer.close_files()
            write_locust_csvs(self._environment, self._directory)
            page = get_html_report(self._environment, show_download_link=False)
            (self._directory / "locust.html").write_text(page, encoding="utf-8")
        except OSError as error:
            logger.error("Locust's statistics could not be written to %s: %s", self._directory, error)
