"""TODO."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a headless run, or `analysis check`, ends."""

    OK = 0
    LOCUST = 1
    BAD_INPUT = 2
    CRITERIA_FAILED = 3
    UNTRUSTED = 4
