from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.metrics.autostop import AutoStop, AutoStopMonitor, parse_auto_stop
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.userinput import BadInput

START = 1_700_000_000.0


def ended(at: float, outcome: Outcome = Outcome.HTTP_ERROR, e2e_ms: float = 0.0) -> RequestRecord:
    """A request that ended `at` seconds after START."""
    return RequestRecord(call_id="c", outcome=outcome, started_at=START + at - e2e_ms / 1000, e2e_ms=e2e_ms)


def first_stop(rule: AutoStop, records: list[RequestRecord]) -> int | None:
    """Index of the record at which the monitor says stop."""
    monitor = AutoStopMonitor(rule)
    return next((index for index, record in enumerate(records) if monitor.add(record)), None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("disable", None),
        (" Disable ", None),
        ("90% / 60s", AutoStop(90, 60)),
        ("80/2m", AutoStop(80, 120)),
        ("error_percentage=50, time_window=30", AutoStop(50, 30)),
        ("errorPercentage=50;timeWindow=30", AutoStop(50, 30)),
        ("error-percentage=12.5%", AutoStop(12.5, 60)),
        ("time_window=10s", AutoStop(90, 10)),
    ],
)
def test_a_rule_is_read(text: str, expected: AutoStop | None) -> None:
    assert parse_auto_stop(text) == expected
    assert expected is None or parse_auto_stop(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected disable, 90% / 60s"),
        ("off", "expected disable, 90% / 60s"),
        ("90", "expected disable, 90% / 60s"),
        ("101% / 60s", "expected an error percentage from 0 to 100, got '101%'"),
        ("nan% / 60s", "expected an error percentage from 0 to 100, got 'nan%'"),
        ("90% / 0s", "expected a time window of whole seconds from 1 to 86400, got '0s'"),
        ("90% / 1.5s", "whole seconds"),
        ("error_percentage=1, error_percentage=2", "got 'error_percentage=2'"),
    ],
)
def test_a_wrong_rule_is_refused(text: str, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_auto_stop(text)
    assert problem in str(caught.value)


def test_both_problems_of_a_rule_are_reported() -> None:
    with pytest.raises(BadInput) as caught:
        parse_auto_stop("-1% / -1s")
    assert len(caught.value.problems) == 2


@given(st.text(alphabet=st.sampled_from("disable 90%/s=,;errorPcntgtimeWw_"), max_size=40) | st.text(max_size=40))
def test_any_text_gives_a_rule_or_bad_input(text: str) -> None:
    try:
        rule = parse_auto_stop(text)
    except BadInput as error:
        assert error.problems
    else:
        assert rule is None or 0 <= rule.error_percentage <= 100


def test_it_stops_after_one_whole_window_of_errors_and_not_before() -> None:
    assert first_stop(AutoStop(90, 60), [ended(float(second)) for second in range(100)]) == 60


def test_a_share_that_is_reached_is_not_exceeded() -> None:
    outcomes = [Outcome.OK if second % 10 == 0 else Outcome.TIMEOUT for second in range(200)]
    records = [ended(float(second), outcome) for second, outcome in enumerate(outcomes)]
    assert first_stop(AutoStop(90, 60), records) is None
    assert first_stop(AutoStop(89.9, 60), records) == 60


def test_any_window_counts_not_only_the_first() -> None:
    records = [ended(float(second), Outcome.OK if second < 100 else Outcome.TIMEOUT) for second in range(300)]
    # In seconds 101 to 110 all ten failed once second 110 begins; at 109 there is still an answered one among them.
    assert first_stop(AutoStop(90, 10), records) == 110


def test_throttled_given_up_and_dropped_requests_are_no_errors() -> None:
    for outcome in (Outcome.THROTTLED, Outcome.CANCELLED, Outcome.ABORTED, Outcome.DROPPED):
        assert first_stop(AutoStop(0, 10), [ended(float(second), outcome) for second in range(50)]) is None


def test_the_first_window_begins_with_the_first_request_not_with_its_end() -> None:
    # Requests time out after 30 s each: when the first ones end, a window of 20 s has long passed.
    assert first_stop(AutoStop(90, 20), [ended(30.0 + second, e2e_ms=30_000.0) for second in range(10)]) == 1


def test_rows_of_a_slower_worker_fall_into_their_own_second() -> None:
    monitor = AutoStopMonitor(AutoStop(60, 10))
    for second in range(10):
        assert not monitor.add(ended(float(second)))
        assert not monitor.add(ended(second - 0.5, Outcome.OK))
    assert not monitor.add(ended(10.0))
    # 10 failed of 20, less the answer of second -1, which is before the window.
    assert monitor.error_percentage == pytest.approx(100 * 10 / 19)
