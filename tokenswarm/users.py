"""Abstract Locust users: they wait for their turn, take the next request, call, and record.

Importing this module makes Locust know Tokenswarm's options. A locustfile derives from `ChatUser` or `RagUser`, or from
`ApiUser` for an API of its own, and may say how often (`weight`), under which name (`request_name`), and what else its
users do.
"""

from __future__ import annotations

from locust import User, task
from locust.exception import StopUser

import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from gevent import GreenletExit

from tokenswarm.apis.api import Api, Encoded
from tokenswarm.apis.gpt_rag import GptRagV1, GptRagV2
from tokenswarm.apis.named import api_of
from tokenswarm.apis.request import RagRequest, Request
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import Client
from tokenswarm.client.endpoint import Endpoint, FixedEndpoint, extended
from tokenswarm.client.several import SeveralClients
from tokenswarm.config.settings import OTHER, Settings
from tokenswarm.plugin import register
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.runner.load_test import load_test_of
from tokenswarm.sender.composer import Composer
from tokenswarm.sender.graph_run import GraphRun
from tokenswarm.sender.schedule import Due
from tokenswarm.sender.sender import Sender
from tokenswarm.sender.session import Session, StepRows, pause_until
from tokenswarm.sender.session_graphs import ComposedSteps
from tokenswarm.traffic.recorded import Recorded
from tokenswarm.workload.arrivals import Arrival
from tokenswarm.workload.thread_group import Thread

if TYPE_CHECKING:
    from locust.env import Environment

register()

FIRST_BACK_OFF_S = 0.1
MAX_BACK_OFF_S = 1.0


