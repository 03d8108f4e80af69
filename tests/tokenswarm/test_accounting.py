"""Counting records, by hand."""

from __future__ import annotations

from tokenswarm.accounting import Accounting
from tokenswarm.record import Outcome, RequestRecord


def dropped(lag_ms: float, error: str = "the run ended before a user was free") -> RequestRecord:
    return RequestRecord(call_id="x", outcome=Outcome.DROPPED, lag_ms=lag_ms, error=error)


def counted(*records: RequestRecord, planned: int) -> Accounting:
    accounting = Accounting()
    for record in records:
        accounting.add(record)
    accounting.close(planned, [])
    return accounting


SENT = [RequestRecord(call_id=str(n), outcome=Outcome.OK) for n in range(11)]


def test_what_the_end_of_the_run_overtook_was_not_undelivered() -> None:
    accounting = counted(*SENT, dropped(40.0), planned=12)
    assert accounting.delivered_pct == 100.0
    assert (accounting.facts()["overtaken"], accounting.facts()["dropped"], accounting.facts()["sent"]) == (1, 1, 11)


def test_what_had_waited_for_a_user_was() -> None:
    assert counted(*SENT, dropped(1000.0), planned=12).delivered_pct == 100.0 * 11 / 12
    assert counted(*SENT, dropped(10.0, "no free user within 0.01 s"), planned=12).delivered_pct == 100.0 * 11 / 12


def test_nothing_planned_is_no_percentage() -> None:
    assert counted(planned=0).delivered_pct is None
    assert counted(dropped(5.0), planned=1).delivered_pct is None


def test_attempts_of_one_call_are_one_planned_request() -> None:
    retry = RequestRecord(call_id="0", attempt=2, outcome=Outcome.THROTTLED)
    accounting = counted(*SENT, retry, planned=11)
    assert accounting.delivered_pct == 100.0
    assert (accounting.sent, accounting.facts()["throttled"]) == (12, 1)
