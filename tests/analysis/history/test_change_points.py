from __future__ import annotations

import numpy as np
import pytest

from analysis.history.change_points import ALPHA, FEWEST, find_change_points, pettitt


def test_a_step_is_found_where_it_is_with_the_medians_of_both_sides() -> None:
    (point,) = find_change_points(np.array([400.0, 404, 399, 402, 398, 401, 400, 640, 655, 630, 648, 641, 652, 645]))
    assert (point.index, point.n_before, point.n_after) == (7, 7, 7)
    assert (point.before, point.after) == (400.0, 645.0)
    assert point.change_pct == pytest.approx(61.25)
    assert point.p_value < ALPHA


def test_the_statistic_is_pettitts_hand_worked() -> None:
    """Ranks 1 2 3 | 6 5 4: the centred sums are -2.5 -4 -4.5 -2 -0.5, so the largest is after the third value."""
    index, p_value = pettitt(np.array([10.0, 11, 12, 60, 50, 40]), np.random.default_rng(1))
    assert index == 3
    assert p_value == pytest.approx(2 / 20, abs=0.03)  # 2 of the 20 ways to choose three ranks of six sum that far off


def test_two_steps_are_found_as_two() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(level, 5, 20) for level in (100.0, 160.0, 120.0)])
    points = find_change_points(values)
    assert [abs(point.index - expected) <= 1 for point, expected in zip(points, (20, 40), strict=True)] == [True, True]


def test_one_wild_run_is_no_change_and_equal_values_are_none() -> None:
    wild = np.full(30, 100.0) + np.random.default_rng(2).normal(0, 1, 30)
    wild[15] = 5000.0
    assert find_change_points(wild) == []
    assert find_change_points(np.full(30, 7.0)) == []


def test_too_few_runs_say_nothing() -> None:
    assert find_change_points(np.repeat([1.0, 9.0], FEWEST // 2)[: FEWEST - 1]) == []


@pytest.mark.parametrize("spread", ["normal", "lognormal", "two values"])
def test_false_alarms_are_as_rare_as_promised(spread: str) -> None:
    """Of 400 histories of 30 runs without a change, 1 % may show one: 4, and 10 with a probability below 0.3 %."""
    rng = np.random.default_rng(20261128)
    draw = {
        "normal": lambda: rng.normal(500, 20, 30),
        "lognormal": lambda: rng.lognormal(6, 0.8, 30),
        "two values": lambda: rng.integers(0, 2, 30).astype(float),
    }[spread]
    alarms = sum(bool(find_change_points(draw(), seed)) for seed in range(400))
    assert alarms <= 10


def test_a_change_of_two_deviations_is_mostly_found() -> None:
    rng = np.random.default_rng(4)
    series = [np.concatenate([rng.normal(500, 20, 15), rng.normal(540, 20, 15)]) for _ in range(60)]
    assert sum(bool(find_change_points(values)) for values in series) >= 54
