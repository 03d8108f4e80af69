"""Frames that are none of ours, for each message between master and worker: counted and said, never a traceback, and no
verdict is passed by them."""

from __future__ import annotations

from locust.rpc.protocol import Message
from locust.runners import MasterRunner, WorkerNode, WorkerRunner

import argparse
import dataclasses
import gc
import inspect
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest
from gevent import GreenletExit
from gevent.event import Event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenswarm.control import messages
from tokenswarm.control.mailbox import Mailbox
from tokenswarm.control.messages import ControlMessage, PlanStart, Rows, encode
from tokenswarm.control.workers import Workers, run_of
from tokenswarm.metrics.criteria import evaluate, parse_criteria
from tokenswarm.metrics.samples import Samples
from tokenswarm.metrics.verdict import Evidence, Reason, ReasonKind, decide
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.results.csv_rows import format_row
from tokenswarm.runner.load_test import LoadTest
from tokenswarm.runner.master_link import MasterLink
from tokenswarm.runner.message_guard import guard
from tokenswarm.runner.run_part import RunPart
from tokenswarm.runner.shapes import UsersOverTime
from tokenswarm.runner.thread_allocation import ThreadAllocation
from tokenswarm.sender.sender import Sender
from tokenswarm.users import ChatUser
from tokenswarm.workload.arrivals import RatePlan
from tokenswarm.workload.stages import ThreadGroup, parse_shape

KINDS: list[Any] = [kind for _, kind in inspect.getmembers(messages, dataclasses.is_dataclass) if hasattr(kind, "NAME")]
TO_MASTER = ("Rows", "ClockAsked", "ThreadWanted", "ThreadParked")
CLIENT = "client-1"


def failed(number: int) -> RequestRecord:
    return RequestRecord(
        call_id=f"c{number}", worker="w0", outcome=Outcome.HTTP_ERROR, status=500, started_at=time.time(), e2e_ms=5.0
    )


def right(name: str, run: str = "test/run") -> ControlMessage:
    """A message of this kind that is as it should be."""
    row = format_row(failed(1))
    window: list[str | float] = ["w0", 9.0, 1.0, 2.0, 3.0, 20.0]
    return {
        "Rows": Rows(
            "w0", run, 1, row, 9, 7, 7, 6, "/tmp/journal-w0.csv", None, [window], [[100.5, 12.0]], 4, 1, "a", "b",
            120.5, [0.0, 0.001, 0.002],
        ),
        "ClockAsked": messages.ClockAsked(1.5),
        "ClockTold": messages.ClockTold(1.5, 2.5),
        "PlanStart": PlanStart(12.5, [0, 1, 2], [60.0, 0, 10.0]),
        "Drain": messages.Drain(99.0, run),
        "SeenBlocks": messages.SeenBlocks(run, b"12345678", True),
        "ThreadWanted": messages.ThreadWanted(),
        "ThreadGiven": messages.ThreadGiven(1.0, 2.0, -1),
        "ThreadParked": messages.ThreadParked(),
    }[name]  # fmt: skip


class Master(MasterRunner):
    """The part of Locust's master that messages go through."""

    def __init__(self) -> None:
        self.custom_messages: dict[str, Any] = {}
        self.clients = {CLIENT: WorkerNode(CLIENT)}
        self.worker_indexes = {CLIENT: 0}
        self.sent: list[Any] = []

    def send_message(self, msg_type: str, data: Any = None, client_id: str | None = None) -> None:
        self.sent.append((msg_type, data, client_id))

    def __del__(self) -> None:
        """Locust's own asks for what is not here."""


class Worker(WorkerRunner):
    """The same of a worker."""

    def __init__(self) -> None:
        self.custom_messages: dict[str, Any] = {}
        self.worker_index = 0
        self.sent: list[Any] = []

    def send_message(self, msg_type: str, data: Any = None, client_id: str | None = None) -> None:
        self.sent.append((msg_type, data, client_id))

    def stop(self) -> None:
        """A drain that is believed would end the users."""

    def __del__(self) -> None:
        """Locust's own asks for what is not here."""


