from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.userinput import BadInput
from tokenswarm.workload.stages import Stage, Stages, ThreadGroup, parse_shape, parse_stages

RAMP = parse_stages("2m:10, 5m:50, 1m:0")


@pytest.mark.parametrize(
    ("t_s", "value"),
    [(-5, 0), (0, 0), (60, 5), (120, 10), (270, 30), (420, 50), (450, 25), (480, 0), (999, 0)],
)
def test_the_value_goes_in_straight_lines_from_target_to_target(t_s: float, value: float) -> None:
    assert RAMP.value(t_s) == value


# By hand: a triangle 120 x 10 / 2, a trapezium 300 x (10 + 50) / 2, a triangle 60 x 50 / 2.
@pytest.mark.parametrize(
    ("t_s", "area"), [(-1, 0), (60, 150), (120, 600), (270, 3600), (420, 9600), (480, 11100), (9e9, 11100)]
)
def test_the_integral_is_exact(t_s: float, area: float) -> None:
    assert RAMP.area(t_s) == area


@pytest.mark.parametrize(("area", "t_s"), [(0, 0), (150, 60), (600, 120), (3600, 270), (9600, 420), (11100, None)])
def test_the_integral_is_reached_at_an_instant(area: float, t_s: float | None) -> None:
    assert RAMP.instant(area) == t_s


def test_a_stage_of_no_duration_is_a_jump() -> None:
    stages = parse_stages("1m:10, 0s:40, 1m:40", start=10)
    assert (stages.value(59.999), stages.value(60), stages.peak, stages.duration_s) == (10, 40, 40, 120)
    assert stages.area(120) == 3000


def test_where_the_value_is_zero_nothing_is_reached() -> None:
    stages = parse_stages("1m:60, 0s:0, 5m:0, 0s:60, 1m:60", start=60)
    assert stages.instant(3600) == 360
    assert stages.instant(3599.4) == pytest.approx(59.99)


def test_users_are_rounded_and_end() -> None:
    assert [RAMP.users(t) for t in (0, 5, 6, 60, 479, 480)] == [0, 0, 1, 5, 1, None]


POSITIVE = st.floats(0.01, 1000)
ANY_STAGES = st.builds(
    Stages,
    st.lists(st.builds(Stage, st.just(0.0) | POSITIVE, st.just(0.0) | POSITIVE), max_size=5).map(
        lambda stages: (*stages, Stage(10.0, 5.0))
    ),
    st.just(0.0) | POSITIVE,
)


@given(ANY_STAGES, st.floats(0, 1))
def test_instant_is_the_inverse_of_area(stages: Stages, share: float) -> None:
    area = stages.area(stages.duration_s) * share
    instant = stages.instant(area)
    if instant is None:
        assert share > 0.999
    else:
        assert stages.area(instant) == pytest.approx(area, abs=1e-6, rel=1e-9)


