"""Numbers and durations as people write them: finite, plain, with the unit they mean."""

from __future__ import annotations

import math
import re

from tokenswarm.problems import BadInput

MAX_DURATION_S = 366 * 86400.0
"""Longest duration that is taken seriously; anything above it is a slip of the keyboard."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|h|m|s)\s*", re.ASCII)
_SECONDS_PER = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def read_number(text: str) -> float | None:
    """The finite number that `text` is, blanks around it allowed; `None` for everything else (nan, inf, 1_000)."""
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        return None
    number = float(stripped)
    return number if math.isfinite(number) else None


def read_duration(text: str) -> float | None:
    """Seconds of "90s", "2m", "1h30m", "1.5s", "250ms" or "360" (seconds); `None` when it is none of these."""
    stripped = text.strip().lower()
    number = read_number(stripped)
    if number is not None:
        return number if 0 <= number <= MAX_DURATION_S else None
    parts = list(_DURATION_PART.finditer(stripped))
    units = [part[2] for part in parts]
    if not parts or "".join(part[0] for part in parts) != stripped or units != _in_order(units):
        return None
    seconds = sum(float(part[1]) * _SECONDS_PER[part[2]] for part in parts)
    return seconds if seconds <= MAX_DURATION_S else None


def parse_duration(text: str, where: str = "duration") -> float:
    """Seconds of a duration (see `read_duration`). Raises `BadInput`, which names `where`."""
    seconds = read_duration(text)
    if seconds is None:
        raise BadInput([f"{where}: expected a duration as 90s, 2m, 1h30m or 360 (seconds), got {text.strip()!r}"])
    return seconds


def format_number(value: float) -> str:
    """Shortest plain form: 1000 rather than 1000.0."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)


def _in_order(units: list[str]) -> list[str]:
    """Each unit at most once and from large to small, as people write durations."""
    return [unit for unit in _SECONDS_PER if unit in units]