class Ends:
    """Master and worker, each with all that listens there."""

    def __init__(self, folder: Path) -> None:
        directory = folder / "test" / f"run{time.monotonic_ns()}"
        directory.mkdir(parents=True)
        self.run = run_of(directory)
        self.received: list[RequestRecord] = []
        self.master, self.worker = Master(), Worker()
        self.at_master, self.at_worker = Mailbox(self.master), Mailbox(self.worker)
        self.workers = Workers(self.master, self.at_master, lambda _message, records: self.received.extend(records))
        shape = parse_shape("thread-group", "threads=2, ramp=1s, duration=2s")
        assert isinstance(shape, ThreadGroup)
        for runner, mailbox in ((self.master, self.at_master), (self.worker, self.at_worker)):
            users = UsersOverTime(shape)
            users.reset_time()
            ThreadAllocation(SimpleNamespace(runner=runner, shape_class=users), mailbox).listen()  # type: ignore[arg-type]
        options = argparse.Namespace(run_directory=str(directory))
        part = SimpleNamespace(schedule=None, sender=None, ended_at=None)
        link = MasterLink(self.worker, self.at_worker, options, lambda: part)  # type: ignore[arg-type, return-value]
        link._clock.known.set()
        link.listen()
        self.workers.begin(directory)

    def deliver(self, kind: Any, data: Any, sender: str = CLIENT) -> None:
        """As Locust hands a message over; raises whatever the listener raises."""
        runner = self.master if kind.__name__ in TO_MASTER else self.worker
        listener: Callable[..., None] = runner.custom_messages[kind.NAME][0]
        listener(environment=None, msg=Message(kind.NAME, data, sender))

    @property
    def refused(self) -> int:
        return self.at_master.refused + self.at_worker.refused

    def verdict(self) -> str:
        """What a run comes to in which these rows, all of failed requests, have arrived."""
        lost = [Reason(ReasonKind.LOST, str(each)) for each in self.workers.finish(time.time())]
        results = evaluate(parse_criteria("percentage(error) > 1"), Samples.from_records(self.received))
        answered = sum(record.outcome is Outcome.OK for record in self.received)
        evidence = Evidence(sent=len(self.received), answered=answered, distrust=[*lost, *self.workers.reasons()])
        return decide(results, True, evidence).state


GARBAGE: list[Any] = [
    None, True, -1, 2**53, 2**62, 10**400, 1.5, float("nan"), float("inf"), -1e308, "", "x" * 5000, "nan", b"\xff", [],
    [[]], [[[]]], [None] * 3, [-1, -1, -1], [float("nan")] * 3, [1e308] * 3, ["w0", "nan", "nan", "nan", "nan", "nan"],
    [["w0", "nan", "nan", "nan", "nan", "nan"]], [["w1", 1, 1, 1, 1, 1]], [[1.0, -5.0]], {}, {"a": {"b": [None]}},
]  # fmt: skip


def mutations(data: dict[str, Any]) -> Iterator[Any]:
    """A message with a field missing, too many, or of another kind; and what is no message at all."""
    yield from GARBAGE
    yield {**data, "surprise": 1}
    yield {**data, 7: 1}
    for name in data:
        yield {key: value for key, value in data.items() if key != name}
        yield from ({**data, name: value} for value in GARBAGE)


def test_every_message_has_an_example() -> None:
    assert {kind.__name__ for kind in KINDS} == {type(right(kind.__name__)).__name__ for kind in KINDS}
    assert len(KINDS) == 9


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_no_message_is_counted_and_nothing_else(kind: Any, tmp_path: Path) -> None:
    ends = Ends(tmp_path)
    data = encode(right(kind.__name__, ends.run))
    for number, frame in enumerate(mutations(data), 1):
        before = ends.refused
        ends.deliver(kind, frame)
        assert ends.refused in (before, before + 1), f"mutation {number}"
    if data:
        assert ends.refused > len(data) * len(GARBAGE) / 3, "hardly anything was refused"
    assert ends.verdict() != "passed"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_is_received_raises(data: st.DataObject, tmp_path: Path) -> None:
    ends = Ends(tmp_path)
    for kind in KINDS:
        good = encode(right(kind.__name__, ends.run))
        changed = data.draw(st.dictionaries(st.sampled_from(sorted(good)), ANYTHING) if good else ANYTHING)
        ends.deliver(kind, {**good, **changed} if isinstance(changed, dict) else changed)
    assert ends.verdict() != "passed"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("worker", "w7"), ("started", 3), ("finished", 4), ("made", 2), ("written", 0), ("overtaken", 0),
        ("journal", "{directory}/requests.csv"), ("journal", "/etc/passwd"), ("run", "another/run"),
        ("text", "1,2,3\n"), ("text", format_row(failed(2)).replace(",5.0,", ",nan,")), ("rows", 2),
        ("text", format_row(failed(2)).replace(",500,", ",1.0e999,")), ("text", format_row(failed(2))[:-1]),
    ],
)  # fmt: skip
def test_a_message_that_does_not_go_on_from_the_one_before(field: str, value: Any, tmp_path: Path) -> None:
    ends = Ends(tmp_path)
    good = encode(right("Rows", ends.run))
    ends.deliver(Rows, good)
    assert ends.refused == 0
    ends.deliver(Rows, {**good, field: value})
    assert (ends.refused, len(ends.received)) == (1, 1)


