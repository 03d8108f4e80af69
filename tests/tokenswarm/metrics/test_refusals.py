from __future__ import annotations

from typing import Any

import pytest

from tokenswarm.metrics.refusals import RefusalMonitor
from tokenswarm.record import Outcome, RequestRecord

NOT_FOUND = {"outcome": Outcome.HTTP_ERROR, "status": 404, "error": "HTTP 404: no trace of request 4711"}
REFUSED = {"outcome": Outcome.CONNECTION_ERROR, "error": "ConnectionRefusedError: Connection refused"}
OK = {"outcome": Outcome.OK, "status": 200}


def stops_at(records: list[dict[str, Any]], limit: int = 10, every_s: float = 1.0) -> int | None:
    """The number of the record at which a run is stopped; `None` when it is not."""
    monitor = RefusalMonitor(limit)
    for number, fields in enumerate(records):
        at = {"started_at": 1000.0 + number * every_s, "e2e_ms": 1.0}
        if monitor.add(RequestRecord(call_id=str(number), **{**at, **fields})):
            return number
    return None


@pytest.mark.parametrize("refusal", [NOT_FOUND, REFUSED, {**NOT_FOUND, "status": 401}, {**NOT_FOUND, "status": 307}])
def test_ten_identical_refusals_stop_a_run(refusal: dict[str, Any]) -> None:
    assert stops_at([refusal] * 50) == 9


def test_ids_and_numbers_in_the_text_make_no_difference() -> None:
    assert stops_at([{**NOT_FOUND, "error": f"HTTP 404: no trace of request {n}"} for n in range(20)]) == 9


def test_a_burst_is_not_enough() -> None:
    assert stops_at([REFUSED] * 400, every_s=0.01) is None
    assert stops_at([REFUSED] * 600, every_s=0.01) == 500


@pytest.mark.parametrize(
    "between",
    [
        {"outcome": Outcome.THROTTLED, "status": 429, "error": "HTTP 429"},
        {"outcome": Outcome.HTTP_ERROR, "status": 503, "error": "HTTP 503: loading"},
        {"outcome": Outcome.TIMEOUT, "error": "no complete answer within 1 s", "sent_ms": 1.0},
        {**NOT_FOUND, "status": 401, "error": "HTTP 401: no key"},
    ],
    ids=["throttled", "5xx", "timeout", "another refusal"],
)
def test_something_else_begins_the_count_anew(between: dict[str, Any]) -> None:
    assert stops_at([NOT_FOUND] * 9 + [between] + [NOT_FOUND] * 9) is None
    assert stops_at([NOT_FOUND] * 9 + [between] + [NOT_FOUND] * 10) == 19


def test_after_one_answer_a_run_is_never_stopped_so() -> None:
    assert stops_at([OK] + [NOT_FOUND] * 100) is None
    assert stops_at([NOT_FOUND] * 9 + [OK] + [NOT_FOUND] * 100) is None


def test_what_was_given_up_or_dropped_says_nothing() -> None:
    dropped, cancelled = {"outcome": Outcome.DROPPED}, {"outcome": Outcome.CANCELLED}
    assert stops_at([NOT_FOUND, dropped, cancelled] * 20) == 27
    assert stops_at([NOT_FOUND, dropped, {"outcome": Outcome.ABORTED}] * 20) == 27


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
def test_a_service_that_asks_to_come_again_has_not_refused(status: int) -> None:
    record = {"outcome": Outcome.HTTP_ERROR, "status": status, "error": f"HTTP {status}"}
    assert stops_at([record] * 50) is None


def test_a_connection_that_broke_after_the_request_was_sent_is_no_refusal() -> None:
    assert stops_at([{**REFUSED, "sent_ms": 1.0}] * 50) is None
    assert stops_at([{"outcome": Outcome.CONTENT_FILTER, "status": 400, "error": "HTTP 400"}] * 50) is None


def test_why_it_stops() -> None:
    monitor = RefusalMonitor(1)
    assert not monitor.add(RequestRecord(call_id="a", started_at=1.0, **NOT_FOUND))
    assert monitor.add(RequestRecord(call_id="a", started_at=9.0, **NOT_FOUND))
    assert monitor.description == ("refused: 2 times in a row and no answer before: HTTP 404: no trace of request #")
