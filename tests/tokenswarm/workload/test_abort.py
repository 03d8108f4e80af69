from __future__ import annotations

import random

import pytest

from tokenswarm.userinput import BadInput
from tokenswarm.workload.abort import Abort, parse_abort
from tokenswarm.workload.distributions import Pause


@pytest.mark.parametrize(
    ("text", "abort"),
    [
        ("5 % after uniform(1, 5) s", Abort(5.0, Pause("uniform", 1.0, 5.0))),
        ("5% after 3 s", Abort(5.0, Pause("fixed", 3.0))),
        ("0.5 % after 500ms", Abort(0.5, Pause("fixed", 0.5))),
        ("100 % after lognormal(0.5, 0.3)", Abort(100.0, Pause("lognormal", 0.5, 0.3))),
        ("2 % after 2", Abort(2.0, Pause("fixed", 2.0))),
    ],
)
def test_the_forms(text: str, abort: Abort) -> None:
    assert parse_abort(text) == abort
    assert parse_abort(str(abort)) == abort


@pytest.mark.parametrize(
    "text",
    ["5", "5 %", "after 3 s", "0 % after 1 s", "101 % after 1 s", "x % after 1 s", "5 % after soon", "-1 % after 1"],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse_abort(text)
    assert all(problem.startswith("abort: expected") for problem in raised.value.problems)


def test_so_many_leave_and_when() -> None:
    rng = random.Random(3)
    drawn = [parse_abort("20 % after uniform(1, 5) s").sample(rng) for _ in range(5000)]
    left = [after for after in drawn if after is not None]
    assert 900 < len(left) < 1100
    assert 1.0 <= min(left) < 1.1 and 4.9 < max(left) <= 5.0