@given(ANY_STAGES, st.floats(0, 1), st.floats(0, 1))
def test_area_and_instant_never_fall(stages: Stages, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert stages.area(low * stages.duration_s) <= stages.area(high * stages.duration_s) + 1e-9
    total = stages.area(stages.duration_s)
    first, second = stages.instant(low * total), stages.instant(high * total)
    assert second is None or (first is not None and first <= second + 1e-9)


@pytest.mark.parametrize(
    ("text", "n_problems"),
    [("", 1), ("2m", 1), ("x:1, 2m:-5, 1m:nan, 3m:1e9", 4), ("0s:5", 1), (":", 1), ("2m:10:5", 1)],
)
def test_wrong_stages_are_refused_all_at_once(text: str, n_problems: int) -> None:
    with pytest.raises(BadInput) as caught:
        parse_stages(text, where="rate-stages")
    assert len(caught.value.problems) == n_problems
    assert all(problem.startswith("rate-stages: expected ") for problem in caught.value.problems)


@given(st.text(alphabet=st.sampled_from("0123456789.smh:,- "), max_size=40) | st.text(max_size=40))
def test_any_text_gives_stages_or_bad_input(text: str) -> None:
    try:
        stages = parse_stages(text)
    except BadInput as error:
        assert error.problems
    else:
        assert 0 <= stages.value(stages.duration_s / 2) <= stages.peak * (1 + 1e-9)


def test_jmeter_s_threads_start_evenly_after_the_delay() -> None:
    group = parse_shape("thread-group", "threads=10, delay=10s, ramp=30s, duration=360s, loops=1")
    assert isinstance(group, ThreadGroup)
    assert [group.start_instant(thread) for thread in range(10)] == [10, 13, 16, 19, 22, 25, 28, 31, 34, 37]
    assert [group.users(t) for t in (0, 9.99, 10, 12.99, 13, 36.9, 37, 369.9, 370)] == [0, 0, 1, 1, 2, 9, 10, 10, None]
    assert group.duration_s == 370


def test_a_thread_group_without_loops_ends_by_its_duration_only() -> None:
    group = parse_shape("thread-group", "threads=4, duration=1m")
    assert isinstance(group, ThreadGroup)
    assert (group.users(0), group.users(59.9), group.users(60)) == (4, 4, None)


@given(st.integers(1, 300), st.floats(0, 100), st.floats(0, 1000))
def test_a_thread_is_a_user_from_its_start_on(threads: int, delay_s: float, ramp_s: float) -> None:
    group = ThreadGroup(threads, delay_s, ramp_s)
    for thread in {0, threads // 2, threads - 1}:
        users = group.users(group.start_instant(thread))
        assert users is not None and users >= thread + 1
    assert group.users(delay_s + ramp_s + 1) == threads


@pytest.mark.parametrize(
    ("kind", "text", "users_at"),
    [
        ("stages", "1m:10, 1m:0", {0: 0, 30: 5, 60: 10, 119: 0, 120: None}),
        (
            "spike",
            "base=5, peak=50, at=2m, hold=30s, duration=6m",
            {0: 5, 119.9: 5, 120: 50, 149.9: 50, 150: 5, 360: None},
        ),
        ("spike", "base=0, peak=9, at=0s, hold=1s, duration=1s", {0: 9, 0.9: 9, 1: None}),
        ("step", "by=10, every=1m, to=25", {0: 10, 59.9: 10, 60: 20, 120: 25, 179.9: 25, 180: None}),
        ("soak", "users=20, ramp=2m, duration=4h", {0: 0, 60: 10, 120: 20, 14399: 20, 14400: None}),
        ("soak", "users=3, duration=60", {0: 3, 60: None}),
    ],
)
def test_closed_shapes(kind: str, text: str, users_at: dict[float, int | None]) -> None:
    shape = parse_shape(kind, text)
    assert {t: shape.users(t) for t in users_at} == users_at


@pytest.mark.parametrize(
    ("kind", "text", "problems"),
    [
        ("wave", "", ["shape: expected one of stages, spike, step, soak, thread-group, got 'wave'"]),
        ("spike", "base=5, peak=5, at=2m, hold=1m, duration=2m", ["above base", "within duration"]),
        ("spike", "base=x, pek=5", ["a whole number for base", "got 'pek=5'", "peak and at and hold and duration"]),
        ("step", "by=0, every=0s, to=5", ["by of 1 or more", "every above 0"]),
        ("step", "by=1, every=1s, to=1000000", ["at most 10000 steps, got 1000000"]),
        ("soak", "users=0, ramp=5m, duration=5m", ["users of 1 or more", "duration above ramp"]),
        ("soak", "users=5, users=6, duration=5m", ["once each, got 'users=6'"]),
        ("thread-group", "threads=5", ["it would not end"]),
        ("thread-group", "threads=0, loops=0, duration=0s", ["threads from 1", "loops of 1", "above 0 s"]),
        ("thread-group", "threads=1.5, duration=1m", ["a whole number for threads"]),
    ],
)
def test_wrong_shapes_are_refused_all_at_once(kind: str, text: str, problems: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        parse_shape(kind, text)
    for expected in problems:
        assert expected in str(caught.value)


FIELDS = ["base", "peak", "at", "hold", "duration", "by", "every", "to", "users", "ramp", "threads", "delay", "loops"]


@given(
    st.sampled_from(["stages", "spike", "step", "soak", "thread-group"]),
    st.lists(
        st.builds(
            "{}={}".format,
            st.sampled_from(FIELDS),
            st.sampled_from(["0", "1", "5", "-1", "2m", "10s", "x", "1e9", "50"]),
        ),
        max_size=6,
    ).map(", ".join)
    | st.text(max_size=30),
)
def test_any_text_gives_a_shape_or_bad_input(kind: str, text: str) -> None:
    try:
        shape = parse_shape(kind, text)
    except BadInput as error:
        assert error.problems
    else:
        users = shape.users(0.0)
        assert users is not None and users >= 0
        assert math.isinf(shape.duration_s) or shape.users(shape.duration_s) is None


def test_an_area_too_small_for_a_square_root_is_reached_at_once() -> None:
    assert Stages((Stage(108.0, 0.5), Stage(10.0, 5.0))).instant(2.67e-322) == 0.0