def test_rows_that_come_after_the_end_are_counted_once(tmp_path: Path) -> None:
    """They have been taken from the worker's journal, or counted as lost."""
    ends = Ends(tmp_path)
    ends.deliver(Rows, encode(right("Rows", ends.run)))
    ends.workers.finish(time.time())
    ends.deliver(Rows, encode(dataclasses.replace(right("Rows", ends.run), text=format_row(failed(2)), made=8)))  # type: ignore[type-var]
    assert (ends.refused, len(ends.received)) == (0, 1)


@pytest.mark.parametrize(
    ("changed", "early", "until"),
    [
        ({}, False, {"w0": 200.0}),
        ({"left_at": 150.0}, False, {"w0": 150.0}),
        ({"left_at": 250.0}, False, {"w0": 200.0}),
        ({"made": 2}, False, {}),
        ({"done": False}, False, {}),
        ({}, True, {}),
    ],
)
def test_up_to_when_the_sessions_of_a_worker_are_known_to_have_gone_on(
    changed: dict[str, Any], early: bool, until: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = Ends(tmp_path)
    monkeypatch.setattr("tokenswarm.control.workers.DRAIN_EXTRA_S", 0.0)
    if not early:
        ends.workers.drain(time.time(), 0.0)
    message = Rows("w0", ends.run, 1, format_row(failed(1)), made=1, written=1, done=True)
    ends.deliver(Rows, {**encode(message), **changed})
    ends.workers.finish(200.0)
    assert ends.workers.sessions_until(200.0) == until


def test_a_stranger_is_given_nothing(tmp_path: Path) -> None:
    ends = Ends(tmp_path)
    for name in TO_MASTER:
        ends.deliver(type(right(name)), encode(right(name, ends.run)), sender="stranger")
    assert ends.received == [] and ends.master.sent == []
    assert ends.refused == 4
    ends.deliver(messages.ThreadParked, {})
    assert ends.refused == 5, "no thread was given that could have done its loops"


def test_a_plan_that_was_cut_down_by_a_frame_is_not_delivered(tmp_path: Path) -> None:
    """Neither a negative count nor a falling one makes less of what was planned."""
    ends = Ends(tmp_path)
    ends.workers.start_plan(RatePlan("constant", 600.0, 1), time.time() - 10)
    planned = ends.workers.planned(time.time())
    for overtaken in (-1000, -1, 2**60):
        ends.deliver(Rows, {**encode(right("Rows", ends.run)), "overtaken": overtaken})
    assert ends.workers.planned(time.time()) >= planned > 90


def test_a_user_that_locust_makes_after_the_end_ends_without_a_word() -> None:
    load_test = LoadTest.__new__(LoadTest)
    load_test.part, load_test.has_ended = None, True
    environment: Any = SimpleNamespace(tokenswarm=load_test)
    with pytest.raises(GreenletExit):
        ChatUser(environment)
    load_test.has_ended = False
    with pytest.raises(RuntimeError, match="users start after the load test"):
        ChatUser(environment)


def test_what_lives_when_a_run_is_to_end_is_not_looked_at_by_the_garbage_collector() -> None:
    """Locust's list of a thousand users set it off: reading stood still for 20 ms."""
    looked_at: list[int] = []
    load_test = LoadTest.__new__(LoadTest)
    sender: Any = SimpleNamespace(stopping=Event(), schedule=None, settle=lambda: Sender.settle(sender))
    environment: Any = SimpleNamespace(
        stop_timeout=5,
        runner=SimpleNamespace(user_greenlets=iter(lambda: looked_at.append(len(gc.get_objects())), None)),
    )
    load_test.environment, load_test.runner, load_test.workers = environment, environment.runner, None
    load_test.options = SimpleNamespace(run_time=None)  # type: ignore[assignment]
    load_test.process_end = SimpleNamespace(is_over=lambda _part: True)  # type: ignore[assignment]
    load_test.part = RunPart(cast(Any, None), 0.0)
    load_test.part.sender = sender
    before = len(gc.get_objects())
    try:
        load_test._on_stopping()
    finally:
        gc.unfreeze()
    assert sender.stopping.is_set()
    assert looked_at[0] < before / 10


def test_other_things_have_their_turn_while_messages_keep_coming() -> None:
    """Locust's listener takes whatever is there without yielding: a flood kept the run from ever ending."""
    message = SimpleNamespace(type="client_ready", node_id="w")
    server = SimpleNamespace(recv_from_client=lambda: ("w", message))
    runner: Any = SimpleNamespace(server=server, worker_indexes={}, handle_message=lambda _client_id, _message: None)
    guard(runner, Mailbox(runner))
    fired: list[bool] = []
    gevent.spawn_later(0.001, fired.append, True)
    give_up = time.monotonic() + 5.0
    while not fired and time.monotonic() < give_up:
        assert server.recv_from_client() == ("w", message)
    assert fired
