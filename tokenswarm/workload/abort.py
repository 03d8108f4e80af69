"""People who leave before their answer has ended: how many, and after how long. No clock.

abort = 5 % after uniform(1, 5) s
abort = 20% after 3 s
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from tokenswarm.userinput import BadInput, format_number, read_number
from tokenswarm.workload.distributions import Pause, parse_pause

_FORM = re.compile(r"(?P<share>[^%]+)%\s*after\s+(?P<pause>.+)", re.DOTALL)
_UNIT = re.compile(r"(?:(?<=\))\s*|(?<=\d)\s+)s(?:econds?)?$")
"""Seconds, apart from the figure or behind the distribution: 3s and 500ms are read with their unit."""


@dataclass(frozen=True, slots=True)
class Abort:
    """`share_pct` percent of the requests are left `after` so many seconds, counted from their first attempt."""

    share_pct: float
    after: Pause

    def sample(self, rng: random.Random) -> float | None:
        """s after which the user of the next request leaves; `None` when the user waits for the answer."""
        leaves = rng.random() * 100.0 < self.share_pct
        after_s = self.after.sample(rng)
        return after_s if leaves else None

    def __str__(self) -> str:
        return f"{format_number(self.share_pct)} % after {self.after} s"


def parse_abort(text: str) -> Abort:
    """Parse "5 % after uniform(1, 5) s". Raises `BadInput`."""
    expected = "expected a share and a time, as 5 % after uniform(1, 5) s"
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise BadInput([f"abort: {expected}, got {text.strip()!r:.80}"])
    share_pct, pause = read_number(match["share"]), _UNIT.sub("", match["pause"])
    if share_pct is None or not 0 < share_pct <= 100:
        raise BadInput([f"abort: expected a share above 0 % and up to 100 %, got {match['share'].strip()!r:.40} %"])
    return Abort(share_pct, parse_pause(pause, "abort"))
