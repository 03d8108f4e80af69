"""An SQLite file with what is known of the runs below a directory, so that listing them reads none of their rows.

It holds nothing that the run directories do not: delete it, and the next history makes it again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from analysis.history.past_run import PastRun, from_text, to_text
from tokenswarm.userinput import BadInput

FILE_NAME = "history.sqlite"
APPLICATION_ID = 0x544B5357
"""Marks the file as ours in the place that SQLite has for it."""
CACHE_VERSION = 1
_WAIT_S = 10.0


def open_cache(path: Path) -> sqlite3.Connection:
    """The cache at `path`, made when there is none. Raises `BadInput` for a file that is not ours or is damaged."""
    existed = path.is_file() and path.stat().st_size > 0
    try:
        connection = sqlite3.connect(path, timeout=_WAIT_S)
        if existed:
            _check(connection, path)
        else:
            _make(connection)
    except sqlite3.Error as error:
        raise BadInput([f"{_expected(path)}, got {error}"]) from error
    return connection


def _make(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {CACHE_VERSION}")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS runs (path TEXT PRIMARY KEY, files TEXT NOT NULL, run TEXT NOT NULL)"
    )
    connection.commit()


def _check(connection: sqlite3.Connection, path: Path) -> None:
    with closing(connection.execute("PRAGMA application_id")) as found:
        (application,) = found.fetchone()
    with closing(connection.execute("PRAGMA user_version")) as found:
        (version,) = found.fetchone()
    if application != APPLICATION_ID:
        raise BadInput([f"{_expected(path)}, got another program's SQLite file"])
    if version != CACHE_VERSION:
        raise BadInput([f"{_expected(path)}, version {CACHE_VERSION}, got version {version}"])
    with closing(connection.execute("PRAGMA quick_check(1)")) as found:
        (state,) = found.fetchone()
    if state != "ok":
        raise BadInput([f"{_expected(path)}, got a damaged one: {state}"])


def _expected(path: Path) -> str:
    return f"{path}: expected the cache of a history (move it away: it is made again from the run directories)"


def read_cached(connection: sqlite3.Connection) -> dict[str, tuple[str, PastRun]]:
    """By path: the state of the run's files when it was measured, and the run. Lines that cannot be read are left
    out: they are measured again."""
    found = {}
    with closing(connection.execute("SELECT path, files, run FROM runs")) as rows:
        for path, files, text in rows:
            try:
                found[str(path)] = (str(files), from_text(str(path), text))
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
    return found


def store(connection: sqlite3.Connection, measured: Mapping[str, tuple[str, PastRun]], gone: Sequence[str]) -> None:
    """Write what was measured, and drop the runs whose directories are gone."""
    with connection:
        connection.executemany("DELETE FROM runs WHERE path = ?", [(path,) for path in gone])
        connection.executemany(
            "INSERT OR REPLACE INTO runs VALUES (?, ?, ?)",
            [(path, files, to_text(run)) for path, (files, run) in measured.items()],
        )
