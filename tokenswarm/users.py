"""Abstract Locust users: they wait for their turn, take the next request, call, and record.

Importing this module makes Locust know Tokenswarm's options. A locustfile derives from `ChatUser` or `RagUser` and
may say how often (`weight`), under which name (`request_name`), and what else its users do.
"""

from __future__ import annotations

from locust import User, task
from locust.exception import StopUser

import random
import time
from typing import Any, ClassVar

from tokenswarm.apis.request import ChatRequest, RagRequest
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import ChatClient, RagClient
from tokenswarm.config.settings import Settings
from tokenswarm.plugin import register
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.runner.load_test import load_test_of
from tokenswarm.sender.composer import Composer
from tokenswarm.sender.schedule import Due
from tokenswarm.sender.sender import Sender
from tokenswarm.workload.arrivals import Arrival
from tokenswarm.workload.thread_group import Thread

register()


class TargetUser(User):
    """A virtual user of one target. In open loop it waits for arrivals, in closed loop it thinks between answers."""

    abstract = True
    target: ClassVar[str] = ""
    request_name: ClassVar[str] = ""
    """Name of its requests in Locust's statistics, in rows and in criteria (`Name: p95(...)`)."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.load_test = load_test_of(environment)
        settings, sender = self.load_test.settings, self.load_test.sender
        if settings is None or sender is None:
            raise RuntimeError("users start after the load test")
        self.settings: Settings = settings
        self.sender: Sender = sender
        number = self.load_test.next_user_number()
        telemetry = sender.telemetry
        self.caller = Caller(self.load_test.worker_name, number, telemetry.headers if telemetry else None)
        self.rng = random.Random(f"{settings.seed}:{self.caller.worker}:{number}")
        self.composer = Composer(settings, sender.questions, self.rng, self.request_name)
        self.due: Due | None = None
        self.composed: tuple[Any, bytes] | None = None
        self.thread: Thread | None = None

    def wait_time(self) -> float:
        """Seconds to wait. The wait for an arrival happens in here: a user who waits can be stopped at once."""
        schedule = self.sender.schedule
        if schedule is None:
            return self._think_s()
        self.due = schedule.take()
        self.composed = self.compose(self.due.arrival)
        self.due.come.wait()
        return 0.0

    def _think_s(self) -> float:
        think_s = self.settings.think_time.sample(self.rng)
        if self.thread is None:
            return think_s
        pause_s = self.thread.pause_s(think_s, time.time())
        if self.thread.parked:
            self.load_test.thread_allocation.park()
        return pause_s

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
        self.close()

    @task
    def ask(self) -> None:
        """Send the next request, unless the run has ended while this user was about to."""
        if self.load_test.ended:
            raise StopUser
        due = self.due
        request, body = self.composed or self.compose(None)
        self.composed = None
        with self.sender.in_flight():
            self.send(request, body, due.scheduled_at if due else None)

    def emit(self, record: RequestRecord) -> None:
        """Record one finished attempt."""
        self.due = None  # the arrival has a row now
        self.load_test.record(record)

    def compose(self, arrival: Arrival | None) -> tuple[Any, bytes]:
        """Put the next request and its body together, which is done before it is due."""
        raise NotImplementedError

    def send(self, request: Any, body: bytes, scheduled_at: float | None) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class ChatUser(TargetUser):
    """Calls a chat-completion deployment: synthetic prompts, questions of a dataset, or conversations."""

    abstract = True
    target = "chat"
    request_name = "chat"

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        template = self.sender.chat_template
        assert template is not None
        self.client = ChatClient(template, self.settings.sending, self.caller)

    def compose(self, arrival: Arrival | None) -> tuple[ChatRequest, bytes]:
        request = self.composer.next_chat(arrival)
        return request, self.client.encode(request)

    def send(self, request: ChatRequest, body: bytes, scheduled_at: float | None) -> None:
        reply = self.client.call(request, self.emit, scheduled_at, body)
        self.composer.answer(reply.text, None, reply.record.outcome is Outcome.OK)

    def close(self) -> None:
        self.client.close()


class RagUser(TargetUser):
    """Asks a RAG orchestrator questions of a dataset, in conversations of `turns-per-conversation`."""

    abstract = True
    target = "rag"
    request_name = "orchestrator"

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        assert self.settings.rag is not None
        self.client = RagClient(self.settings.rag, self.settings.sending, self.caller)

    def compose(self, arrival: Arrival | None) -> tuple[RagRequest, bytes]:
        request = self.composer.next_question(arrival)
        return request, self.client.encode(request)

    def send(self, request: RagRequest, body: bytes, scheduled_at: float | None) -> None:
        reply = self.client.call(request, self.emit, scheduled_at, body)
        record = reply.record
        self.composer.answer(reply.text, record.conversation_id, record.outcome is Outcome.OK)

    def close(self) -> None:
        self.client.close()
