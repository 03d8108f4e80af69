from __future__ import annotations

import numpy as np
import pytest

from analysis.figures.knee import LevelBlocks, find_knee, pareto_front, power


def blocks(load: float, completed: float, e2e_s: float, jitter: float = 0.0) -> LevelBlocks:
    """A level of 20 s in blocks of 1 s; `jitter`: by how much each second block has more, the others less."""
    each = np.where(np.arange(20) % 2, completed + jitter, completed - jitter)
    return LevelBlocks(load, 20.0, each, each * e2e_s * 1000.0, each)


def four_slots_of_a_second(*loads: float) -> list[LevelBlocks]:
    """Closed loop: up to four users each is served at once, beyond they wait for one another."""
    return [blocks(load, min(load, 4.0), max(1.0, load / 4.0)) for load in loads]


def test_power_is_answers_a_second_over_mean_latency():
    assert power(completed=80, length_s=20, total_ms=160_000, started=80) == pytest.approx(4 / 2)
    assert power(completed=0, length_s=20, total_ms=0, started=0) == 0


def test_the_knee_of_four_slots_is_at_four_users():
    """Power 1, 2, 4, 2, 1 at 1, 2, 4, 8, 16 users."""
    knee = find_knee(four_slots_of_a_second(16, 8, 4, 2, 1))
    assert knee is not None
    assert (knee.load, knee.low, knee.high, knee.share_pct) == (4, 2, 8, 100)


def test_a_curve_that_still_rises_has_no_knee_within():
    knee = find_knee(four_slots_of_a_second(1, 2, 4))
    assert knee is not None and (knee.load, knee.high) == (4, None)


def test_a_curve_that_only_falls_has_its_knee_at_or_below_the_lowest():
    knee = find_knee(four_slots_of_a_second(4, 8, 16))
    assert knee is not None and (knee.load, knee.low, knee.high) == (4, None, 8)


def test_two_levels_that_are_alike_are_both_within_the_interval():
    """Power 4.0 and 4.1, but blocks of 1 and 7 answers: chance decides between them."""
    levels = [blocks(2, 2, 1), blocks(4, 4.0, 1.0, jitter=3), blocks(5, 4.1, 1.0, jitter=3), blocks(16, 4, 4)]
    knee = find_knee(levels)
    assert knee is not None
    assert (knee.load, knee.low, knee.high) == (5, 2, 16)
    assert 40 < knee.share_pct < 75


def test_two_levels_tell_no_knee_and_silence_neither():
    assert find_knee(four_slots_of_a_second(1, 2)) is None
    assert find_knee([blocks(load, 0, 0) for load in (1, 2, 4)]) is None


def test_a_level_without_answers_has_no_power():
    knee = find_knee([*four_slots_of_a_second(1, 2, 4), blocks(8, 0, 0)])
    assert knee is not None and (knee.load, knee.high) == (4, 8)


def test_the_front_is_what_no_other_beats_on_both():
    points = [(1.0, 50.0), (2.0, 50.0), (4.0, 40.0), (4.0, 30.0), (3.0, None), (5.0, 10.0)]
    assert pareto_front(points) == [False, True, True, False, False, True]


def test_equal_points_are_both_on_the_front():
    assert pareto_front([(1.0, 1.0), (1.0, 1.0)]) == [True, True]
