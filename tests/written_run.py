"""A run of known rows in a directory, written by the code that writes real ones, without a process or a target."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.control.judge import CriteriaJudge
from tokenswarm.control.run import LoadRun
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.results.csv_rows import format_row
from tokenswarm.results.journal import Journal

CRITERIA = "percentage(error) > 1"


class Written:
    """A local run of some answered requests, up to its end."""

    def __init__(self, results: Path, **options: str) -> None:
        given = {"host": "http://localhost:1/v1", "api": "openai", "deployment": "m", "failure_criteria": CRITERIA}
        options = {**given, "results_dir": str(results), **options}
        settings = build_settings(options, Environment({}, {}), {"chat"})
        self.run = LoadRun(settings, options, None, 1, CriteriaJudge(settings.criteria), lambda _reason: None)
        self.run.open()
        self.journal = Journal(self.run.directory / "requests.csv")
        self.run.begin()

    def answer(self, count: int = 5, **fields: Any) -> Written:
        for number in range(count):
            record = RequestRecord(**{
                "call_id": f"c{number}", "outcome": Outcome.OK, "status": 200, "name": "chat", "worker": "local",
                "started_at": time.time(), "ttft_ms": 5.0, "e2e_ms": 9.0, **fields,
            })  # fmt: skip
            self.run.observe(record)
            self.journal.add(format_row(record))
        return self

    def verdict(self, spoil: Callable[[Path], None] = lambda _directory: None) -> tuple[str, int, str]:
        """State, exit code and reasons of a run whose directory was spoilt before its end."""
        self.journal.flush()
        spoil(self.run.directory)
        self.journal.close()
        self.run.written = self.journal.written
        verdict = self.run.finish(time.time(), None, [], interrupted=False)
        return verdict.state, int(verdict.exit_code), "; ".join(map(str, verdict.reasons))
