"""Rows of one process: to its journal on disk, and to who else wants them (the live figures, or the master).

The journal is the source of truth: rows are shipped in its order, so what a dead worker did not ship is its end.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent

from tokenswarm.record import RequestRecord
from tokenswarm.results.csv_rows import format_row, parse_rows
from tokenswarm.results.in_flight import InFlight
from tokenswarm.results.journal import Journal

FLUSH_S = 0.5
SHIP_ROWS = 500
"""Rows of one message to the master at most."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows on their way to the master, and the recorder's counters after them: calls `started` and `finished`, rows
    `made` and `written` to the journal; `problem`: why that lacks some."""

    rows: int
    text: str
    started: int
    finished: int
    made: int
    written: int
    journal: Path
    problem: str | None
    is_last: bool
    """No row waits behind it."""


Ship = Callable[[Batch], None]


class Recorder:
    """Takes each record once. `ship` sends a batch to the master (workers); `observe` sees each record (local)."""

    def __init__(
        self, worker: str, path: Path, observe: Callable[[RequestRecord], None] | None = None, ship: Ship | None = None
    ) -> None:
        self.worker = worker
        self.journal = Journal(path)
        self._observe = observe
        self._ship = ship
        self._outbox: list[str] = []
        self._greenlet: Any = None
        self._in_flight = InFlight(path)
        self.started = 0
        self.finished = 0

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return self._in_flight.count

    def start_call(self) -> None:
        """A call begins."""
        self.started += 1
        self._in_flight.count = self.started - self.finished

    def finish_call(self) -> None:
        """A call has ended, and has its rows."""
        self.finished += 1
        self._in_flight.count = self.started - self.finished

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._flush_regularly)

    def record(self, record: RequestRecord) -> None:
        text = format_row(record)
        self.journal.add(text)
        if self.journal.problem is None:
            self.journal.flush()  # row by row: a killed process then loses nothing but what is under way
        if self._observe is not None:
            self._observe(record)
        if self._ship is not None:
            self._outbox.append(text)

    def flush(self) -> None:
        """To the master, now, and to disk what a full one has refused so far."""
        self.journal.flush()
        if self._ship is None:
            return
        while True:
            lines, self._outbox = self._outbox[:SHIP_ROWS], self._outbox[SHIP_ROWS:]
            self._ship(self._batch(lines))
            if not self._outbox:
                return

    def close(self) -> None:
        """The end of the run: everything is on disk and on its way."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
            self._greenlet = None
        self.flush()
        self.journal.close()
        self._in_flight.close()

    def _batch(self, lines: list[str]) -> Batch:
        journal = self.journal
        counters = self.started, self.finished, journal.rows, journal.rows_written
        return Batch(len(lines), "".join(lines), *counters, journal.path, journal.problem, not self._outbox)

    def _flush_regularly(self) -> None:
        while True:
            gevent.sleep(FLUSH_S)
            try:
                self.flush()
            except Exception as error:  # the master may be gone; the journal has the rows
                logger.error("rows could not be shipped to the master: %s", error)


def read_journal_after(path: Path, rows: int) -> list[str]:
    """Lines of a journal after its first `rows`, whole ones only: a line that a crash has cut or spoilt is left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = text.split("\n")[:-1]  # what follows the last line end was cut off
    return [f"{line}\n" for line in lines[1 + rows :] if _is_row(line)]


def _is_row(line: str) -> bool:
    try:
        return len(parse_rows(f"{line}\n")) == 1
    except (ValueError, TypeError, csv.Error):
        return False
