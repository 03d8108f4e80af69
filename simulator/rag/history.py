"""Conversation history in SQLite (WAL), one row per turn; several processes may share the file."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another process before it gives up."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS turns(
    conversation_id TEXT NOT NULL, turn INTEGER NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
    query TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (conversation_id, turn)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS feedback(
    conversation_id TEXT, question_id TEXT, is_positive INTEGER, stars_rating INTEGER, feedback_text TEXT,
    at REAL NOT NULL);
"""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One earlier turn of a conversation. `query`: the terms that were searched for, empty when nothing was."""

    question: str
    answer: str
    query: str = ""


class History:
    """Reads and writes run on one thread of its own: a writer that waits for another process does not stop the server.

    The file is opened at the first use, hence in the process that uses it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="history")
        self._database: sqlite3.Connection | None = None

    async def recall(self, conversation_id: str, turns: int) -> list[Exchange]:
        """The last `turns` turns, oldest first; empty for an unknown conversation."""
        return await self._run(lambda database: _recall(database, conversation_id, turns))

    async def append(self, conversation_id: str, exchange: Exchange) -> None:
        """Add the next turn. Raises sqlite3.Error."""
        await self._run(lambda database: _append(database, conversation_id, exchange))

    async def add_feedback(self, row: tuple[str | None, str | None, bool | None, int | None, str | None]) -> None:
        """`row`: conversation_id, question_id, is_positive, stars_rating, feedback_text."""
        await self._run(lambda database: _add_feedback(database, row))

    async def aclose(self) -> None:
        if self._database is not None:
            await self._run(lambda database: database.close())
            self._database = None
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._open()))

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = open_history(self._path)
        return self._database


def open_history(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode to the file, which is made when missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    _switch_to_wal(database)
    database.execute("PRAGMA synchronous=NORMAL")
    database.executescript(_SCHEMA)
    return database


def _switch_to_wal(database: sqlite3.Connection) -> None:
    # The busy timeout does not cover this switch: processes that open a new file together must try again themselves.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _recall(database: sqlite3.Connection, conversation_id: str, turns: int) -> list[Exchange]:
    rows = database.execute(
        "SELECT question, answer, query FROM turns WHERE conversation_id = ? ORDER BY turn DESC LIMIT ?",
        (conversation_id, turns),
    ).fetchall()
    return [Exchange(*row) for row in reversed(rows)]


def _append(database: sqlite3.Connection, conversation_id: str, exchange: Exchange) -> None:
    # One statement takes the write lock before it looks for the last turn, so two writers never pick the same number.
    database.execute(
        "INSERT INTO turns SELECT ?1, coalesce(max(turn), 0) + 1, ?2, ?3, ?4, ?5 FROM turns WHERE conversation_id = ?1",
        (conversation_id, exchange.question, exchange.answer, exchange.query, time.time()),
    )


def _add_feedback(
    database: sqlite3.Connection, row: tuple[str | None, str | None, bool | None, int | None, str | None]
) -> None:
    database.execute("INSERT INTO feedback VALUES (?, ?, ?, ?, ?, ?)", (*row, time.time()))
