"""Waiting until an instant, to within the event loop's own delay. gevent's timers are whole milliseconds, rounded up:
at 200 requests a second that alone would bend the distribution of the gaps between them."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from functools import cache
from typing import Any

import gevent
from gevent import get_hub

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC if hasattr(os, "O_CLOEXEC") else 0


class _TimeSpec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _TimerSpec(ctypes.Structure):
    _fields_ = [("interval", _TimeSpec), ("value", _TimeSpec)]


class Timer:
    """Wakes one greenlet at a given time of day, by the kernel's timer (timerfd, Linux) or else by gevent's sleep."""

    def __init__(self) -> None:
        self._descriptor = _create_timer()
        self._libc: Any = _libc() if self._descriptor is not None else None
        self._watcher = get_hub().loop.io(self._descriptor, 1) if self._descriptor is not None else None

    def wait_until(self, at: float) -> None:
        """Return at Unix s `at`; at once when that has passed. The wait itself is monotonic."""
        wait_s = at - time.time()
        if wait_s <= 0:
            return
        if self._watcher is None or not self._arm(wait_s):
            gevent.sleep(wait_s)
            return
        get_hub().wait(self._watcher)
        os.read(self._descriptor, 8)  # type: ignore[arg-type]

    def close(self) -> None:
        if self._watcher is not None and self._descriptor is not None:
            self._watcher.stop()
            self._watcher.close()
            os.close(self._descriptor)
            self._watcher = self._descriptor = None

    def _arm(self, wait_s: float) -> bool:
        nanoseconds = max(1, int(wait_s * 1e9))
        spec = _TimerSpec(_TimeSpec(0, 0), _TimeSpec(*divmod(nanoseconds, 1_000_000_000)))
        return bool(self._libc.timerfd_settime(self._descriptor, 0, ctypes.byref(spec), None) == 0)


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _create_timer() -> int | None:
    """A timer's descriptor, `None` where the kernel has none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        create = _libc().timerfd_create
    except (OSError, AttributeError):
        return None
    descriptor = int(create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC))
    return descriptor if descriptor >= 0 else None
