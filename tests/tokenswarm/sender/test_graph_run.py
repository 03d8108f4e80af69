from __future__ import annotations

import random
import time
from collections.abc import Callable

import gevent
import pytest
from gevent.event import Event

from tests.tokenswarm.recordings.test_graph import random_steps
from tokenswarm.record import Outcome, RequestRecord, SessionEnd
from tokenswarm.recordings.graph import AgentStep
from tokenswarm.sender.graph_run import GraphRun
from tokenswarm.sender.session import Session, StepRows, pause_until


def asked(
    steps: list[AgentStep],
    took_s: Callable[[int], float],
    outcome: Callable[[int], Outcome] = lambda position: Outcome.OK,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[dict[int, tuple[float, float]], list[RequestRecord]]:
    """When each step began and ended, and the rows, of a session whose steps take so long."""
    spans: dict[int, tuple[float, float]] = {}
    rows: list[RequestRecord] = []

    def ask(position: int, taken: StepRows, due_at: float | None, wait: Callable[[], bool]) -> None:
        wait()
        while time.time() < (due_at or 0.0):  # as the transport does
            gevent.sleep(0)
        begin = time.time()
        gevent.sleep(took_s(position))
        spans[position] = begin, time.time()
        taken.take(
            RequestRecord(
                call_id=str(position),
                started_at=begin,
                e2e_ms=(spans[position][1] - begin) * 1000,
                outcome=outcome(position),
            )
        )

    GraphRun(steps, Session("s", time.time(), rows.append), ask, stopped, pause).go_through()
    return spans, rows


def pause(at: float) -> bool:
    return pause_until(lambda left_s: gevent.sleep(left_s), at)


@pytest.mark.parametrize("seed", range(20))
def test_a_child_never_starts_before_its_parents_have_ended_and_their_tools_are_done(seed: int) -> None:
    rng = random.Random(seed)
    steps = [AgentStep(step.parents, step.tool_s / 100) for step in random_steps(rng)]
    took_s = [rng.random() / 100 for _ in steps]
    spans, rows = asked(steps, took_s.__getitem__)
    assert spans.keys() == set(range(len(steps)))
    for position, step in enumerate(steps):
        for parent in step.parents:
            assert spans[position][0] >= spans[parent][1] + step.tool_s - 1e-6
    assert sorted(row.step or 0 for row in rows) == list(range(1, len(steps) + 1))
    assert [row.session_end for row in rows] == [*[None] * (len(rows) - 1), SessionEnd.DONE]
    longest = max(row.path_s or 0.0 for row in rows)
    assert longest <= (rows[-1].session_s or 0.0) + 1e-3


def test_steps_that_wait_for_nobody_are_under_way_at_once() -> None:
    spans, _ = asked(
        [AgentStep((), 0), AgentStep((0,), 0), AgentStep((0,), 0), AgentStep((1, 2), 0)], lambda position: 0.02
    )
    assert max(spans[1][0], spans[2][0]) < min(spans[1][1], spans[2][1])


def test_what_needs_an_answer_that_did_not_come_is_not_asked() -> None:
    outcomes = {1: Outcome.TIMEOUT}
    steps = [AgentStep((), 0), AgentStep((0,), 0), AgentStep((0,), 0), AgentStep((1, 2), 0)]
    spans, rows = asked(steps, lambda position: 0.01 * position, lambda position: outcomes.get(position, Outcome.OK))
    assert spans.keys() == {0, 1, 2}
    # The one that was under way when the other failed is waited for: the session ends with it.
    assert [(row.call_id, row.session_end) for row in rows] == [("0", None), ("1", None), ("2", SessionEnd.FAILED)]
    assert rows[-1].session_duration_s is None


def test_what_waits_for_its_tools_when_another_fails_is_not_asked() -> None:
    steps = [AgentStep((), 0), AgentStep((0,), 0), AgentStep((0,), 60), AgentStep((0,), 0), AgentStep((2,), 0)]
    outcomes = {1: Outcome.HTTP_ERROR}
    spans, rows = asked(
        steps, lambda position: 0.02 * (position == 3), lambda position: outcomes.get(position, Outcome.OK)
    )
    assert spans.keys() == {0, 1, 3}
    assert [(row.call_id, row.session_end) for row in rows] == [("0", None), ("1", None), ("3", SessionEnd.FAILED)]


def test_a_failure_ends_a_session_of_which_the_rest_waits_for_its_tools() -> None:
    steps = [AgentStep((), 0), AgentStep((), 60)]
    _, rows = asked(steps, lambda position: 0.0, lambda position: Outcome.TIMEOUT)
    assert [(row.call_id, row.session_end) for row in rows] == [("0", SessionEnd.FAILED)]


def test_the_end_of_the_run_starts_nothing_and_ends_no_session() -> None:
    spans, rows = asked([AgentStep((), 0), AgentStep((0,), 0)], lambda position: 0.0, stopped=lambda: True)
    assert spans.keys() == {0}
    assert [row.session_end for row in rows] == [None]


def test_a_session_that_is_killed_leaves_no_step_running() -> None:
    running: list[int] = []

    def ask(position: int, taken: StepRows, due_at: float | None, wait: Callable[[], bool]) -> None:
        running.append(position)
        try:
            gevent.sleep(60)
        finally:
            running.remove(position)

    session = Session("s", time.time(), lambda row: None)
    greenlet = gevent.spawn(
        GraphRun([AgentStep((), 0), AgentStep((), 0)], session, ask, lambda: False, pause).go_through
    )
    while len(running) < 2:
        gevent.sleep(0)
    greenlet.kill()
    assert running == []


@pytest.mark.parametrize("seed", range(5))
def test_what_follows_is_prepared_once_when_all_that_it_waits_for_is_under_way(seed: int) -> None:
    steps = random_steps(random.Random(seed))
    steps = [AgentStep(step.parents, 0.0) for step in steps]
    events: list[tuple[str, int]] = []

    def ask(position: int, taken: StepRows, due_at: float | None, wait: Callable[[], bool]) -> None:
        events.append(("asked", position))
        wait()
        gevent.sleep(0.001)
        taken.take(RequestRecord(call_id="c", started_at=time.time(), e2e_ms=1.0, outcome=Outcome.OK))

    session = Session("s", time.time(), lambda row: None)
    GraphRun(steps, session, ask, lambda: False, pause, lambda child: events.append(("prepared", child))).go_through()
    for position, step in enumerate(steps):
        prepared = [at for at, event in enumerate(events) if event == ("prepared", position)]
        assert len(prepared) == bool(step.parents)
        for at in prepared:
            assert all(events.index(("asked", parent)) < at for parent in step.parents)
            assert at < events.index(("asked", position))


def test_a_row_is_written_when_what_follows_has_been_sent() -> None:
    events: list[str] = []

    def ask(position: int, taken: StepRows, due_at: float | None, wait: Callable[[], bool]) -> None:
        events.append(f"asked {position}")
        gevent.sleep(0.001)
        taken.take(RequestRecord(call_id=str(position), started_at=time.time(), e2e_ms=1.0, outcome=Outcome.OK))

    session = Session("s", time.time(), lambda row: events.append(f"row {row.call_id}"))
    GraphRun([AgentStep((), 0), AgentStep((0,), 0)], session, ask, lambda: False, pause).go_through()
    assert events == ["asked 0", "asked 1", "row 0", "row 1"]


def test_of_steps_that_end_together_the_last_row_says_how_the_session_ended() -> None:
    ended: list[tuple[str, SessionEnd | None]] = []
    together = Event()

    def ask(position: int, taken: StepRows, due_at: float | None, wait: Callable[[], bool]) -> None:
        together.wait()
        taken.take(RequestRecord(call_id=str(position), started_at=time.time(), e2e_ms=1.0, outcome=Outcome.OK))

    session = Session("s", time.time(), lambda row: ended.append((row.call_id, row.session_end)))
    gevent.spawn_later(0.01, together.set)
    GraphRun([AgentStep((), 0), AgentStep((), 0)], session, ask, lambda: False, pause).go_through()
    assert ended == [("0", None), ("1", SessionEnd.DONE)]
