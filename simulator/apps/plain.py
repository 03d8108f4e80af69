"""Formats as applications make them up: plain text, JSON lines, one JSON body. The question is in `question`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from simulator.apps.contract import FAILURE, Asked, BadQuestion, Writer, dump, line, read_object
from simulator.rag.pipeline import Turn
from simulator.wire.dialect import Dialect

TEXT = Dialect(
    content=re.compile(rb"\w"),
    whole_content=re.compile(rb""),
    error_event=f"\nERROR: {FAILURE}\n".encode(),
    error_body=f"ERROR: {FAILURE}\n".encode(),
)
JSON_LINES = Dialect(
    content=re.compile(rb'"type":"token"[^\n]*"text":"'),
    whole_content=re.compile(rb'"answer":"'),
    error_event=line({"type": "error", "message": FAILURE}),
    error_body=dump({"error": {"message": FAILURE}}),
)


class PlainFormat:
    """`name`: app-text, app-jsonl or app-json."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dialect = TEXT if name == "app-text" else JSON_LINES

    def read(self, body: bytes, headers: Mapping[str, str]) -> Asked:
        return read_question(read_object(body, self.error_body(400, "expected a JSON object")), self.name != "app-json")

    def writer(self, asked: Asked, turn: Turn) -> Writer:
        return TextWriter(turn) if self.name == "app-text" else JsonLinesWriter(turn)

    def error_body(self, status: int, message: str) -> Any:
        return {"error": {"message": message}}


def read_question(fields: dict[str, Any], stream: bool = True) -> Asked:
    """`question` and, to go on with a conversation, `conversation_id`. Raises BadQuestion."""
    question, conversation = fields.get("question"), fields.get("conversation_id")
    if not isinstance(question, str) or not question:
        raise BadQuestion(400, {"error": {"message": "question: expected a text"}})
    return Asked(question, conversation if isinstance(conversation, str) else None, stream)


class TextWriter(Writer):
    content_type = "text/plain; charset=utf-8"

    def __init__(self, turn: Turn) -> None:
        self._conversation = turn.conversation_id

    def headers(self) -> dict[str, str]:
        return {"x-conversation-id": self._conversation}

    def piece(self, text: str) -> bytes:
        return text.encode()

    def failed(self, message: str) -> bytes:
        return f"\nERROR: {message}\n".encode()

    def whole(self, turn: Turn) -> bytes:
        return turn.answer.encode()


class JsonLinesWriter(Writer):
    content_type = "application/x-ndjson"

    def __init__(self, turn: Turn) -> None:
        self._conversation = turn.conversation_id

    def begun(self) -> bytes:
        return line({"type": "start", "conversation_id": self._conversation})

    def searching(self) -> bytes:
        return line({"type": "progress", "stage": "retrieval"})

    def found(self, turn: Turn) -> bytes:
        return line({"type": "sources", "sources": [passage.source for passage in turn.passages]})

    def piece(self, text: str) -> bytes:
        return line({"type": "token", "text": text})

    def ended(self, turn: Turn) -> bytes:
        return line({"type": "done", "conversation_id": self._conversation})

    def failed(self, message: str) -> bytes:
        return line({"type": "error", "message": message})

    def whole(self, turn: Turn) -> bytes:
        sources = [passage.source for passage in turn.passages]
        return dump({"conversation_id": self._conversation, "answer": turn.answer, "sources": sources})
