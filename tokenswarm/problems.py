"""A user's mistakes, all of them at once."""

from __future__ import annotations

from collections.abc import Iterable


class BadInput(ValueError):
    """Input that cannot be used: an option, a scenario, a file, the environment.

    `problems` has one line for each: what it is, what was expected, what was found and where.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))
