"""What the prompts of each worker began with, told to the others by their master: those on other machines do not share
what they remember. Nothing is told where all of them do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import gevent

from tokenswarm.control.mailbox import Mailbox
from tokenswarm.control.messages import MAX_BLOCKS_BYTES, IllFormed, SeenBlocks

if TYPE_CHECKING:
    from locust.runners import MasterRunner

EVERY_S = 0.2
"""How often all workers are told; each says what is new twice a second."""
TAKEN_AT_ONCE_BYTES = 16_384
"""Of what others have sent, before answers that have come meanwhile are read: 0.3 ms."""


class Memory(Protocol):
    """What prompts began with, see `SeenPrefixes`."""

    def take_fresh(self) -> bytes: ...

    def remember(self, told: bytes) -> None: ...


class SeenTeller:
    """Of one worker, run after run. `memory`: of the run that is on, `None` where nothing is remembered; `run`: its
    name, and whether this worker is on another machine than its master."""

    def __init__(
        self, mailbox: Mailbox, memory: Callable[[], Memory | None], run: Callable[[], tuple[str, bool]]
    ) -> None:
        self._mailbox = mailbox
        self._memory = memory
        self._run = run

    def listen(self) -> None:
        """Remember from now on what the master says."""
        self._mailbox.listen(SeenBlocks, self._take, concurrent=True)

    def tell(self) -> None:
        """What is new."""
        if (memory := self._memory()) is None:
            return
        fresh, (run, is_elsewhere) = memory.take_fresh(), self._run()
        for begin in range(0, len(fresh), MAX_BLOCKS_BYTES):
            self._mailbox.send(SeenBlocks(run, fresh[begin : begin + MAX_BLOCKS_BYTES], is_elsewhere))

    def _take(self, message: SeenBlocks, _master: str) -> None:
        memory = self._memory()
        if memory is None or message.run != self._run()[0]:
            return
        for begin in range(0, len(message.blocks), TAKEN_AT_ONCE_BYTES):
            memory.remember(message.blocks[begin : begin + TAKEN_AT_ONCE_BYTES])
            gevent.sleep(0)


class SeenRelay:
    """Of one master, run after run."""

    def __init__(self, runner: MasterRunner, mailbox: Mailbox) -> None:
        self._runner = runner
        self._mailbox = mailbox
        self._run = ""
        self._untold = bytearray()
        self._is_needed = False
        self._telling: Any = None
        mailbox.listen(SeenBlocks, self._take)

    def begin(self, run: str) -> None:
        """A run starts, of that name."""
        self._run, self._is_needed = run, False
        self._untold.clear()

    def _take(self, message: SeenBlocks, client_id: str) -> None:
        if client_id not in self._runner.clients:
            raise IllFormed(f"{message.NAME}: expected a worker, got somebody else")
        if message.run != self._run:
            return
        self._is_needed |= message.is_elsewhere
        self._untold += message.blocks
        del self._untold[:-MAX_BLOCKS_BYTES]
        if self._is_needed and self._telling is None:
            self._telling = gevent.spawn_later(EVERY_S, self._tell)

    def _tell(self) -> None:
        self._telling = None
        message = SeenBlocks(self._run, bytes(self._untold))
        self._untold.clear()
        for client_id in list(self._runner.clients):
            self._mailbox.send(message, client_id)
