"""Gives a thread group's threads to users, wherever they run: the master knows who is which, its workers ask."""

from __future__ import annotations

from locust.runners import MasterRunner, WorkerRunner

from typing import Any

import gevent.queue

from tokenswarm.runner.shapes import UsersOverTime
from tokenswarm.workload.thread_group import Thread, Threads

ASK = "tokenswarm_thread"
PARK = "tokenswarm_parked"


class ThreadAllocation:
    """The threads of one Locust environment, as its processes see them."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._runner = environment.runner
        self._given: gevent.queue.Queue[Thread] = gevent.queue.Queue()

    def listen(self) -> None:
        """Take part in the conversation of master and workers."""
        if isinstance(self._runner, MasterRunner):
            self._runner.register_message(ASK, self._give)
            self._runner.register_message(PARK, self._count_parked)
        elif isinstance(self._runner, WorkerRunner):
            self._runner.register_message(ASK, lambda msg, **_: self._given.put(Thread(*msg.data)))

    def take(self) -> Thread | None:
        """The next thread, for a user of this process; waits for the master's answer in a worker."""
        if isinstance(self._runner, WorkerRunner):
            self._runner.send_message(ASK, None)
            thread: Thread = self._given.get()
            return thread
        threads = self._threads
        return threads.take("local") if threads is not None else None

    def park(self) -> None:
        """A thread of this process has done its loops."""
        if isinstance(self._runner, WorkerRunner):
            self._runner.send_message(PARK, None)
        elif (threads := self._threads) is not None:
            threads.park("local")

    @property
    def _threads(self) -> Threads | None:
        shape = self._environment.shape_class
        return shape.threads if isinstance(shape, UsersOverTime) else None

    def _give(self, msg: Any, **_: Any) -> None:
        if (threads := self._threads) is not None:
            thread = threads.take(msg.node_id)
            data = [thread.start_at, thread.ends_at, thread.loops]
            self._runner.send_message(ASK, data, client_id=msg.node_id)

    def _count_parked(self, msg: Any, **_: Any) -> None:
        if (threads := self._threads) is not None:
            threads.park(msg.node_id)
