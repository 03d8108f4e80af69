"""What a dataset asks, and in which order: the same for every number of workers. Pure.

`tokenswarm.workload.dataset` reads questions from a file.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tokenswarm.userinput import BadInput
from tokenswarm.workload.expectation import Expectation

ORDERS = ("sequential", "random")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation as the file has it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Question:
    """One entry of a dataset: a question, or a conversation that opens with it.

    `turns` are the user's texts in order (a single question has one); between them the service's real answers are fed
    back. `messages` are what a JSONL file gave under that name, recorded answers included; `None` otherwise. `line` is
    where the entry begins, from 1. `max_tokens` and `system` are `None` when the file says nothing about them.
    """

    id: str
    question: str
    line: int
    turns: tuple[str, ...]
    system: str | None = None
    max_tokens: int | None = None
    messages: tuple[Message, ...] | None = None
    expect: Expectation | None = None
    """What the answer to its last turn must be; `None` when the file says nothing about it."""

    def expected_at(self, turn: int) -> Expectation | None:
        """What the answer to a turn, from 1, must be."""
        return self.expect if turn == len(self.turns) else None


class QuestionSource(Protocol):
    """Says which question is next."""

    def next(self) -> Question:
        """This worker's next question."""

    def at(self, index: int) -> Question:
        """The question of the run's arrival `index`, from 0."""


class Questions:
    """Says which question is next. Arrival i of the run always gets the same one, whatever the number of workers.

    `sequential`: in file order, from the top again at the end, shared by all users. `random`: each pass over the file
    is a permutation of its own, made from the seed. A worker takes every `worker_count`-th question.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        order: str = "sequential",
        seed: int = 0,
        worker_position: int = 0,
        worker_count: int = 1,
    ) -> None:
        if order not in ORDERS:
            raise BadInput([f"dataset order: expected {' or '.join(ORDERS)}, got {order!r}"])
        if not questions:
            raise BadInput(["dataset: expected at least one question, got none"])
        self._questions = questions
        self._order = order
        self._seed = seed
        self._permutation: tuple[int, list[int]] | None = None
        self._index = 0
        self.assign(worker_position, worker_count)

    def __len__(self) -> int:
        return len(self._questions)

    def assign(self, worker_position: int, worker_count: int) -> None:
        """From here on take the questions of this worker among so many: those with index % count = position."""
        if not 0 <= worker_position < worker_count:
            raise ValueError(f"worker position: expected 0 to {worker_count - 1}, got {worker_position}")
        self._index += (worker_position - self._index) % worker_count
        self._worker_count = worker_count

    def next(self) -> Question:
        """This worker's next question."""
        question = self.at(self._index)
        self._index += self._worker_count
        return question

    def at(self, index: int) -> Question:
        """The question of the run's arrival `index`, from 0."""
        passed, place = divmod(index, len(self._questions))
        if self._order == "random":
            place = self._shuffled(passed)[place]
        return self._questions[place]

    def _shuffled(self, passed: int) -> list[int]:
        if self._permutation is None or self._permutation[0] != passed:
            places = list(range(len(self._questions)))
            random.Random(f"{self._seed}:{passed}").shuffle(places)
            self._permutation = (passed, places)
        return self._permutation[1]
