from __future__ import annotations

from typing import Any

import pytest

from tests.tokenswarm.generator.test_selfcheck_result import RIGHT, WRONG, check
from tokenswarm.generator.overload import RATE_OVER_S, Overload
from tokenswarm.record import Outcome, RequestRecord


class Process:
    """A process with some requests under way, looked at by the second."""

    def __init__(self, *accuracies: Any) -> None:
        self.in_flight = 0
        self.overload = Overload(check(*accuracies) if accuracies else None, lambda: self.in_flight)
        self.now = 1000.0

    def carry(self, streams: int, chunks_per_s: int, seconds: int) -> str | None:
        self.in_flight = streams
        for _ in range(seconds):
            self.overload.add(RequestRecord(call_id="c", outcome=Outcome.OK, chunks=chunks_per_s))
            self.overload.add(RequestRecord(call_id="c", outcome=Outcome.CONNECTION_ERROR))
            self.now += 1.0
            self.overload.look(self.now)
        return self.overload.warning


def test_within_the_accurate_maximum_nothing_is_said() -> None:
    assert Process(RIGHT, RIGHT, WRONG).carry(200, 9000, seconds=60) is None


def test_one_stream_too_many_is_told_within_a_second() -> None:
    warning = Process(RIGHT, RIGHT, WRONG).carry(201, 1, seconds=1)
    assert warning is not None and warning.startswith("201 streams on one worker is beyond")


def test_too_many_chunks_are_told_of_once_their_rate_is_known() -> None:
    process = Process(RIGHT, RIGHT, WRONG)
    assert process.carry(20, 12_000, seconds=int(RATE_OVER_S)) is None
    warning = process.carry(20, 12_000, seconds=1)
    assert warning is not None and "20 streams (12,000 chunks/s)" in warning


def test_a_wave_of_ends_in_one_second_is_no_rate() -> None:
    process = Process(RIGHT, RIGHT, WRONG)
    for _ in range(10):
        assert process.carry(100, 0, seconds=4) is None
        assert process.carry(100, 40_000, seconds=1) is None


def test_it_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    process = Process(RIGHT, WRONG)
    first = process.carry(150, 10, seconds=1)
    assert process.carry(900, 10, seconds=3) == first
    assert [record.message for record in caplog.records] == [f"Self-check: {first}"]


def test_without_a_self_check_nothing_is_known() -> None:
    process = Process()
    assert process.carry(100_000, 1_000_000, seconds=20) is None
    assert (process.overload.description, process.overload.warning) == (None, None)