class ApiUser(User):
    """A virtual user of one API. In open loop it waits for arrivals, in closed loop it thinks between answers.

    A locustfile with an API of its own gives `api`, and `headers` where a key is needed; it is asked at `--host`, with
    what the scenario says to ask, as `ChatRequest`s.
    """

    abstract = True
    target: ClassVar[str] = OTHER
    """What it asks, as the column `target` has it."""
    request_name: ClassVar[str] = ""
    """Name of its requests in Locust's statistics, in rows and in criteria (`Name: p95(...)`)."""
    api: ClassVar[Api[Any] | None] = None
    """How its target is asked (`tokenswarm.apis.api.Api`)."""
    headers: ClassVar[Mapping[str, str]] = {}
    """Keys of an API of one's own, by header; their values are kept out of whatever is written."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.load_test = load_test_of(environment)
        settings, sender = self.load_test.settings, self.load_test.sender
        if settings is None or sender is None:
            if self.load_test.has_ended:
                raise GreenletExit  # Locust was still making users when this process was told to end
            raise RuntimeError("users start after the load test")
        self.settings: Settings = settings
        self.sender: Sender = sender
        number = self.load_test.next_user_number()
        telemetry = sender.telemetry
        trace = telemetry.headers if telemetry else None
        self.caller = Caller(
            self.load_test.worker_name,
            number,
            self.target,
            trace,
            stopping=sender.stopping,
            route_header=settings.sending.route_header,
        )
        self.rng = random.Random(f"{settings.seed}:{self.caller.worker}:{number}")
        self.composer = self._make_composer(self.rng)
        self.due: Due | None = None
        self.composed: tuple[Any, Encoded] | None = None
        self.thread: Thread | None = None
        self.refusals = 0
        self.client = self._make_client()
        self._spare: list[Client[Any]] = []
        """Further connections, for steps that are sent while others are under way."""
        self._run: GraphRun | None = None

    def _make_client(self) -> Client[Any]:
        return Client(self.make_api(), self.make_endpoint(), self.settings.sending, self.caller)

    def _make_composer(self, rng: random.Random) -> Composer:
        name = self.settings.name_of(self.request_name)
        sender = self.sender
        return Composer(self.settings, sender.questions, rng, name, sender.replay, sender.seen)

    def make_api(self) -> Api[Any]:
        """How its target is asked."""
        if self.api is None:
            raise TypeError(f"{type(self).__name__}.api: expected an object that says how to ask, got none")
        return self.api

    def make_endpoint(self) -> Endpoint:
        """Where its target is, and with which credentials."""
        for value in self.headers.values():
            self.load_test.preparation.secrets.add(value)
            self.load_test.preparation.secrets.add(value.rpartition(" ")[2])
        return extended(FixedEndpoint(self.settings.host or "", self.headers), self.settings.sending)

    def wait_time(self) -> float:
        """Seconds to wait. The wait for an arrival happens in here: a user who waits can be stopped at once."""
        schedule = self.sender.schedule
        if schedule is None:
            return self._think_s()
        self.due = schedule.take()
        if self.settings.traffic.graphs:
            self._run = self._next_run(self.due)  # its first steps wait until they are due
            return 0.0
        self.composed = self.compose(self.due.arrival)
        self.due.come.wait()
        return 0.0

    def _think_s(self) -> float:
        think_s = max(self.settings.think_time.sample(self.rng), self._back_off_s())
        if self.thread is None:
            return think_s
        pause_s = self.thread.pause_s(think_s, time.time())
        if self.thread.parked:
            self.load_test.thread_allocation.park()
        return pause_s

    def _back_off_s(self) -> float:
        """Seconds that a closed load waits at least after so many refusals or 429s in a row: whoever is sent back at
        once and does not think would else ask a thousand times a second."""
        if self.refusals == 0:
            return 0.0
        self.sender.note_back_off()
        return min(FIRST_BACK_OFF_S * 2.0 ** min(self.refusals - 1, 30), MAX_BACK_OFF_S)

    def on_start(self) -> None:
        self.thread = self.load_test.take_thread()
        if self.sender.schedule is not None or self.thread is not None:
            self.wait()  # type: ignore[no-untyped-call]

    def on_stop(self) -> None:
        """An arrival that this user had taken and could not send any more is another user's, or given up at the end."""
        schedule, due = self.sender.schedule, self.due
        self.due = None
        if schedule is not None and due is not None:
            if self.load_test.ended:
                schedule.give_up(due, "the run ended before it was sent")
            else:
                schedule.put_back(due)
        for client in (self.client, *self._spare):
            client.close()

    @task
    def ask(self) -> None:
        """Send the next request, unless the run has ended while this user was about to."""
        if self.load_test.ended:
            raise StopUser
        due = self.due.scheduled_at if self.due else None
        if self.settings.traffic.graphs:
            run, self._run = self._run or self._next_run(None), None
            with self.sender.in_session(run.session):
                run.go_through()
            if self.load_test.ended:
                raise StopUser  # with the arrival, where none of its steps was sent any more: see `on_stop`
            return
        request, encoded = self.composed or self.compose(None)
        self.composed = None
        if self.settings.traffic.sessions:
            session = Session(uuid.uuid4().hex, due, self.emit)
            with self.sender.in_session(session):
                self._go_through_session(session, request, encoded, due)
        else:
            self._call(request, encoded, self.emit, due)

    def _call(
        self,
        request: Request,
        encoded: Encoded,
        emit: Callable[[RequestRecord], None],
        scheduled_at: float | None,
        due_at: float | None = None,
    ) -> RequestRecord:
        with self.sender.in_flight():
            reply = self.client.call(request, emit, scheduled_at, encoded, due_at)
        record = reply.record
        if self.sender.answers is not None:
            self.sender.answers.offer(record, reply.text)
        is_ok = record.outcome is Outcome.OK
        self.composer.answer(reply.text, record.conversation_id, is_ok, reply.answer_id, reply.called)
        return record

    def _go_through_session(
        self, session: Session, request: Request, encoded: Encoded, scheduled_at: float | None
    ) -> None:
        """A session from its first request to its end, or that of the run: each next one is due a pause after the
        answer."""
        due_at, path_s = None, 0.0
        while True:
            rows = session.next_step(path_s)
            try:
                record = self._call(request, encoded, rows.take, scheduled_at, due_at)
                if rows.close(not self.composer.goes_on, self.composer.gave_up):
                    return
            finally:
                rows.flush()
            pause_s = self.composer.pause_s()
            due_at, path_s = (record.ended_at or time.time()) + pause_s, rows.path_s + pause_s
            request, encoded = self.compose(None)
            scheduled_at = None
            # Without a pause nothing waits that would see the end of the run.
            if self.sender.stopping.is_set() or pause_until(self.sender.stopping.wait, due_at):
                return

    def _next_run(self, due: Due | None) -> GraphRun:
        """A session of steps, several of which may be under way at once, each on a connection of its own."""
        arrival, scheduled_at = (due.arrival, due.scheduled_at) if due is not None else (None, None)
        self._begin_session(arrival)
        steps = ComposedSteps(self.composer.next_graph(arrival), self.client.encode)
        session = Session(uuid.uuid4().hex, scheduled_at, self.emit)
        if not self._spare:
            self._spare.append(self._make_client())

        def ask(position: int, rows: StepRows, due_at: float | None, wait: Callable[[], bool]) -> None:
            request, encoded = steps.take(position)
            client = self._spare.pop() if self._spare else self._make_client()
            try:
                if not wait():
                    first = scheduled_at if rows.number == 1 else None
                    with self.sender.in_flight():
                        reply = client.call(request, rows.take, first, encoded, due_at)
                    if self.sender.answers is not None:
                        self.sender.answers.offer(reply.record, reply.text)
                    steps.graph.answered(position, reply.text)
            finally:
                self._spare.append(client)

        stopping = self.sender.stopping
        pause = partial(pause_until, stopping.wait)
        return GraphRun(steps.graph.steps, session, ask, stopping.is_set, pause, steps.prepare)

    def emit(self, record: RequestRecord) -> None:
        """Record one finished attempt."""
        self.due = None  # the arrival has a row now
        sent_back = record.refused or record.outcome is Outcome.THROTTLED
        self.refusals = self.refusals + 1 if sent_back else 0
        self.load_test.record(record)

    def compose(self, arrival: Arrival | None) -> tuple[Request, Encoded]:
        """Put the next request and its bytes together, which is done before it is due."""
        self._begin_session(arrival)
        request = self.next_request(arrival)
        return request, self.client.encode(request)

    def _begin_session(self, arrival: Arrival | None) -> None:
        """The session of an arrival is the same, whoever goes through it."""
        if arrival is not None and self.settings.traffic.sessions:
            self.composer = self._make_composer(random.Random(f"{self.settings.seed}:{arrival.index}:session"))

    def next_request(self, arrival: Arrival | None) -> Request:
        """What to ask next."""
        return self.composer.next_chat(arrival)


