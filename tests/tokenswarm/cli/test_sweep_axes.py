from __future__ import annotations

import pytest

from tokenswarm.cli.sweep_axes import MAX_LEVELS, levels_of, parse_axes
from tokenswarm.userinput import BadInput


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("users=1,2, 4", ["1", "2", "4"]),
        ("users=1..64 x2", ["1", "2", "4", "8", "16", "32", "64"]),
        ("users=1..50x3", ["1", "3", "9", "27"]),
        ("rate=60..300 by 60", ["60", "120", "180", "240", "300"]),
        ("rate=0.1..0.3 by 0.1", ["0.1", "0.2", "0.3"]),
        ("rate=1/s,90", ["1/s", "90"]),
        (
            "context-tokens=500,uniform(200, 800),lognormal(6.2, 0.5)",
            ["500", "uniform(200, 800)", "lognormal(6.2, 0.5)"],
        ),
        ("deployment=gpt-4o,gpt-4o-mini", ["gpt-4o", "gpt-4o-mini"]),
    ],
)
def test_a_list_and_a_range_are_values(text: str, values: list[str]) -> None:
    name = text.partition("=")[0]
    assert parse_axes([text]) == {name: values}


def test_two_axes_are_every_combination_of_them() -> None:
    axes = parse_axes(["users=1,2", "max-tokens=100,400"])
    assert levels_of(axes) == [
        {"users": "1", "max-tokens": "100"},
        {"users": "2", "max-tokens": "100"},
        {"users": "1", "max-tokens": "400"},
        {"users": "2", "max-tokens": "400"},
    ]


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ([], "one or two axes, got 0"),
        (["colour=1,2"], "expected AXIS=VALUES with one of users, rate"),
        (["users"], "expected AXIS=VALUES"),
        (["users="], "expected values as 1,2,4"),
        (["users=8..1 x2"], "expected a range as"),
        (["users=1..8"], "expected a range as"),
        (["users=1..8 by 0"], "expected a range as"),
        (["users=1..8 x1"], "expected a range as"),
        (["rate=0..8 x2"], "expected a range as"),
        (["users=0,1.5"], "users: expected a whole number"),
        (["users=1,nan"], "users: expected a whole number"),
        (["max-tokens=100,abc"], "max-tokens"),
        (["users=1,1"], "each value once, got 1 twice"),
        (["users=1", "users=2"], "each axis once"),
        (["rate=1", "sessions=2"], "rate or sessions, got both"),
        (["users=1,2", "rate=3", "max-tokens=9"], "one or two axes, got 3"),
        ([f"users=1..{MAX_LEVELS + 1} by 1"], f"at most {MAX_LEVELS} levels, got {MAX_LEVELS + 1}"),
        (["users=1..1000000 by 1"], f"at most {MAX_LEVELS} levels"),
        (["deployment=a\x1b[2J"], "deployment: expected a name"),
        (["deployment=a\nb"], "deployment: expected a name"),
    ],
)
def test_what_is_wrong_is_said(texts: list[str], problem: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse_axes(texts)
    assert any(problem in each for each in raised.value.problems), raised.value.problems


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(BadInput) as raised:
        parse_axes(["users=0", "colour=1", "max-tokens=x"])
    assert len(raised.value.problems) == 3
