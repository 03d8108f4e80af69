"""A conversation that a user is in. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tokenswarm.payload.tool_calls import ToolCall
from tokenswarm.workload.questions import Question


@dataclass(slots=True)
class Conversation:
    """One user's conversation while it goes on. `turn` is the last one asked; `last_turn` ends it; of one that was
    joined in its middle `joined_after` turns were made up."""

    id: str | None
    """The service's, once it has given one; of a chat, one made up here before."""
    session_id: str | None
    question: Question | None
    last_turn: int
    turn: int = 0
    joined_after: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    answer_id: str | None = None
    """Of the last answer, where the service gave one an id."""
    images: list[str] = field(default_factory=list)
    """Of the last turn."""
    called: tuple[ToolCall, ...] = ()
    """Calls of tools in the last answer, whose results come next."""
    rounds: int = 0
    """Answers of the last turn that have called tools."""
    document: int | None = None
    """What a made-up one is about."""

    def said(self) -> list[bytes]:
        """What is said so far, message by message."""
        return [
            f"{message['role']}\0{message.get('content')}\0".encode("utf-8", "surrogatepass")
            for message in self.messages
        ]

    @property
    def over(self) -> bool:
        return self.turn >= self.last_turn and not self.called


def id_of(conversation: Conversation) -> str | None:
    """What a row says that was asked about: the entry of the dataset, or the document."""
    if conversation.question is not None:
        return conversation.question.id
    return None if conversation.document is None else f"document-{conversation.document}"


def recorded_answer(conversation: Conversation) -> str | None:
    """What the file has as the answer to the last turn; `None` where it has none."""
    messages = conversation.question.messages if conversation.question is not None else None
    turn = 0
    for message in messages or ():
        turn += message.role == "user" and bool(message.content.strip())
        if turn == conversation.turn and message.role == "assistant":
            return message.content
    return None
