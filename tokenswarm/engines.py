"""This process's place among independent engines that run one test without a master, as on Azure Load Testing.

Such a service starts the same script on several machines and splits the users, nothing else. The count and the place
come from the environment: `TOKENSWARM_ENGINE_COUNT` engines in all, of which this is number `TOKENSWARM_ENGINE_INDEX`,
from 0. With both, the engines share one plan and one dataset as workers do. Without the index, each engine can only
take its part of the rate, from a seed of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokenswarm.problems import BadInput

COUNT_VARIABLE = "TOKENSWARM_ENGINE_COUNT"
INDEX_VARIABLE = "TOKENSWARM_ENGINE_INDEX"

MAX_ENGINES = 1000


@dataclass(frozen=True, slots=True)
class Engines:
    """How many engines run this test, and which one this is; `index` is `None` when the engine cannot know."""

    count: int = 1
    index: int | None = 0

    def place(self, position: int, workers: int) -> tuple[int, int]:
        """Position and count over all engines of worker `position` of the `workers` of this engine.

        Arrival or question i belongs to the position i modulo count. Every engine must have the same `workers`.
        Raises `ValueError` when the index is not known.
        """
        if self.index is None:
            raise ValueError("the place of this engine is not known")
        return self.index * workers + position, self.count * workers

    def share(self, total: float) -> float:
        """This engine's part of a rate or a budget that is meant for all engines together."""
        return total / self.count


def read_engines(environment: Mapping[str, str]) -> Engines:
    """The place in the environment; one engine when nothing is set. Raises `BadInput` listing every problem."""
    problems: list[str] = []
    count = _whole(environment, COUNT_VARIABLE, 1, MAX_ENGINES, problems)
    index = _whole(environment, INDEX_VARIABLE, 0, (count or MAX_ENGINES) - 1, problems)
    if problems:
        raise BadInput(problems)
    if count is None and index is not None and index > 0:
        raise BadInput([f"{INDEX_VARIABLE}: expected {COUNT_VARIABLE} beside it, got none"])
    if count is None or count == 1:
        return Engines()
    return Engines(count, index)


def _whole(environment: Mapping[str, str], name: str, least: int, most: int, problems: list[str]) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    if text.isascii() and text.isdecimal() and least <= int(text) <= most:
        return int(text)
    problems.append(f"{name}: expected a whole number from {least} to {most}, got {text!r}")
    return None
