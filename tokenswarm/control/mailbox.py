"""Sends and receives the messages of `messages` through one Locust runner. What is none of them is counted and said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tokenswarm.control.messages import ControlMessage, IllFormed, M, decode, encode

if TYPE_CHECKING:
    from locust.runners import MasterRunner, WorkerRunner

logger = logging.getLogger(__name__)


class Mailbox:
    """Of one process, run after run. `refused`: messages that were not what their names say, so far."""

    def __init__(self, runner: MasterRunner | WorkerRunner) -> None:
        self._runner = runner
        self.refused = 0

    def send(self, message: ControlMessage, to: str | None = None) -> None:
        """To the master, or from it to the worker `to`."""
        self._runner.send_message(message.NAME, encode(message), client_id=to)

    def listen(self, kind: type[M], take: Callable[[M, str], None], concurrent: bool = False) -> None:
        """Hand every message of a kind, and the id of who sent it, to `take`, which may find it ill-formed, too."""

        def on_message(msg: Any, **_: Any) -> None:
            try:
                take(decode(kind, msg.data), str(msg.node_id))
            except IllFormed as error:
                self.refuse(str(msg.node_id), error)

        self._runner.register_message(kind.NAME, on_message, concurrent)

    def refuse(self, sender: str, problem: object) -> None:
        """Count something that was received and is no message; the first one is described in the log."""
        self.refused += 1
        if self.refused == 1:
            logger.warning("A message from %s was left out, further ones are only counted: %s", sender[:60], problem)
