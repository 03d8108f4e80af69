"""Sessions of steps that wait for one another, and what each step asks: recorded ones and made-up ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tokenswarm.apis.api import Encoded
from tokenswarm.apis.request import ChatRequest, Request
from tokenswarm.recordings.graph import AgentStep, ancestors_of
from tokenswarm.traffic.recorded import RecordedRequest, Said
from tokenswarm.traffic.replay import RecordedGraph

Messages = list[dict[str, str]]
Answers = list[tuple[Said, str]]
"""What came, each beside what it came to."""


class SessionGraph(Protocol):
    """A session while it goes on. A step is asked for when all its parents have been answered."""

    @property
    def steps(self) -> Sequence[AgentStep]: ...

    @property
    def needs_answers(self) -> bool:
        """Whether what a step asks depends on what came back; else it can be put together at any time."""

    def request(self, position: int) -> Request:
        """What the step at a position asks."""

    def answered(self, position: int, text: str) -> None:
        """What came back."""


@dataclass(slots=True)
class RecordedSteps:
    """A recorded session. `compose` makes a step's request with the answers that came to those before it; `None` where
    the recorded ones stay."""

    graph: RecordedGraph
    feeds_back: bool
    compose: Callable[[RecordedGraph, int, Answers | None], RecordedRequest]
    _said: dict[int, Said | None] = field(default_factory=dict)
    _answers: dict[int, tuple[Said, str]] = field(default_factory=dict)

    @property
    def steps(self) -> Sequence[AgentStep]:
        return self.graph.steps

    @property
    def needs_answers(self) -> bool:
        return self.feeds_back

    def request(self, position: int) -> RecordedRequest:
        made = self.compose(self.graph, position, self._came_before(position) if self.feeds_back else None)
        self._said[position] = made.said
        return made

    def answered(self, position: int, text: str) -> None:
        if (said := self._said.get(position)) is not None:
            self._answers[position] = said, text

    def _came_before(self, position: int) -> Answers:
        return [self._answers[step] for step in ancestors_of(self.steps, position) & self._answers.keys()]


@dataclass(slots=True)
class MadeUpSteps:
    """A made-up agent: each step goes on with what its parent said, a step with several parents with what all of them
    answered. `opening`: the messages of the first step; `add`: makes the text of a further one; `compose`: makes the
    request of messages at a depth, from 0."""

    steps: Sequence[AgentStep]
    opening: Messages
    add: Callable[[], str]
    compose: Callable[[Messages, int], ChatRequest]
    _said: dict[int, Messages] = field(default_factory=dict)
    _answers: dict[int, str] = field(default_factory=dict)
    _depths: dict[int, int] = field(default_factory=dict)

    @property
    def needs_answers(self) -> bool:
        return True

    def request(self, position: int) -> ChatRequest:
        parents = self.steps[position].parents
        self._depths[position] = 1 + max((self._depths[parent] for parent in parents), default=-1)
        self._said[position] = self._messages(parents)
        return self.compose(self._said[position], self._depths[position])

    def answered(self, position: int, text: str) -> None:
        self._answers[position] = text

    def _messages(self, parents: Sequence[int]) -> Messages:
        if not parents:
            return list(self.opening)
        (before, *_), added = parents, self.add()
        if len(parents) > 1:  # back to where they parted, with what each of them found
            added = "\n\n".join([*(self._answers[parent] for parent in parents), added])
            (before,) = self.steps[before].parents
        answer = {"role": "assistant", "content": self._answers[before]}
        return [*self._said[before], answer, {"role": "user", "content": added}]


class ComposedSteps:
    """The requests of a session's steps, put together before they are due where that can be, and each once."""

    def __init__(self, graph: SessionGraph, encode: Callable[[Request], Encoded]) -> None:
        """What waits for nobody is put together now."""
        self.graph = graph
        self._encode = encode
        self._ready: dict[int, tuple[Request, Encoded]] = {}
        for position, step in enumerate(graph.steps):
            if not step.parents:
                self.prepare(position)

    def prepare(self, position: int) -> None:
        """Put a step's request together if it is known before its parents are answered."""
        if position not in self._ready and not (self.graph.needs_answers and self.graph.steps[position].parents):
            self._ready[position] = self._compose(position)

    def take(self, position: int) -> tuple[Request, Encoded]:
        """The request of a step, all of whose parents have been answered."""
        return self._ready.pop(position, None) or self._compose(position)

    def _compose(self, position: int) -> tuple[Request, Encoded]:
        request = self.graph.request(position)
        return request, self._encode(request)
