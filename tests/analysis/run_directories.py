"""Run directories written by hand, and one whose every figure is worked out in the tests."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenswarm.record import COLUMNS, Outcome, RequestRecord, TokenSource

T = 1_700_000_040.0
"""2023-11-14 22:14:00 UTC: a full minute."""


def answered(call: str, at: float, ttft: float, e2e: float, generated: int, **more: Any) -> RequestRecord:
    """An answer started `at` seconds after T: 100 prompt tokens, 100 asked for."""
    fields: dict[str, Any] = {
        "name": "chat", "worker": "w1", "started_at": T + at, "ttft_ms": ttft, "first_byte_ms": max(0.0, ttft - 10),
        "e2e_ms": e2e, "tbt_ms": round(ttft / 10, 3), "chunks": generated, "context_tokens": 100, "max_tokens": 100,
        "prompt_tokens": 100, "completion_tokens": generated, "token_source": TokenSource.USAGE,
        "outcome": Outcome.OK, "status": 200,
    }  # fmt: skip
    return RequestRecord(call_id=call, **{**fields, **more})


def refused(call: str, at: float, outcome: Outcome = Outcome.THROTTLED, **more: Any) -> RequestRecord:
    """A request that got no answer, started `at` seconds after T."""
    fields: dict[str, Any] = {
        "name": "chat", "worker": "w1", "started_at": T + at, "e2e_ms": 20.0, "first_byte_ms": 15.0,
        "context_tokens": 100, "max_tokens": 100, "outcome": outcome, "status": 429,
    }  # fmt: skip
    return RequestRecord(call_id=call, **{**fields, **more})


def dropped(call: str, at: float) -> RequestRecord:
    """An arrival that was due `at` seconds after T and never sent."""
    return RequestRecord(
        call_id=call, name="chat", worker="w1", scheduled_at=T + at, lag_ms=5000.0, outcome=Outcome.DROPPED
    )


def worked_records() -> list[RequestRecord]:
    """Nine records over three clock minutes. c4 is refused once and answered at the second attempt."""
    return [
        answered("c1", 0.0, 100.0, 1000.0, 50),
        answered("c2", 30.0, 200.0, 2000.0, 50),
        answered("c3", 59.5, 300.0, 1500.0, 100),
        refused("c4", 70.0),
        answered("c4", 80.0, 400.0, 2500.0, 80, attempt=2, lag_ms=10_000.0),
        refused("c6", 90.0, Outcome.HTTP_ERROR, e2e_ms=30.0, first_byte_ms=25.0, status=500, error="500 <b>broken</b>"),
        dropped("c7", 100.0),
        refused("c8", 130.0, Outcome.CANCELLED, e2e_ms=20_000.0, first_byte_ms=None, status=None),
        answered("c9", 170.0, 500.0, 5000.0, 20, name="rag"),
    ]


def worked_meta(**more: Any) -> dict[str, Any]:
    """run.json of the worked run: three minutes from T."""
    meta: dict[str, Any] = {
        "schema_version": 1, "test_name": "worked", "state": "finished", "started_at": T, "ended_at": T + 180,
        "accounting": {"planned": 8, "sent": 8, "dropped": 1, "cancelled": 1, "rows": 9, "lost": []},
    }  # fmt: skip
    return {**meta, **more}


def write_rows(path: Path, records: Iterable[RequestRecord]) -> Path:
    """A CSV of records."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(record.to_row() for record in records)
    return path


def write_run(
    directory: Path, records: Iterable[RequestRecord] | None = None, meta: dict[str, Any] | None = None
) -> Path:
    """A run directory; `None` leaves the file out."""
    directory.mkdir(parents=True, exist_ok=True)
    if records is not None:
        write_rows(directory / "requests.csv", records)
    if meta is not None:
        (directory / "run.json").write_text(json.dumps(meta), encoding="utf-8")
    return directory


def worked_run(directory: Path, **meta: Any) -> Path:
    """The worked run as a directory."""
    return write_run(directory / "worked" / "20231114T221400Z", worked_records(), worked_meta(**meta))


def closed_run(directory: Path, **meta: Any) -> Path:
    """The worked run as one of a closed loop: nothing was planned, so nothing was left undelivered."""
    accounting = {**worked_meta()["accounting"], "planned": None, **meta.pop("accounting", {})}
    return worked_run(directory, accounting=accounting, **meta)
