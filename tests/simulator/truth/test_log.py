"""The ground-truth log: whole lines whatever writes them, and counts that equal them."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from simulator.truth.log import FIELDS, TruthLog
from simulator.truth.tally import Tally


def entry(number: int, **more: object) -> dict[str, object]:
    base = {"target": "chat", "deployment": "d", "status": 200, "outcome": "ok", "request_id": str(number)}
    return base | {"prompt_tokens": number, "finished_at": 60.0 * number} | more


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_line_has_every_field_in_order(tmp_path):
    log = TruthLog(tmp_path / "log")
    log.write({"target": "chat"})
    log.close()
    (line,) = read(tmp_path / "log")
    assert tuple(line) == FIELDS
    assert line["target"] == "chat"
    assert line["internal"] is False


def test_an_unknown_field_is_refused(tmp_path):
    with pytest.raises(KeyError, match="tokens_promised"):
        TruthLog(tmp_path / "log").write({"tokens_promised": 1})


def test_a_log_is_continued_not_overwritten(tmp_path):
    for number in range(2):
        log = TruthLog(tmp_path / "log")
        log.write(entry(number))
        log.close()
    assert [line["request_id"] for line in read(tmp_path / "log")] == ["0", "1"]


def _write_many(path: Path, first: int) -> None:
    log = TruthLog(path)
    for number in range(first, first + 2000):
        log.write(entry(number, reason="x" * 500))
    log.close()


def test_lines_of_several_processes_stay_whole(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(tmp_path / "log", n * 2000)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert sorted(int(str(line["request_id"])) for line in read(tmp_path / "log")) == list(range(6000))


def test_what_a_full_disk_refuses_is_written_later(tmp_path, monkeypatch):
    log = TruthLog(tmp_path / "log")
    really = os.write
    room = [40]

    def write(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        count = really(file, data[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr("simulator.truth.log.os.write", write)
    log.write(entry(1))
    log.write(entry(2))
    log.flush()
    assert (tmp_path / "log").stat().st_size == 40
    room[0] = 10_000
    log.write(entry(3))
    log.close()
    assert [line["request_id"] for line in read(tmp_path / "log")] == ["1", "2", "3"]


def test_the_counts_of_all_processes_add_up(tmp_path, monkeypatch):
    monkeypatch.setattr("simulator.truth.log.os.getpid", lambda: 1)
    first = TruthLog(None, tmp_path)
    first.write(entry(1))
    first.in_flight = 2
    first.gauges = lambda: {"d": [2, 1]}
    first.flush()
    monkeypatch.setattr("simulator.truth.log.os.getpid", lambda: 2)
    second = TruthLog(None, tmp_path)
    second.write(entry(10, status=429, outcome="throttled", reason="tokens", internal=True))
    second.gauges = lambda: {"d": [1, 0], "e": [0, 0]}
    assert second.all_gauges() == {"d": [3, 1], "e": [0, 0]}
    counters = second.counters()
    assert (counters["lines"], counters["in_flight"]) == (2, 2)
    assert counters["deployments"]["d"] == {
        "requests": 2,
        "internal": 1,
        "statuses": {"200": 1, "429": 1},
        "outcomes": {"ok": 1, "throttled": 1},
        "reasons": {"tokens": 1},
        "prompt_tokens": 11,
        "completion_tokens": 0,
        "reasoning_tokens": 0,
        "cached_tokens": 0,
        "estimated_tokens": 0,
        "tokens_after_left": 0,
    }


def test_a_tally_survives_its_json():
    tally = Tally()
    tally.add(entry(3, received_at=179.0, first_token_at=179.5, last_token_at=180.0, completion_tokens=6))
    tally.add(entry(4, utilization_pct=12.5))
    assert Tally.from_json(tally.to_json()).cells == tally.cells
    (cell,) = [cell for key, cell in tally.cells.items() if key[0] == 180]
    assert (cell.ttft_ms.total, cell.e2e_ms.total, cell.tbt_ms.total) == (500, 1000, 100)
