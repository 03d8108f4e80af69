"""AG-UI, the protocol between agents and user interfaces: a run as typed events over server-sent events. Pure."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from simulator.apps.contract import FAILURE, Asked, BadQuestion, Writer, dump, event, last_question, read_object
from simulator.rag.pipeline import Turn, format_passages
from simulator.wire.dialect import Dialect


def _error(message: str) -> bytes:
    return event({"type": "RUN_ERROR", "message": message, "code": "INTERNAL_ERROR"})


DIALECT = Dialect(
    content=re.compile(rb'"TEXT_MESSAGE_CONTENT"[^\n]*"delta":"'),
    whole_content=re.compile(rb"(?!)"),
    error_event=_error(FAILURE),
    error_body=dump({"error": FAILURE}),
)


class AgUiFormat:
    name = "ag-ui"
    dialect = DIALECT

    def read(self, body: bytes, headers: Mapping[str, str]) -> Asked:
        fields = read_object(body, self.error_body(400, "expected a JSON object"))
        missing = [name for name in ("threadId", "runId", "messages") if name not in fields]
        if missing:
            raise BadQuestion(422, {"detail": [{"type": "missing", "loc": ["body", name]} for name in missing]})
        question = last_question(fields["messages"])
        if question is None:
            raise BadQuestion(422, {"detail": "messages must end with a message of the user"})
        return Asked(question, str(fields["threadId"]), extra={"run": str(fields["runId"])})

    def writer(self, asked: Asked, turn: Turn) -> Writer:
        return AgUiWriter(turn, (asked.extra or {})["run"])

    def error_body(self, status: int, message: str) -> Any:
        return {"error": message}


class AgUiWriter(Writer):
    """The search is a tool call: its start is the first progress, its result the second."""

    content_type = "text/event-stream"

    def __init__(self, turn: Turn, run: str) -> None:
        self._where = {"threadId": turn.conversation_id, "runId": run}
        self._question = turn.question
        self._message = str(uuid.uuid4())
        self._call = f"call_{uuid.uuid4().hex}"
        self._speaking = False

    def headers(self) -> dict[str, str]:
        return {"cache-control": "no-cache"}

    def begun(self) -> bytes:
        return event({"type": "RUN_STARTED", **self._where})

    def searching(self) -> bytes:
        call = {"toolCallId": self._call}
        arguments = dump({"query": self._question}).decode()
        return (
            event({"type": "TOOL_CALL_START", **call, "toolCallName": "search"})
            + event({"type": "TOOL_CALL_ARGS", **call, "delta": arguments})
            + event({"type": "TOOL_CALL_END", **call})
        )

    def found(self, turn: Turn) -> bytes:
        result = {"messageId": str(uuid.uuid4()), "toolCallId": self._call, "content": format_passages(turn.passages)}
        return event({"type": "TOOL_CALL_RESULT", **result, "role": "tool"})

    def piece(self, text: str) -> bytes:
        content = event({"type": "TEXT_MESSAGE_CONTENT", "messageId": self._message, "delta": text})
        if self._speaking:
            return content
        self._speaking = True
        return event({"type": "TEXT_MESSAGE_START", "messageId": self._message, "role": "assistant"}) + content

    def ended(self, turn: Turn) -> bytes:
        end = event({"type": "TEXT_MESSAGE_END", "messageId": self._message}) if self._speaking else b""
        return end + event({"type": "RUN_FINISHED", **self._where})

    def failed(self, message: str) -> bytes:
        return _error(message)

    def whole(self, turn: Turn) -> bytes:
        return self.begun() + self.piece(turn.answer) + self.ended(turn)
