from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.metrics.goodput import LIMIT_METRICS, Goodput, parse_goodput
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.userinput import BadInput


def record(**fields: Any) -> RequestRecord:
    return RequestRecord(**{"call_id": "c", "outcome": Outcome.OK, "started_at": 1.0, **fields})


def test_limits_are_read_and_of_two_the_stricter_stays() -> None:
    found = parse_goodput(" ttft_ms < 1000ms; tbt_ms<50\nttft_ms<900")
    assert found == Goodput((("ttft_ms", 900.0), ("tbt_ms", 50.0)))
    assert str(found) == "ttft_ms<900, tbt_ms<50"


@pytest.mark.parametrize(
    ("text", "n_problems"),
    [("", 1), ("ttft_ms", 1), ("ttft_ms>1000", 1), ("ttft_ms<=5", 1), ("ttft<5, tbt_ms<0, e2e_ms<nan", 3), ("a<b", 2)],
)
def test_wrong_limits_are_refused_all_at_once(text: str, n_problems: int) -> None:
    with pytest.raises(BadInput) as caught:
        parse_goodput(text)
    assert len(caught.value.problems) == n_problems


@given(
    st.dictionaries(st.sampled_from(LIMIT_METRICS), st.floats(0.001, 1e9), min_size=1).map(
        lambda limits: Goodput(tuple(limits.items()))
    )
)
def test_goodput_survives_its_text(goodput: Goodput) -> None:
    assert parse_goodput(str(goodput)) == goodput


@given(st.text(alphabet=st.sampled_from("tfms_b<>=,;5. e2"), max_size=40) | st.text(max_size=40))
def test_any_text_gives_limits_or_bad_input(text: str) -> None:
    try:
        assert parse_goodput(text).limits
    except BadInput as error:
        assert error.problems


@pytest.mark.parametrize(
    ("fields", "met"),
    [
        ({"ttft_ms": 999.9, "tbt_ms": 49.9}, True),
        ({"ttft_ms": 1000.0, "tbt_ms": 49.9}, False),
        ({"ttft_ms": 999.9, "tbt_ms": 50.0}, False),
        ({"ttft_ms": 10.0, "tbt_ms": 10.0, "outcome": Outcome.TRUNCATED}, False),
        ({"ttft_ms": 10.0, "chunks": 1}, True),  # one chunk: there is no time between tokens to be too long
        ({"ttft_ms": 10.0, "chunks": 9}, False),  # no usage: unknown is not good
        ({"tbt_ms": 10.0}, False),
    ],
)
def test_a_request_is_good_below_every_limit(fields: dict[str, Any], met: bool) -> None:
    assert parse_goodput("ttft_ms<1000, tbt_ms<50").met(record(**fields)) is met


def test_the_lag_counts_from_the_intended_start() -> None:
    assert not parse_goodput("ttft_from_due_ms<1000").met(record(ttft_ms=500.0, lag_ms=600.0))
    assert parse_goodput("lag_ms<100").met(record())
