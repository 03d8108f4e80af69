from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from simulator.rag.history import Exchange, History
from simulator.rag.pipeline import draw_delay_s

PROCESSES, TURNS = 4, 40


def write_turns(path: Path, number: int) -> None:
    async def write() -> None:
        history = History(path)
        for turn in range(TURNS):
            await history.append("shared", Exchange(f"{number}/{turn}", "answer"))
            await history.recall("shared", 3)
        await history.aclose()

    asyncio.run(write())


def test_several_processes_write_one_conversation_without_losing_a_turn(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.sqlite"  # opening it together is part of the test
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_turns, args=(path, number)) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    turns = [turn for (turn,) in database.execute("SELECT turn FROM turns ORDER BY turn")]
    database.close()
    assert turns == list(range(1, PROCESSES * TURNS + 1))


def test_recall_gives_the_last_turns_oldest_first(tmp_path: Path) -> None:
    async def talk() -> list[Exchange]:
        history = History(tmp_path / "history.sqlite")
        for number in range(5):
            await history.append("a", Exchange(f"q{number}", f"a{number}"))
        await history.append("b", Exchange("other", "other"))
        assert await history.recall("unknown", 4) == []
        last = await history.recall("a", 2)
        await history.aclose()
        return last

    assert asyncio.run(talk()) == [Exchange("q3", "a3"), Exchange("q4", "a4")]


def test_a_delay_is_fixed_by_its_key_and_has_the_mean_asked_for() -> None:
    assert draw_delay_s("a", 100) == draw_delay_s("a", 100) != draw_delay_s("b", 100)
    delays = [draw_delay_s(str(number), 100) for number in range(4000)]
    assert sum(delays) / len(delays) == pytest.approx(0.100, rel=0.03)
