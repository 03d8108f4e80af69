from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest

from tokenswarm.client.retry import MAX_ATTEMPTS, retry_after_ms, wait_before_retry
from tokenswarm.record import Outcome, RequestRecord


def record(outcome: Outcome = Outcome.THROTTLED, status: int | None = 429, **fields: Any) -> RequestRecord:
    return RequestRecord(call_id="a", outcome=outcome, status=status, **fields)


@pytest.mark.parametrize(
    ("attempt", "chance", "wait"), [(1, 0.0, 0.5), (2, 0.0, 1.0), (3, 1.0, 1.5), (5, 0.0, 8.0), (9, 0.0, 8.0)]
)
def test_the_wait_doubles_from_half_a_second_to_eight(attempt: int, chance: float, wait: float) -> None:
    assert wait_before_retry(record(attempt=attempt), 0.0, chance) == wait


def test_the_service_says_how_long() -> None:
    assert wait_before_retry(record(retry_after_ms=1234.0), 0.0, 1.0) == 1.234


@pytest.mark.parametrize(("since", "given"), [(59.0, False), (59.6, True)])
def test_a_call_is_given_up_after_sixty_seconds(since: float, given: bool) -> None:
    assert (wait_before_retry(record(), since, 0.0) is None) is given


def test_a_longer_wait_than_is_left_is_not_waited() -> None:
    assert wait_before_retry(record(retry_after_ms=61_000.0), 0.0, 0.0) is None


@pytest.mark.parametrize(
    ("outcome", "status", "again"),
    [
        (Outcome.HTTP_ERROR, 500, True),
        (Outcome.HTTP_ERROR, 503, True),
        (Outcome.HTTP_ERROR, 408, True),
        (Outcome.HTTP_ERROR, 401, False),
        (Outcome.HTTP_ERROR, 404, False),
        (Outcome.CONNECTION_ERROR, None, True),
        (Outcome.TIMEOUT, None, False),
        (Outcome.TRUNCATED, 200, False),
        (Outcome.OK, 200, False),
    ],
)
def test_what_is_sent_again(outcome: Outcome, status: int | None, again: bool) -> None:
    assert (wait_before_retry(record(outcome, status), 0.0, 0.0) is not None) is again


@pytest.mark.parametrize(("attempt", "wait"), [(1, 0.5), (4, 4.0)])
def test_a_service_that_asks_for_no_wait_gets_the_usual_one(attempt: int, wait: float) -> None:
    assert wait_before_retry(record(retry_after_ms=0.0, attempt=attempt), 0.0, 0.0) == wait


def test_attempts_are_bounded_whatever_the_service_asks() -> None:
    asked = {"retry_after_ms": 1.0}
    assert wait_before_retry(record(**asked, attempt=MAX_ATTEMPTS - 1), 1.0, 0.0) == 0.001
    assert wait_before_retry(record(**asked, attempt=MAX_ATTEMPTS), 1.0, 0.0) is None


NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    ("headers", "asked_ms"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3000.0),
        ({"retry-after": " 1.5 "}, 1500.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "3"}, 250.0),
        ({"retry-after-ms": "x", "retry-after": "3"}, 3000.0),
        ({"retry-after": formatdate(NOW + 4, usegmt=True)}, 4000.0),
        ({"retry-after": formatdate(NOW - 4, usegmt=True)}, 0.0),
        ({"retry-after": formatdate(NOW + 904, usegmt=True), "date": formatdate(NOW + 900, usegmt=True)}, 4000.0),
        ({"retry-after": formatdate(NOW + 4, usegmt=True), "date": "today"}, 4000.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e99"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 99 Foo 2026 99:99:99 GMT"}, None),
    ],
)
def test_how_long_the_service_asks_to_wait(headers: dict[str, str], asked_ms: float | None) -> None:
    assert retry_after_ms(headers, NOW) == asked_ms