class ChatUser(ApiUser):
    """Calls a chat-completion deployment: synthetic prompts, questions of a dataset, or conversations."""

    abstract = True
    target = "chat"
    request_name = "chat"

    def make_api(self) -> Api[Any]:
        assert self.settings.chat is not None
        if self.sender.replay is not None:
            return Recorded(self.settings.chat)
        return api_of(self.settings.chat)

    def _make_client(self) -> Client[Any]:
        several = self.sender.several
        if not several:
            return super()._make_client()
        clients: list[Client[Any]] = [
            Client(api_of(target), endpoint, self.settings.sending, replace(self.caller, deployment=name))
            for name, (target, endpoint) in several.items()
        ]
        return SeveralClients(clients, self.sender.shares)

    def make_endpoint(self) -> Endpoint:
        assert self.sender.chat_endpoint is not None
        return self.sender.chat_endpoint

    def next_request(self, arrival: Arrival | None) -> Request:
        assert self.settings.chat is not None
        if self.sender.replay is not None:
            return self.composer.next_recorded(arrival)
        if self.settings.chat.asks == "embeddings":
            return self.composer.next_texts(arrival)
        return self.composer.next_chat(arrival)


class RagUser(ApiUser):
    """Asks a RAG orchestrator questions of a dataset, in conversations of `turns-per-conversation`."""

    abstract = True
    target = "rag"
    request_name = "orchestrator"

    def make_api(self) -> Api[RagRequest]:
        assert self.settings.rag is not None
        rag = self.settings.rag
        return GptRagV1(rag.body, rag.answer_path) if rag.contract == "v1" else GptRagV2(rag.body)

    def make_endpoint(self) -> Endpoint:
        assert self.settings.rag is not None
        rag = self.settings.rag
        return extended(FixedEndpoint(rag.url, rag.headers), self.settings.sending)

    def next_request(self, arrival: Arrival | None) -> RagRequest:
        return self.composer.next_question(arrival)
