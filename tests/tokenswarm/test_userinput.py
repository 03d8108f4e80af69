from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.userinput import BadInput, format_number, parse_duration, read_duration, read_number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90.0),
        ("2m", 120.0),
        ("1h30m", 5400.0),
        ("1h 30m 5s", 5405.0),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("360", 360.0),
        (" 2M ", 120.0),
        ("0", 0.0),
    ],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "-1", "-1s", "m", "1x", "1m1h", "1m1m", "nan", "inf", "1e99", "9999999h", "1 0", "٣s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="run-time: expected a duration as 90s"):
        parse_duration(text, "run-time")


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1_000", "0x1", "", " ", "1e999", "1,5", "٣"])
def test_what_is_no_finite_number_is_none(text: str) -> None:
    assert read_number(text) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_their_text(value: float) -> None:
    assert read_number(format_number(value)) == value


@given(st.text(alphabet=st.sampled_from("0123456789.hms eE+-"), max_size=20) | st.text(max_size=20))
def test_any_text_is_a_duration_or_none(text: str) -> None:
    seconds = read_duration(text)
    assert seconds is None or seconds >= 0


def test_a_problem_is_no_longer_than_a_person_reads() -> None:
    (problem,) = BadInput([f"api: expected azure, got {'n' * 100_000}"]).problems
    assert problem.startswith("api: expected azure, got nnn")
    assert len(problem) < 2_010
