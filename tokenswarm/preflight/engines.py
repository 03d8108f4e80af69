"""This process's place among independent engines that run one test without a master, as on Azure Load Testing.

Such a service starts the same script on several machines and splits the users, nothing else. The count and the place
come from the environment: `TOKENSWARM_ENGINE_COUNT` engines in all, of which this is number `TOKENSWARM_ENGINE_INDEX`,
from 0. With both, the engines share one plan and one dataset as workers do. An engine that is not told its place draws
one: the rates still add up, but two engines may have drawn the same part, and then another part is missing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tokenswarm.userinput import BadInput

COUNT_VARIABLE = "TOKENSWARM_ENGINE_COUNT"
INDEX_VARIABLE = "TOKENSWARM_ENGINE_INDEX"

MAX_ENGINES = 1000

_draw_below = random.SystemRandom().randrange  # engines that start at the same instant must not draw alike


@dataclass(frozen=True, slots=True)
class Engines:
    """How many engines run this test, and which one this is; `known` is false when the place was drawn."""

    count: int = 1
    index: int = 0
    known: bool = True

    def place(self, position: int, workers: int) -> tuple[int, int]:
        """Position and count over all engines of worker `position` of the `workers` of this engine.

        Arrival or question i belongs to the position i modulo count. Every engine must have the same `workers`.
        """
        return self.index * workers + position, self.count * workers


def read_engines(environment: Mapping[str, str], draw: Callable[[int], int] = _draw_below) -> Engines:
    """The place in the environment; one engine when nothing is set. Raises `BadInput` listing every problem.

    `draw` gives a number below the count for an engine that is not told its place.
    """
    problems: list[str] = []
    count = _whole(environment, COUNT_VARIABLE, 1, MAX_ENGINES, problems)
    index = _whole(environment, INDEX_VARIABLE, 0, (count or MAX_ENGINES) - 1, problems)
    if problems:
        raise BadInput(problems)
    if count is None and index is not None and index > 0:
        raise BadInput([f"{INDEX_VARIABLE}: expected {COUNT_VARIABLE} beside it, got none"])
    if count is None or count == 1:
        return Engines()
    return Engines(count, draw(count), known=False) if index is None else Engines(count, index)


def _whole(environment: Mapping[str, str], name: str, least: int, most: int, problems: list[str]) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    if text.isascii() and text.isdecimal() and least <= int(text) <= most:
        return int(text)
    problems.append(f"{name}: expected a whole number from {least} to {most}, got {text!r}")
    return None
