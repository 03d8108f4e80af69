"""What an API is to the client: how it is asked, what reads its answer, and what that answer comes to in a record.

Whoever can be asked over HTTP is an `Api` of two methods and a `Reader` of two; both are pure, without socket or clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from tokenswarm.payload.tool_calls import Called
from tokenswarm.record import Outcome

Asked = TypeVar("Asked", contravariant=True)
"""The requests that an API is asked with."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What is posted. `path` is appended to the endpoint's URL; `headers` are added to the endpoint's own."""

    body: bytes
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_message: bool = False
    """Whether the body is a message on a WebSocket, whose opening carries the headers."""
    is_new: bool = False
    """Whether that message needs a connection of its own."""
    place: int = 0
    """Which of several targets it is for, from 0."""


@dataclass(slots=True)
class Found:
    """What an answer came to: its outcome with the error that explains it, its text (empty unless it is wanted for a
    conversation), further columns of the record by name, the id by which a later request may refer to it, and the tools
    that it calls, where their calls were to be kept."""

    outcome: Outcome = Outcome.OK
    error: str | None = None
    text: str = ""
    columns: dict[str, Any] = field(default_factory=dict)
    answer_id: str | None = None
    tool_calls: Sequence[tuple[str, str]] = ()
    """Name and arguments (JSON, as they came) of each tool that the answer calls, where its text is wanted."""
    refused: bool = False
    """Whether the service says that the answer is a refusal, whatever its words."""
    called: Called | None = None
    whole: bool = False
    """Whether it came as one JSON value, where a stream is read as well."""


class Reader(Protocol):
    """Reads one answer of status 2xx while it arrives."""

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Take bytes of the body that arrived not later than `at_ms` and not before `since_ms`, ms since the request's
        start. True once they have ended the answer, whatever becomes of the connection; False where only the end of
        the body says so. Runs between the reads of all other answers: what it costs delays them."""
        ...

    def finish(self) -> Found:
        """What the answer came to; asked once, when nothing more will come. That the network failed is seen to by the
        client, whose outcome then stands in place of this one; the columns count all the same."""
        ...


class Api(Protocol[Asked]):
    """An API that can be asked."""

    def encode(self, request: Asked) -> Encoded:
        """The request's bytes; made before it is due, so that it costs no measured time."""
        ...

    def reader(self, request: Asked, status: int, headers: Mapping[str, str]) -> Reader:
        """What reads the answer, by its status (2xx; others are errors and read by the client) and its headers, whose
        names are in lower case."""
        ...
