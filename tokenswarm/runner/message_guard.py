"""Keeps Locust's master alive when something else than a worker writes to its port.

Locust's own listener ends at the first frame that it cannot read, and with it the run. Here such a frame is counted and
left out; messages that Locust knows and whose content is not what it expects, too. And it never yields while messages
are waiting: with more than it can take nothing else would run in the master, its timer of the run time included.
"""

from __future__ import annotations

from locust.exception import RPCError, RPCReceiveError

import time
from typing import TYPE_CHECKING, Any

import gevent

if TYPE_CHECKING:
    from locust.rpc.protocol import Message
    from locust.runners import MasterRunner

    from tokenswarm.control.mailbox import Mailbox


TURN_S = 0.01
"""How long messages are taken before everything else has its turn."""


def guard(runner: MasterRunner, mailbox: Mailbox) -> None:
    """From now on nothing that is received ends the listener of `runner`; it is counted as refused in `mailbox`."""
    receive: Any = runner.server.recv_from_client
    handle = runner.handle_message
    turn_ends = time.monotonic() + TURN_S

    def recv_from_client() -> tuple[str, Message]:
        nonlocal turn_ends
        while True:
            if time.monotonic() >= turn_ends:
                gevent.sleep(0)
                turn_ends = time.monotonic() + TURN_S
            try:
                client_id, message = receive()
            except RPCReceiveError as error:
                mailbox.refuse(str(error.addr), "expected a message, got bytes that are none")
            except RPCError:
                raise  # the connection itself: Locust makes a new one
            except Exception as error:  # whatever bytes of strangers make of msgpack: the master goes on
                mailbox.refuse("an unknown sender", f"expected a message, got {type(error).__name__}")
            else:
                known = client_id in runner.worker_indexes  # has said that it is ready, and may have left since
                if _is_message(message) and (known or message.type in FIRST_WORDS):
                    return client_id, message
                mailbox.refuse(client_id, f"expected a message of a worker, got {str(message.type)[:40]!r}")

    def handle_message(client_id: str, message: Message) -> None:
        try:
            handle(client_id, message)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            mailbox.refuse(client_id, f"{message.type}: expected other content, got {type(error).__name__}: {error}")

    setattr(runner.server, "recv_from_client", recv_from_client)  # noqa: B010
    setattr(runner, "handle_message", handle_message)  # noqa: B010


FIRST_WORDS = ("client_ready", "locustfile")
"""What a worker says before Locust knows it."""


def _is_message(message: Any) -> bool:
    return isinstance(message.type, str) and isinstance(message.node_id, str)
