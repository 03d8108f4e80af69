"""Gives a thread group's threads to users, wherever they run: the master knows who is which, its workers ask."""

from __future__ import annotations

from locust.runners import MasterRunner, WorkerRunner

import math
from typing import TYPE_CHECKING

import gevent.queue

from tokenswarm.control.mailbox import Mailbox
from tokenswarm.control.messages import IllFormed, ThreadGiven, ThreadParked, ThreadWanted
from tokenswarm.runner.shapes import UsersOverTime
from tokenswarm.workload.thread_group import Thread, Threads

if TYPE_CHECKING:
    from locust.env import Environment


class ThreadAllocation:
    """The threads of one Locust environment, as its processes see them. `mailbox`: `None` in a local run."""

    def __init__(self, environment: Environment, mailbox: Mailbox | None) -> None:
        self._environment = environment
        self._mailbox = mailbox
        self._asks = isinstance(environment.runner, WorkerRunner)
        self._given: gevent.queue.Queue[Thread] = gevent.queue.Queue()

    def listen(self) -> None:
        """Take part in the conversation of master and workers."""
        if self._mailbox is None:
            return
        if isinstance(self._environment.runner, MasterRunner):
            self._mailbox.listen(ThreadWanted, self._give)
            self._mailbox.listen(ThreadParked, self._count_parked)
        else:
            self._mailbox.listen(ThreadGiven, self._receive)

    def take(self) -> Thread | None:
        """The next thread, for a user of this process; waits for the master's answer in a worker."""
        if self._mailbox is not None and self._asks:
            self._mailbox.send(ThreadWanted())
            thread: Thread = self._given.get()
            return thread
        threads = self._threads
        return threads.take("local") if threads is not None else None

    def park(self) -> None:
        """A thread of this process has done its loops."""
        if self._mailbox is not None and self._asks:
            self._mailbox.send(ThreadParked())
        elif (threads := self._threads) is not None:
            threads.park("local")

    @property
    def _threads(self) -> Threads | None:
        shape = self._environment.shape_class
        return shape.threads if isinstance(shape, UsersOverTime) else None

    def _give(self, _message: ThreadWanted, client_id: str) -> None:
        self._check_worker(client_id)
        if self._mailbox is not None and (threads := self._threads) is not None:
            thread = threads.take(client_id)
            ends_at = thread.ends_at if math.isfinite(thread.ends_at) else None
            self._mailbox.send(ThreadGiven(thread.start_at, ends_at, thread.loops), client_id)

    def _receive(self, message: ThreadGiven, _sender: str) -> None:
        self._given.put(
            Thread(message.start_at, math.inf if message.ends_at is None else message.ends_at, message.loops)
        )

    def _count_parked(self, _message: ThreadParked, client_id: str) -> None:
        self._check_worker(client_id)
        if (threads := self._threads) is not None and not threads.park(client_id):
            raise IllFormed(f"{ThreadParked.NAME}: expected no more threads than were given, got one")

    def _check_worker(self, client_id: str) -> None:
        runner = self._environment.runner
        if not isinstance(runner, MasterRunner) or client_id not in runner.worker_indexes:
            raise IllFormed("thread: expected a worker that asks, got somebody else")
