"""Locustfile of the self-check: chat users that join level by level, each at a random moment of its level's ramp.

All users are spawned at the start and sleep until their level begins: spawning would disturb the measurement. Levels
and their length come from the environment (`TOKENSWARM_SELFCHECK_LEVELS`, `..._LEVEL_S`, `..._RAMP_S`).
"""

from __future__ import annotations

from locust import events

import os
import random
import time
from typing import Any

import gevent

from tokenswarm.users import ChatUser

LEVELS = [int(streams) for streams in os.environ.get("TOKENSWARM_SELFCHECK_LEVELS", "1").split(",")]
LEVEL_S = float(os.environ.get("TOKENSWARM_SELFCHECK_LEVEL_S", "7"))
RAMP_S = float(os.environ.get("TOKENSWARM_SELFCHECK_RAMP_S", "2"))
_started: list[float] = []


@events.spawning_complete.add_listener  # type: ignore[untyped-decorator]
def note_start(**_: Any) -> None:
    """Users sleep until all of them are there: then the first level begins."""
    _started.append(time.monotonic())


class JoiningUser(ChatUser):
    """Waits for its level. Random moments keep the requests of a target with fixed timing from going in waves."""

    request_name = "chat"

    def on_start(self) -> None:
        while not _started:
            gevent.sleep(0.05)
        number = self.caller.user or 1
        level = next((index for index, streams in enumerate(LEVELS) if number <= streams), len(LEVELS) - 1)
        begins = _started[0] + level * LEVEL_S + random.uniform(0.0, RAMP_S)
        gevent.sleep(max(0.0, begins - time.monotonic()))
        super().on_start()
