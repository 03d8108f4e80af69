"""The levels of a load that changes: as planned, spans of time in which it is one value; and what is searched over."""

from __future__ import annotations

import re
from typing import NamedTuple

from tokenswarm.userinput import BadInput, read_number
from tokenswarm.workload.stages import Stages

PARTS = 5
"""A ramp is cut into so many levels, each with its mean load."""


class LoadSpan(NamedTuple):
    """`load` (users or requests per minute) from `begin_s` to `end_s` after the start."""

    load: float
    begin_s: float
    end_s: float


def levels_of(stages: Stages) -> list[LoadSpan]:
    """Every stage that lasts and offers something; neighbours of one load are one level."""
    found: list[LoadSpan] = []
    begin_s, before = 0.0, stages.start
    for duration_s, target in stages.stages:
        if duration_s > 0:
            found += _of_stage(begin_s, duration_s, before, target)
        begin_s, before = begin_s + duration_s, target
    return _joined([level for level in found if level.load > 0])


def _of_stage(begin_s: float, duration_s: float, before: float, target: float) -> list[LoadSpan]:
    if before == target:
        return [LoadSpan(target, begin_s, begin_s + duration_s)]
    return [
        LoadSpan(
            before + (target - before) * (number + 0.5) / PARTS,
            begin_s + duration_s * number / PARTS,
            begin_s + duration_s * (number + 1) / PARTS,
        )
        for number in range(PARTS)
    ]


def _joined(levels: list[LoadSpan]) -> list[LoadSpan]:
    joined: list[LoadSpan] = []
    for level in levels:
        last = joined[-1] if joined else None
        if last is not None and last.load == level.load and last.end_s == level.begin_s:
            joined[-1] = last._replace(end_s=level.end_s)
        else:
            joined.append(level)
    return joined


RPM, SESSIONS, USERS = "RPM", "sessions/min", "users"
"""What a load is of, as reports write it."""

MAX_USERS = 1_000_000
_UNITS = {"rpm": RPM, "sessions": SESSIONS, "users": USERS, "": ""}
_RANGE = re.compile(r"(?P<low>[^.].*?)\.\.(?P<high>\S+?)\s*(?P<unit>rpm|sessions|users)?", re.IGNORECASE)


class SearchRange(NamedTuple):
    """From `low` to `high`; `unit` is empty where it was not said."""

    low: float
    high: float
    unit: str

    def text(self, load: float) -> str:
        """`8 users`, `240 RPM`."""
        return load_text(load, self.unit)


def load_text(load: float, unit: str) -> str:
    """`8 users`, `1 user`, `240 RPM`."""
    return f"{load:g} {'user' if unit == USERS and load == 1 else unit}"


def parse_search(text: str) -> SearchRange:
    """`10..120`, `10..600 rpm`, `10..200 sessions`, `1..64 users`. Raises `BadInput`."""
    found = _RANGE.fullmatch(text.strip())
    low, high = (read_number(found[name]) if found else None for name in ("low", "high"))
    unit = _UNITS[(found["unit"] or "").lower()] if found else ""
    if low is None or high is None or not 0 < low < high:
        raise BadInput(
            [f"search: expected lowest..highest, as 10..120 rpm, 5..50 sessions or 1..64 users, got {text!r:.80}"]
        )
    if unit == USERS and not (low.is_integer() and high.is_integer() and high <= MAX_USERS):
        raise BadInput([f"search: expected whole numbers of users up to {MAX_USERS}, got {text!r}"])
    return SearchRange(low, high, unit)
