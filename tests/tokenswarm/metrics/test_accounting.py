from __future__ import annotations

from typing import Any

from tokenswarm.metrics.accounting import Accounting, Lost
from tokenswarm.record import Outcome, RequestRecord, SessionEnd


def account(*outcomes: Outcome, **fields: Any) -> Accounting:
    accounting = Accounting()
    for outcome in outcomes:
        accounting.add(RequestRecord(call_id="a", outcome=outcome, **fields))
    return accounting


def test_requests_that_were_sent_again_are_counted_and_are_one_row_each() -> None:
    accounting = account(Outcome.OK, Outcome.CONNECTION_ERROR, resent=1)
    accounting.add(RequestRecord(call_id="b", outcome=Outcome.OK))
    assert (accounting.facts()["resent"], accounting.facts()["rows"]) == (2, 3)


def test_the_identity_by_hand() -> None:
    ok, throttled, timeout, cancelled, aborted, dropped = (
        Outcome.OK,
        Outcome.THROTTLED,
        Outcome.TIMEOUT,
        Outcome.CANCELLED,
        Outcome.ABORTED,
        Outcome.DROPPED,
    )
    accounting = account(ok, ok, throttled, timeout, cancelled, aborted, dropped, dropped)
    accounting.close(10, [Lost("w1", 2, 10.0, 13.0, "worker died")])
    facts = accounting.facts()
    assert {name: facts[name] for name in ("rows", "sent", "ok", "failed", "cancelled", "aborted", "dropped")} == {
        "rows": 8,
        "sent": 6,
        "ok": 2,
        "failed": 1,
        "cancelled": 1,
        "aborted": 1,
        "dropped": 2,
    }
    assert facts["planned"] == 10
    assert accounting.unaccounted == 0
    assert str(accounting.lost[0]) == "2 rows lost: worker died (w1, last heard 3.0 s before the run's end)"
    assert str(Lost("", 1, 10.0, 10.0, "due while there was no worker")) == "1 row lost: due while there was no worker"


def test_retries_are_sent_and_not_planned() -> None:
    accounting = account(Outcome.THROTTLED)
    accounting.add(RequestRecord(call_id="a", attempt=2, outcome=Outcome.OK))
    accounting.close(1, [])
    assert (accounting.sent, accounting.first_attempts, accounting.unaccounted) == (2, 1, 0)
    assert accounting.delivered_pct == 100.0


def test_what_is_missing_is_told() -> None:
    accounting = account(Outcome.OK)
    accounting.close(3, [])
    assert accounting.unaccounted == 2


def test_closed_loop_plans_nothing() -> None:
    accounting = account(Outcome.OK)
    accounting.close(None, [])
    assert (accounting.delivered_pct, accounting.unaccounted) == (None, 0)


def session_row(step: int, end: SessionEnd | None = None, outcome: Outcome = Outcome.OK) -> RequestRecord:
    return RequestRecord(call_id="c", started_at=1.0, step=step, session_end=end, outcome=outcome)


def test_the_identity_of_sessions_counts_their_first_requests() -> None:
    accounting = Accounting()
    done = [session_row(1), session_row(2, SessionEnd.DONE)]
    failed = [session_row(1, SessionEnd.FAILED, Outcome.TIMEOUT)]
    unfinished = [session_row(1), session_row(2)]
    dropped = [RequestRecord(call_id="d", scheduled_at=1.0, outcome=Outcome.DROPPED)]
    for row in [*done, *failed, *unfinished, *dropped]:
        accounting.add(row)
    accounting.close(4, [])
    assert accounting.unaccounted == 0
    assert (accounting.first_attempts, accounting.came_to_something) == (3, 3)
    assert accounting.facts()["sessions"] == {"begun": 3, "done": 1, "failed": 1, "unfinished": 1}


def test_without_sessions_nothing_is_said_of_them() -> None:
    accounting = Accounting()
    accounting.add(RequestRecord(call_id="c", started_at=1.0, outcome=Outcome.OK))
    assert (accounting.facts()["sessions"], accounting.came_to_something) == (None, 1)
