from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.userinput import BadInput
from tokenswarm.workload.distributions import Length, Pause, parse_count, parse_length, parse_pause


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500", Length("fixed", 500)),
        (" uniform( 200 ,800 ) ", Length("uniform", 200, 800)),
        ("normal(500, 150)", Length("normal", 500, 150)),
        ("lognormal(6.2, 0.5)", Length("lognormal", 6.2, 0.5)),
        ("dataset", Length("dataset")),
        ("trace", Length("trace")),
    ],
)
def test_lengths_are_read(text: str, expected: Length) -> None:
    assert parse_length(text) == expected
    assert parse_length(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "tokens from 1 to 4096"),
        ("-5", "tokens from 1 to 4096"),
        ("4097", "tokens from 1 to 4096"),
        ("500.5", "whole numbers"),
        ("uniform(800, 200)", "lowest and highest from 1 to 4096, in this order"),
        ("uniform(0, 200)", "lowest and highest from 1"),
        ("normal(500, -1)", "tokens from 1"),
        ("normal(nan, 1)", "expected 500, uniform"),
        ("lognormal(9, 0.5)", "the logarithm's mean from 0 to 8.32"),
        ("poisson(1, 2)", "expected 500, uniform"),
        ("uniform(1)", "expected 500, uniform"),
        ("uniform(1, 2, 3)", "expected 500, uniform"),
        ("", "expected 500, uniform"),
        ("Dataset", "expected 500, uniform"),
    ],
)
def test_wrong_lengths_are_refused(text: str, expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_length(text, upper=4096, where="context-tokens")
    assert str(caught.value).startswith("context-tokens: expected ")
    assert expected in str(caught.value)


FUZZ = st.text(alphabet=st.sampled_from("uniformlgdatsec(),. 0123456789-e"), max_size=30) | st.text(max_size=30)


@given(FUZZ | st.builds("{}({}, {})".format, st.sampled_from(["uniform", "normal", "lognormal"]), FUZZ, FUZZ))
def test_any_text_gives_a_distribution_or_bad_input(text: str) -> None:
    for parse in (parse_length, parse_pause):
        try:
            distribution: Length | Pause = parse(text)
        except BadInput as error:
            assert error.problems
        else:
            assert parse(str(distribution)) == distribution
            drawn = distribution.sample(random.Random(1))
            assert drawn is None or drawn >= 0


@given(
    st.sampled_from(["normal(500, 400)", "lognormal(6, 3)", "uniform(1, 4096)", "4096", "1", "lognormal(0, 5)"]),
    st.integers(),
)
def test_lengths_stay_within_one_and_the_upper_end(text: str, seed: int) -> None:
    length, rng = parse_length(text, upper=4096), random.Random(seed)
    assert all(1 <= (length.sample(rng) or 0) <= 4096 for _ in range(20))


@pytest.mark.parametrize(
    ("text", "mean", "deviation"),
    [
        ("uniform(200, 800)", 500, math.sqrt((601**2 - 1) / 12)),
        ("normal(500, 100)", 500, 100),
        ("lognormal(6.2, 0.5)", math.exp(6.2 + 0.125), math.exp(6.325) * math.sqrt(math.exp(0.25) - 1)),
    ],
)
def test_lengths_have_the_asked_mean_and_deviation(text: str, mean: float, deviation: float) -> None:
    length, rng = parse_length(text), random.Random(7)
    drawn = [length.sample(rng) or 0 for _ in range(20_000)]
    assert statistics.fmean(drawn) == pytest.approx(mean, rel=0.02)
    assert statistics.pstdev(drawn) == pytest.approx(deviation, rel=0.04)
    assert length.mean() == pytest.approx(mean)


def test_both_ends_of_uniform_are_drawn() -> None:
    length, rng = parse_length("uniform(3, 5)"), random.Random(1)
    assert {length.sample(rng) for _ in range(100)} == {3, 4, 5}


def test_a_length_from_elsewhere_is_not_drawn() -> None:
    assert parse_length("dataset").sample(random.Random(1)) is None
    assert parse_length("trace").mean() is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", Pause("fixed", 1)),
        ("1.5s", Pause("fixed", 1.5)),
        ("uniform(1, 2)", Pause("uniform", 1, 2)),
        ("uniform(500ms, 2s)", Pause("uniform", 0.5, 2)),
        ("normal(1m, 5s)", Pause("normal", 60, 5)),
        ("lognormal(-0.5, 0.3)", Pause("lognormal", -0.5, 0.3)),
    ],
)
def test_pauses_are_read(text: str, expected: Pause) -> None:
    assert parse_pause(text) == expected


@pytest.mark.parametrize("text", ["-1", "uniform(2, 1)", "2d", "dataset", "lognormal(0, 9)", "100000", "normal(1, -1)"])
def test_wrong_pauses_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="think-time: expected "):
        parse_pause(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("lognormal(0, -1)", "expected the logarithm's deviation from 0 to 5"),
        ("lognormal(1000, 1)", "expected at most 86400 s"),
    ],
)
def test_what_is_wrong_with_a_pause_is_said(text: str, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_pause(text, "tool-time")
    assert caught.value.problems == [f"tool-time: {what}, got {text!r}"]


@pytest.mark.parametrize("text", ["0", "3..1", "1e9", "nan", "1.5", "-2..3", "..", "dataset", "uniform(2, 1)"])
def test_a_wrong_count_is_no_matter_of_tokens(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_count(text, 1000, "steps")
    assert caught.value.problems == [
        "steps: expected whole numbers from 1 to 1000 as 3, 3..12, uniform(3, 12), normal(5, 1) or lognormal(1.5, "
        f"0.5), got {text!r}"
    ]


def test_a_pause_is_never_below_zero() -> None:
    pause, rng = parse_pause("normal(0, 1)"), random.Random(1)
    assert min(pause.sample(rng) for _ in range(100)) == 0.0
