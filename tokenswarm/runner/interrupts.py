"""Ctrl-C, taken between the steps of greenlets and by the process that may end the run.

Python's own handler raises `KeyboardInterrupt` in whatever code runs at that moment: in the middle of writing a row,
for instance. Here it is raised where Locust waits for it.

The terminal tells all processes of a run, and only the master may end it: a worker that stops by itself stops beside
the drain that the master has begun, and leaves while its rows are awaited. So a worker that `--processes` made lets
the first Ctrl-C pass while a run is on: the master, which got it as well, tells it to stop. The second one, or a master
that stays silent, ends the worker as usual.

A terminal that is closed, or SIGQUIT, would end the process on the spot: here both are what SIGTERM is, an orderly end.
Where SIGHUP is ignored, as under `nohup`, it stays so.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence

import gevent


def is_made_by_master(processes: int | None, arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether this worker was forked by its own master; a worker that was started as one has a terminal of its own."""
    return bool(processes) and "--worker" not in arguments and not environ.get("LOCUST_MODE_WORKER")


def wait_for_interrupts(is_for_locust: Callable[[], bool] = lambda: True) -> None:
    """From now on Ctrl-C reaches Locust where it waits, and nobody else; and only if `is_for_locust` says so."""

    def on_signal() -> None:
        if is_for_locust():
            _interrupt()

    gevent.signal_handler(signal.SIGINT, on_signal)


def leave_to_master(is_running: Callable[[], bool], patience_s: float) -> None:
    """The same, but let the first Ctrl-C pass during a run, for at most `patience_s`."""
    passed: list[bool] = []

    def on_signal() -> None:
        if passed or not is_running():
            _interrupt()
            return
        passed.append(True)
        gevent.sleep(patience_s)
        if is_running():
            _interrupt()

    gevent.signal_handler(signal.SIGINT, on_signal)


def end_on_hangup(is_for_locust: Callable[[], bool] = lambda: True) -> None:
    """SIGHUP and SIGQUIT end this process as SIGTERM does; and only if `is_for_locust` says so."""

    def on_signal() -> None:
        if is_for_locust():
            os.kill(os.getpid(), signal.SIGTERM)

    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) != signal.SIG_IGN:
            gevent.signal_handler(number, on_signal)


def _interrupt() -> None:
    """Raise in the main greenlet, as gevent itself does with an interrupt that hits its hub."""
    gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())
