"""A deployed Prompt Flow: POST /score, streamed when `Accept` names text/event-stream. Pure.

A flow that fails in mid-stream has no words for it there: the deployed one breaks the connection. An error under 200
is the flow's own, in an output field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from simulator.apps.contract import FAILURE, Asked, BadQuestion, Writer, dump, event, read_object
from simulator.rag.pipeline import Turn
from simulator.wire.dialect import Dialect

_ERROR = {"error": {"code": "SystemError", "message": FAILURE}}

DIALECT = Dialect(
    content=re.compile(rb'"answer":"(?!")'),
    whole_content=re.compile(rb'"answer":"'),
    error_event=event(_ERROR),
    error_body=dump(_ERROR),
)

MODEL_ERROR = 424
"""Status of an endpoint whose flow refused or failed."""


class PromptFlowFormat:
    name = "prompt-flow"
    dialect = DIALECT

    def read(self, body: bytes, headers: Mapping[str, str]) -> Asked:
        fields = read_object(body, self.error_body(400, "The input is not a JSON object"))
        accepted = {part.partition(";")[0].strip() for part in headers.get("accept", "*/*").split(",")}
        stream = "text/event-stream" in accepted
        if not stream and not accepted & {"application/json", "application/*", "*/*"}:
            kinds = "Supported media type(s) - text/event-stream, application/json"
            message = f"Media type {','.join(sorted(accepted))} in Accept header is not acceptable. {kinds}"
            raise BadQuestion(MODEL_ERROR, self.error_body(MODEL_ERROR, message))
        question = fields.get("question")
        if not isinstance(question, str) or not question:
            message = "Required input fields ['question'] are missing in request data"
            raise BadQuestion(MODEL_ERROR, self.error_body(MODEL_ERROR, message))
        return Asked(question, None, stream)

    def writer(self, asked: Asked, turn: Turn) -> Writer:
        return PromptFlowWriter()

    def error_body(self, status: int, message: str) -> Any:
        return {"error": {"code": "SystemError" if status >= 500 else "UserError", "message": message}}


class PromptFlowWriter(Writer):
    content_type = "text/event-stream; charset=utf-8"

    def found(self, turn: Turn) -> bytes:
        """The outputs that are not streamed, and the empty piece with which a model's stream begins."""
        return event({"context": [passage.source for passage in turn.passages]}) + event({"answer": ""})

    def piece(self, text: str) -> bytes:
        return event({"answer": text})

    def ended(self, turn: Turn) -> bytes:
        return event({"answer": ""})

    def failed(self, message: str) -> bytes:
        return event({"error": {"code": "SystemError", "message": message}})

    def whole(self, turn: Turn) -> bytes:
        return dump({"context": [passage.source for passage in turn.passages], "answer": turn.answer})
