"""Waiting for the work of another process, which writes a file or answers a request and tells nobody: there is no event
to wait for, so it is looked for again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

EVENTUALLY_S = 60.0
Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], what: str, timeout_s: float = EVENTUALLY_S) -> Value:
    """The first true value of `condition()`; an OSError is none."""
    deadline = time.monotonic() + timeout_s
    while not (value := _looked_for(condition)):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)
    return value


def _looked_for(condition: Callable[[], Value]) -> Value | None:
    try:
        return condition()
    except OSError:
        return None
