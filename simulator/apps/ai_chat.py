"""Microsoft's AI Chat Protocol (2024-05-29): /chat in one body, /chat/stream in JSON lines, context first. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from simulator.apps.contract import FAILURE, Asked, BadQuestion, Writer, dump, last_question, line, read_object
from simulator.rag.pipeline import Turn
from simulator.wire.dialect import Dialect

DIALECT = Dialect(
    content=re.compile(rb'"content":"(?!")'),
    whole_content=re.compile(rb'"content":"'),
    error_event=line({"error": FAILURE}),
    error_body=dump({"error": FAILURE}),
)


class AiChatFormat:
    """`stream`: whether this is the path of streams."""

    dialect = DIALECT

    def __init__(self, stream: bool) -> None:
        self.name = "ai-chat-protocol"
        self._stream = stream

    def read(self, body: bytes, headers: Mapping[str, str]) -> Asked:
        fields = read_object(body, self.error_body(400, "request must be JSON"))
        question = last_question(fields.get("messages"))
        if question is None:
            raise BadQuestion(400, self.error_body(400, "messages must end with a message of the user"))
        state = fields.get("session_state") or fields.get("sessionState")
        return Asked(question, state if isinstance(state, str) else None, self._stream)

    def writer(self, asked: Asked, turn: Turn) -> Writer:
        return AiChatWriter(turn)

    def error_body(self, status: int, message: str) -> Any:
        return {"error": message}


class AiChatWriter(Writer):
    content_type = "application/jsonl"

    def __init__(self, turn: Turn) -> None:
        self._session = turn.conversation_id

    def found(self, turn: Turn) -> bytes:
        return line({"delta": {"role": "assistant"}, "context": _context(turn), "session_state": self._session})

    def piece(self, text: str) -> bytes:
        return line({"delta": {"content": text}})

    def failed(self, message: str) -> bytes:
        return line({"error": message})

    def whole(self, turn: Turn) -> bytes:
        message = {"content": turn.answer, "role": "assistant"}
        return dump({"message": message, "context": _context(turn), "session_state": self._session})


def _context(turn: Turn) -> dict[str, Any]:
    texts = [f"{passage.source}.md: {passage.text}" for passage in turn.passages]
    thoughts = [
        {"title": "Original user query", "description": turn.question, "props": None},
        {"title": "Generated search query", "description": " ".join(turn.terms), "props": None},
    ]
    return {"data_points": {"text": texts}, "thoughts": thoughts}
