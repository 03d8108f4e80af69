from __future__ import annotations

import time
from typing import Any

import gevent
import pytest
from gevent.event import Event

from tokenswarm.record import Outcome, RequestRecord, SessionEnd
from tokenswarm.sender.sender import Sender
from tokenswarm.sender.session import READY_S, Session, pause_until


def record(started_at: float = 100.0, outcome: Outcome = Outcome.OK, **more: Any) -> RequestRecord:
    return RequestRecord(call_id="c", started_at=started_at, e2e_ms=500.0, outcome=outcome, **more)


def rows_of(*steps: RequestRecord, due_at: float | None = 99.5) -> list[RequestRecord]:
    rows: list[RequestRecord] = []
    session = Session("s", due_at, rows.append)
    for number, step in enumerate(steps, start=1):
        taken = session.next_step()
        taken.take(step)
        if taken.close(is_last=number == len(steps)):
            break
    return rows


def test_each_row_knows_its_step_and_how_long_the_session_has_gone_on() -> None:
    rows = rows_of(record(100.0), record(102.0))
    assert [(row.session_id, row.step, row.session_s) for row in rows] == [("s", 1, 1.0), ("s", 2, 3.0)]
    assert [row.session_end for row in rows] == [None, SessionEnd.DONE]
    assert [row.session_duration_s for row in rows] == [None, 3.0]
    assert [row.is_arrival for row in rows] == [True, False]


def test_in_closed_load_a_session_counts_from_its_first_request() -> None:
    assert [row.session_s for row in rows_of(record(100.0), record(102.0), due_at=None)] == [0.5, 2.5]


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.THROTTLED, Outcome.ABORTED])
def test_a_step_that_was_not_answered_ends_its_session(outcome: Outcome) -> None:
    rows = rows_of(record(100.0, outcome), record(102.0))
    assert [row.session_end for row in rows] == [SessionEnd.FAILED]
    assert rows[0].session_duration_s is None


def test_a_session_that_gave_up_has_failed() -> None:
    rows: list[RequestRecord] = []
    taken = Session("s", 99.5, rows.append).next_step()
    taken.take(record())
    assert taken.close(is_last=True, gave_up=True)
    assert [(row.outcome, row.session_end) for row in rows] == [(Outcome.OK, SessionEnd.FAILED)]


def test_what_the_end_of_the_run_cut_has_ended_no_session() -> None:
    assert [row.session_end for row in rows_of(record(100.0, Outcome.CANCELLED))] == [None]


def test_only_the_last_attempt_ends_a_session() -> None:
    rows: list[RequestRecord] = []
    taken = Session("s", 99.5, rows.append).next_step(path_before_s=2.0)
    taken.take(record(100.0, Outcome.THROTTLED))
    assert rows == []  # another attempt may follow
    taken.take(record(101.0, attempt=2))
    assert taken.close(is_last=True)
    assert [(row.attempt, row.step, row.session_end) for row in rows] == [(1, 1, None), (2, 1, SessionEnd.DONE)]
    # The wait between the attempts is part of the chain.
    assert [row.path_s for row in rows] == [2.5, 3.5]


@pytest.mark.parametrize(
    ("end", "stopping", "left"),
    [(None, False, True), (None, True, False), (SessionEnd.DONE, False, False), (SessionEnd.FAILED, False, False)],
)
def test_it_is_known_when_a_user_leaves_a_session_while_the_run_goes_on(
    end: SessionEnd | None, stopping: bool, left: bool
) -> None:
    sender, session = Sender.__new__(Sender), Session("s", 99.5, lambda row: None)
    sender.left_at, sender.stopping = None, Event()
    with pytest.raises(gevent.GreenletExit), sender.in_session(session):  # as a user that is stopped
        taken = session.next_step()
        taken.take(record())
        taken.flush(end)
        if stopping:
            sender.stopping.set()
        raise gevent.GreenletExit
    assert (sender.left_at is not None) == left


def test_a_session_of_which_nothing_was_sent_is_not_left() -> None:
    sender = Sender.__new__(Sender)
    sender.left_at, sender.stopping = None, Event()
    with sender.in_session(Session("s", 99.5, lambda row: None)):
        pass
    assert sender.left_at is None


def test_a_pause_ends_with_the_run() -> None:
    assert pause_until(lambda seconds: True, 1e12)
    assert not pause_until(lambda seconds: pytest.fail("nothing to wait for"), 0.0)


def test_a_pause_leaves_a_moment_to_write_the_request() -> None:
    at = time.time() + 0.01
    assert not pause_until(gevent.sleep, at)
    assert time.time() >= at - READY_S - 1e-6
