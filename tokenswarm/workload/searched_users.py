"""Users over time as a search asks for them: a shape whose next value is not known before."""

from __future__ import annotations

import math


class SearchedUsers:
    """`wanted`: how many users there should be from now on."""

    duration_s = math.inf

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted

    def users(self, t_s: float) -> int:
        """However long the search is on."""
        return self.wanted
