"""What a capacity search goes over, and how long it holds a level."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from tokenswarm.metrics.criteria import Criterion, percentile_of
from tokenswarm.metrics.samples import needed
from tokenswarm.userinput import BadInput, read_number

RPM, SESSIONS, USERS = "RPM", "sessions/min", "users"
"""What a load is of, as reports write it."""

MAX_USERS = 1_000_000
SPARE = 1.1
"""More requests than a percentile needs: a throttled one has no latency."""

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


def answers_needed(criteria: Sequence[Criterion]) -> int:
    """Requests of a level from which every percentile of the criteria is carried."""
    percentiles = (percentile_of(criterion.aggregation) for criterion in criteria)
    return math.ceil(max((needed(p) for p in percentiles if p is not None), default=1) * SPARE)


def hold_s(rate_rpm: float, criteria: Sequence[Criterion], least_s: float, whole_minutes: bool) -> float:
    """How long a level of a rate is held: until every percentile of the criteria is carried, `least_s` at least.

    `whole_minutes`: a limiter that counts per clock minute judges minutes, not seconds.
    """
    seconds = max(least_s, answers_needed(criteria) * 60 / rate_rpm)
    return math.ceil(seconds / 60 - 1e-9) * 60.0 if whole_minutes else seconds
