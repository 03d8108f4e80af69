"""Ctrl-C on a run of several processes: the terminal tells all of them, and only the master may end the run.

A worker that stops by itself stops beside the drain that the master has begun, and leaves while its rows are awaited.
So a worker that `--processes` made lets the first Ctrl-C pass while a run is on: the master, which got it as well,
tells it to stop. The second one, or a master that stays silent, ends the worker as usual.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

import gevent


def is_made_by_master(processes: int | None, arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether this worker was forked by its own master; a worker that was started as one has a terminal of its own."""
    return bool(processes) and "--worker" not in arguments and not environ.get("LOCUST_MODE_WORKER")


def leave_to_master(is_running: Callable[[], bool], patience_s: float) -> None:
    """Let the first Ctrl-C pass during a run, for at most `patience_s`."""
    passed: list[bool] = []

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if passed or not is_running():
            signal.default_int_handler(number, frame)
        passed.append(True)
        gevent.spawn_later(patience_s, _interrupt_again, is_running)

    signal.signal(signal.SIGINT, on_interrupt)


def _interrupt_again(is_running: Callable[[], bool]) -> None:
    if is_running():
        os.kill(os.getpid(), signal.SIGINT)
