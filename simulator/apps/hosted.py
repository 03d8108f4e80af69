"""GPT-RAG as a hosted agent: /responses and /invocations, both in events of the Responses API. Pure.

/responses takes a text as `input` and refuses fields that it does not know; /invocations takes messages and always
streams. Neither reports usage. An error in mid-stream is an `error` event at /invocations and a failed response at
/responses (the platform's library makes it one; seen in its callers, not on the wire).
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from simulator.apps.contract import FAILURE, Asked, BadQuestion, Writer, dump, last_question, read_object
from simulator.rag.pipeline import Turn
from simulator.wire.dialect import Dialect
from simulator.wire.events import typed_event

RESPONSES_FIELDS = frozenset(
    {"agent_reference", "background", "conversation", "input", "metadata", "previous_response_id", "store", "stream"}
)


def _error(message: str) -> bytes:
    error = {"type": "error", "sequence_number": 0, "code": "internal_error", "message": message, "param": None}
    return typed_event(error)


def _failed(message: str) -> dict[str, Any]:
    error = {"code": "server_error", "message": message}
    return response_object("resp_failed", "", "failed", []) | {"error": error}


def response_object(identifier: str, conversation: str, status: str, output: list[Any]) -> dict[str, Any]:
    return {
        "id": identifier,
        "created_at": int(time.time()),
        "model": "gpt-rag",
        "object": "response",
        "status": status,
        "conversation": {"id": conversation},
        "output": output,
        "tools": [],
        "tool_choice": "none",
        "parallel_tool_calls": False,
    }


_FAILED_EVENT = typed_event({"type": "response.failed", "response": _failed(FAILURE), "sequence_number": 0})


def _dialect(error_event: bytes) -> Dialect:
    return Dialect(
        content=re.compile(rb'"delta":"(?!")'),
        whole_content=re.compile(rb'"text":"'),
        error_event=error_event,
        error_body=dump(_failed(FAILURE)),
        failed_event=_FAILED_EVENT,
    )


class HostedFormat:
    """`name`: gpt-rag-responses or gpt-rag-invocations."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._responses = name == "gpt-rag-responses"
        self.dialect = _dialect(_FAILED_EVENT if self._responses else _error(FAILURE))
        self._conversations: dict[str, str] = {}
        """Conversation by the id of an answer; the oldest are forgotten."""

    def read(self, body: bytes, headers: Mapping[str, str]) -> Asked:
        kind = "Responses" if self._responses else "Invocations"
        fields = read_object(body, {"detail": f"The {kind} request body must be valid JSON."})
        return self._read_responses(fields) if self._responses else _read_invocation(fields)

    def _read_responses(self, fields: dict[str, Any]) -> Asked:
        unknown = sorted(fields.keys() - RESPONSES_FIELDS)
        given, conversation = fields.get("input"), fields.get("conversation")
        if "input" not in fields:
            raise _unprocessable("The Responses request requires an input field.")
        if unknown:
            raise _unprocessable(f"Unsupported Responses request fields: {', '.join(unknown)}.")
        if not isinstance(given, str):
            raise _unprocessable("This hosted adapter supports string Responses input.")
        if not given.strip():
            raise _unprocessable("The Responses input must not be empty.")
        if isinstance(conversation, dict):
            conversation = conversation.get("id")
        if conversation is not None and not (isinstance(conversation, str) and conversation.strip()):
            raise _unprocessable("Responses conversation must be a non-empty id string or an object with one.")
        previous = fields.get("previous_response_id")
        if conversation is not None and previous is not None:
            raise _unprocessable("Responses conversation and previous_response_id cannot be used together.")
        return Asked(given.strip(), conversation or self._conversations.get(str(previous)), bool(fields.get("stream")))

    def writer(self, asked: Asked, turn: Turn) -> Writer:
        writer = HostedWriter(turn, self._responses)
        self._conversations[writer.identifier] = turn.conversation_id
        if len(self._conversations) > 10_000:
            del self._conversations[next(iter(self._conversations))]
        return writer

    def error_body(self, status: int, message: str) -> Any:
        return {"detail": message}


def _unprocessable(detail: Any) -> BadQuestion:
    return BadQuestion(422, {"detail": detail})


def _read_invocation(fields: dict[str, Any]) -> Asked:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _unprocessable([{"type": "missing", "loc": ["messages"], "msg": "Field required"}])
    question = last_question(messages)
    if question is None or not question.strip():
        raise _unprocessable("The last user message must not be empty.")
    conversation = fields.get("conversation_id")
    return Asked(question.strip(), conversation if isinstance(conversation, str) else None)


class HostedWriter(Writer):
    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, turn: Turn, responses: bool) -> None:
        self.identifier = f"resp_{uuid.uuid4().hex}"
        self._conversation = turn.conversation_id
        self._item = f"item_{uuid.uuid4().hex}"
        self._responses = responses
        self._number = 0

    def headers(self) -> dict[str, str]:
        return {"x-response-id": self.identifier}

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = typed_event({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return event

    def _response(self, status: str, output: list[Any]) -> dict[str, Any]:
        return response_object(self.identifier, self._conversation, status, output)

    def begun(self) -> bytes:
        response = self._response("in_progress", [])
        return b"".join(self._begun(response))

    def _begun(self, response: dict[str, Any]) -> Iterator[bytes]:
        yield self._event("response.created", response=response)
        if self._responses:
            yield self._event("response.in_progress", response=response)
        yield self._event("response.output_item.added", output_index=0, item=self._message(None))
        yield self._event("response.content_part.added", **self._where, part=_part(""))

    @property
    def _where(self) -> dict[str, Any]:
        return {"item_id": self._item, "output_index": 0, "content_index": 0}

    def _message(self, text: str | None) -> dict[str, Any]:
        status, content = ("in_progress", []) if text is None else ("completed", [_part(text)])
        return {"id": self._item, "type": "message", "role": "assistant", "status": status, "content": content}

    def piece(self, text: str) -> bytes:
        return self._event("response.output_text.delta", **self._where, delta=text, logprobs=[])

    def ended(self, turn: Turn) -> bytes:
        message = self._message(turn.answer)
        return (
            self._event("response.output_text.done", **self._where, text=turn.answer, logprobs=[])
            + self._event("response.content_part.done", **self._where, part=_part(turn.answer))
            + self._event("response.output_item.done", output_index=0, item=message)
            + self._event("response.completed", response=self._response("completed", [message]))
        )

    def failed(self, message: str) -> bytes:
        if not self._responses:
            return self._event("error", code="internal_error", message=message, param=None)
        error = {"error": {"code": "server_error", "message": message}}
        return self._event("response.failed", response=self._response("failed", []) | error)

    def whole(self, turn: Turn) -> bytes:
        return dump(self._response("completed", [self._message(turn.answer)]))


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
