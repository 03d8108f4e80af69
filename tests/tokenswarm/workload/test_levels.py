from __future__ import annotations

import pytest

from tokenswarm.workload.levels import LoadSpan, levels_of
from tokenswarm.workload.stages import Stages, parse_shape, parse_stages


def test_steps_are_levels():
    shape = parse_shape("step", "by=5, every=60s, to=12")
    assert isinstance(shape, Stages)
    assert levels_of(shape) == [LoadSpan(5, 0, 60), LoadSpan(10, 60, 120), LoadSpan(12, 120, 180)]


def test_a_ramp_is_five_levels_of_its_mean_loads():
    levels = levels_of(parse_stages("10s:10"))
    assert [level.load for level in levels] == pytest.approx([1, 3, 5, 7, 9])
    assert [(level.begin_s, level.end_s) for level in levels] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]


def test_a_plateau_in_two_stages_is_one_level_and_nothing_offered_is_none():
    assert levels_of(parse_stages("0s:8, 5s:8, 5s:8, 0s:0, 5s:0")) == [LoadSpan(8, 0, 10)]


def test_a_load_that_comes_back_is_a_level_again():
    levels = levels_of(parse_stages("0s:2, 5s:2, 0s:9, 5s:9, 0s:2, 5s:2"))
    assert [level.load for level in levels] == [2, 9, 2]
