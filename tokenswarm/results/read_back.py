"""Whether what a run wrote is there at its end: the same directory, the same file, and in it what was measured.

A verdict is about rows that somebody can look at: they are read from the disk before it is given.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import gevent

from tokenswarm.metrics.accounting import Accounting
from tokenswarm.record import COLUMNS, Outcome, SessionEnd
from tokenswarm.results.csv_rows import HEADER
from tokenswarm.results.journal import WrittenBytes

_OUTCOME, _ATTEMPT, _RESENT, _STEP, _SESSION_END = (
    COLUMNS.index(name) for name in ("outcome", "attempt", "resent", "step", "session_end")
)
_ENDS: dict[str, SessionEnd | None] = {"": None, **{str(end): end for end in SessionEnd}}
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}
YIELD_EVERY = 2000
"""Rows after which others may run: a long file takes seconds to read."""


class WrittenFiles:
    """A run's directory and its requests.csv, as they were at its start. Raises `OSError` when they are not there."""

    def __init__(self, directory: Path) -> None:
        self.rows_path = directory / "requests.csv"
        self._directory = directory
        self._identities = {path: _identity(path) for path in (directory, self.rows_path)}

    def read_back(self, expected: WrittenBytes | None = None) -> tuple[Accounting, list[str]]:
        """What the rows on disk come to, and what is wrong with them. `expected`: what this process wrote there."""
        found, on_disk = Accounting(), WrittenBytes()
        try:
            if problem := self._replaced():
                return found, [problem]
            problems = list(_count(self.rows_path, found, on_disk))
            if expected is not None and on_disk != expected and not problems:
                problems.append(f"{self.rows_path.name} is not what was written: somebody else has changed it")
            return found, problems
        except OSError as error:
            return found, [f"{self.rows_path.name} cannot be read at the end of the run: {error.strerror or error}"]

    def _replaced(self) -> str | None:
        for path, identity in self._identities.items():
            what = "the run directory" if path == self._directory else path.name
            if not path.exists():
                return f"{what} is gone: removed or renamed while the run was on"
            if _identity(path) != identity:
                return f"{what} is another one than at the start: replaced while the run was on"
        return None


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _count(path: Path, found: Accounting, on_disk: WrittenBytes) -> Iterator[str]:
    """Count the rows of a file, and its bytes; yields what is wrong with it. Raises `OSError`."""
    unreadable = 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            on_disk.add(line)
            if number % YIELD_EVERY == 0:
                gevent.sleep(0)
            text = line.decode("utf-8", "replace")
            if number == 0 and text == HEADER:
                continue
            if number == 0:
                yield f"{path.name} does not begin with its header any more: cut or overwritten while the run was on"
            unreadable += not _count_line(text, found)
    if unreadable:
        yield f"{path.name} has {unreadable} {'line that is no row' if unreadable == 1 else 'lines that are no rows'}"


def _count_line(line: str, found: Accounting) -> bool:
    cells = next(csv.reader([line]), [])
    if not line.endswith("\n") or len(cells) != len(COLUMNS):
        return False
    outcome, attempt, resent = _OUTCOMES.get(cells[_OUTCOME]), cells[_ATTEMPT], cells[_RESENT] or "0"
    step, end = cells[_STEP], cells[_SESSION_END]
    if outcome is None or not attempt.isdigit() or not resent.isdigit() or end not in _ENDS:
        return False
    found.count(outcome, attempt == "1" and step in ("", "1"), int(resent), step == "1", _ENDS[end])
    return True
