"""Chat users that begin at random moments within one answer's length, so that they do not go in waves."""

from __future__ import annotations

import random

import gevent

from benchmarks.target import E2E_MS
from tokenswarm.users import ChatUser


class SpreadUser(ChatUser):
    request_name = "chat"

    def on_start(self) -> None:
        gevent.sleep(random.uniform(0.0, E2E_MS / 1000.0))
        super().on_start()
