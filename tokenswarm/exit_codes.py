"""How a headless run and the commands of `analysis` end."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """How a headless run, or `analysis check`, ends."""

    OK = 0
    LOCUST = 1
    BAD_INPUT = 2
    CRITERIA_FAILED = 3
    UNTRUSTED = 4
    INTERRUPTED = 5
    INTERNAL_ERROR = 70


_GRAVEST_FIRST = (
    ExitCode.INTERNAL_ERROR,
    ExitCode.BAD_INPUT,
    ExitCode.UNTRUSTED,
    ExitCode.CRITERIA_FAILED,
    ExitCode.INTERRUPTED,
    ExitCode.LOCUST,
    ExitCode.OK,
)


def gravest(codes: Iterable[int]) -> ExitCode:
    """The code that stands for several: not to be trusted before failed before interrupted before passed."""
    return min((ExitCode(code) for code in codes), key=_GRAVEST_FIRST.index, default=ExitCode.OK)
