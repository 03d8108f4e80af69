from __future__ import annotations

import pytest

from tokenswarm.apis.chunk_times import ChunkTimes


def test_one_chunk_a_read_has_the_time_of_its_read() -> None:
    times = ChunkTimes()
    for at in (10.0, 30.0, 45.0):
        times.add(1, at, at - 20.0)
    assert list(times.at_ms) == [10.0, 30.0, 45.0]
    assert times.interpolated == 0
    assert (times.first_ms, times.last_ms) == (10.0, 45.0)


def test_chunks_that_came_together_share_their_time() -> None:
    times = ChunkTimes()
    times.add(3, 50.0, 49.0)
    assert list(times.at_ms) == [50.0, 50.0, 50.0]
    assert times.interpolated == 0


def test_chunks_read_late_are_spread_over_the_time_they_can_have_come_in() -> None:
    times = ChunkTimes()
    times.add(1, 10.0, 0.0)
    times.add(3, 70.0, 10.0)
    assert list(times.at_ms) == [10.0, 30.0, 50.0, 70.0]
    assert times.interpolated == 3


def test_no_chunk_is_placed_before_the_one_before_it() -> None:
    times = ChunkTimes()
    times.add(1, 40.0, 0.0)
    times.add(2, 60.0, 0.0)
    assert list(times.at_ms) == [40.0, 50.0, 60.0]


def test_gaps_longest_and_95th_percentile_by_hand() -> None:
    times = ChunkTimes()
    for at in (0.0, 10.0, 30.0, 60.0, 100.0, 101.0):  # gaps 10 20 30 40 1; sorted 1 10 20 30 40
        times.add(1, at, at)
    longest, p95 = times.gaps()
    assert longest == 40.0
    assert p95 == pytest.approx(30 + 0.8 * 10)  # position 0.95 x 4 = 3.8


def test_there_are_no_gaps_below_two_chunks() -> None:
    times = ChunkTimes()
    assert times.gaps() == (None, None)
    assert times.first_ms is None
    times.add(1, 5.0, 0.0)
    assert times.gaps() == (None, None)
