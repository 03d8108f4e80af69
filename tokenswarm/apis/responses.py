"""The Responses API on the wire: typed events and bodies in, tokens, usage and errors out. No I/O, no clock.

Lifecycle events (created, in_progress, output_item.added ...) carry no token. A stream ends with `response.completed`,
`.incomplete`, `.failed` or `error`. Source: OpenAI API reference, streaming events of the Responses API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jiter

from tokenswarm.apis.api import Encoded, Found
from tokenswarm.apis.chat_completions import encode_json
from tokenswarm.apis.request import ChatRequest
from tokenswarm.apis.typed_events import Carries, TypedEventStream
from tokenswarm.apis.whole_body import WholeBody
from tokenswarm.payload.errors import unreadable
from tokenswarm.payload.usage import Usage, count_of
from tokenswarm.record import Outcome

PATH = "/responses"
_CLOSING = frozenset({"response.completed", "response.incomplete", "response.failed"})
_VISIBLE = frozenset({"response.output_text.delta", "response.refusal.delta"})
_SUMMARY = frozenset({"response.reasoning_summary_text.delta"})
_REASONING = frozenset({"response.reasoning_text.delta"})
_ARGUMENTS = frozenset(
    {
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.mcp_call_arguments.delta",
        "response.code_interpreter_call_code.delta",
    }
)
_THROTTLING = frozenset({"rate_limit_exceeded", "rate_limit_error", "429", "too_many_requests"})


class Responses:
    """The Responses API; `deployment` is the model that a body names."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment

    def encode(self, request: ChatRequest) -> Encoded:
        return Encoded(encode_json(responses_body(request, self._deployment)), PATH)

    def reader(self, request: ChatRequest, status: int, headers: Mapping[str, str]) -> ResponseStream | ResponseBody:
        if status == 200 and request.stream:
            return ResponseStream(keep_text=request.keep_text)
        return ResponseBody()


def responses_body(request: ChatRequest, deployment: str) -> dict[str, Any]:
    """The JSON body of a request: the whole conversation is its `input`."""
    body: dict[str, Any] = {"model": deployment, "input": request.messages, **request.body}
    if request.max_tokens is not None:
        body["max_output_tokens"] = request.max_tokens
    if request.stream:
        body["stream"] = True
    return body


class ResponseStream(TypedEventStream):
    """One streamed response."""

    TOKEN = b'"type":"response.output_text.delta"'
    EMPTY = b'"delta":""'

    def take(self, event: dict[str, Any]) -> Carries:
        kind = event.get("type")
        if kind in _CLOSING:
            self._close(event.get("response"))
        elif kind == "error" or (kind is None and event.get("error")):
            self._fail(event.get("error") if isinstance(event.get("error"), dict) else event)
        elif event.get("delta"):
            return self._take_delta(str(kind), event["delta"])
        elif kind == "response.created" and isinstance(response := event.get("response"), dict):
            self.model = _text(response.get("model"))
        return Carries.NOTHING

    def finish(self) -> Found:
        """What the stream came to."""
        return Found(*self.outcome(), self.text, self.columns())

    def _take_delta(self, kind: str, delta: Any) -> Carries:
        if kind in _VISIBLE:
            self.keep(delta)
            return Carries.VISIBLE
        self.reasoning_streamed |= kind in _REASONING
        self.summarised |= kind in _SUMMARY
        return Carries.HIDDEN if kind in _REASONING | _SUMMARY | _ARGUMENTS else Carries.NOTHING

    def _close(self, response: Any) -> None:
        self.ended = True
        found = read_response(response)
        self.model = found.model or self.model
        self.usage, self.finish_reason = found.usage, found.finish_reason
        if found.failure is not None:
            self.failure = found.failure

    def _fail(self, error: Any) -> None:
        self.ended = True
        self.failure = _failure(error)


class ResponseFacts:
    """What a response object says."""

    __slots__ = ("failure", "finish_reason", "has_output", "model", "text", "usage")

    def __init__(self) -> None:
        self.failure: tuple[Outcome, str] | None = None
        self.finish_reason: str | None = None
        self.has_output = False
        self.model: str | None = None
        self.text = ""
        self.usage: Usage | None = None


def read_response(response: Any) -> ResponseFacts:
    """Read a response object. `finish_reason` is its status, or the reason of an incomplete one."""
    facts = ResponseFacts()
    if not isinstance(response, dict):
        facts.failure = (Outcome.BAD_PAYLOAD, f"response is not a JSON object: {type(response).__name__}")
        return facts
    status = _text(response.get("status"))
    details = response.get("incomplete_details")
    reason = _text(details.get("reason")) if isinstance(details, dict) else None
    facts.finish_reason = reason if status == "incomplete" and reason else status
    facts.model = _text(response.get("model"))
    facts.usage = parse_usage(response.get("usage"))
    facts.text, facts.has_output = _output(response.get("output"))
    facts.failure = _status_failure(status, reason, response.get("error"))
    return facts


def _status_failure(status: str | None, reason: str | None, error: Any) -> tuple[Outcome, str] | None:
    if status == "failed" or error:
        return _failure(error)
    if reason == "content_filter":
        return Outcome.CONTENT_FILTER, "answer stopped by the content filter"
    if status in ("completed", "incomplete"):
        return None
    return Outcome.BAD_PAYLOAD, f"response has status {status!r}, not completed or incomplete"


def _failure(error: Any) -> tuple[Outcome, str]:
    if not isinstance(error, dict):
        return Outcome.STREAM_ERROR, str(error or "response failed without an error")[:500]
    code, message = error.get("code") or error.get("type"), error.get("message")
    text = ": ".join(str(part) for part in (code, message) if part)[:500] or "error without code or message"
    return Outcome.THROTTLED if str(code) in _THROTTLING else Outcome.STREAM_ERROR, text


def _output(output: Any) -> tuple[str, bool]:
    """(visible text, whether there is any item that an answer can be)."""
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    parts = [part for item in items for part in item.get("content") or [] if isinstance(part, dict)]
    text = "".join(str(part["text"]) for part in parts if part.get("type") == "output_text" and part.get("text"))
    calls = any(str(item.get("type", "")).endswith("_call") for item in items)
    return text, bool(text) or calls or any(part.get("refusal") for part in parts)


def parse_usage(usage: Any) -> Usage | None:
    """Read a usage object of the Responses API; `None` where there is none."""
    if not isinstance(usage, dict):
        return None
    inputs, outputs = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    return Usage(
        prompt_tokens=count_of(usage.get("input_tokens")),
        completion_tokens=count_of(usage.get("output_tokens")),
        reasoning_tokens=count_of(outputs.get("reasoning_tokens")) if isinstance(outputs, dict) else None,
        cached_tokens=count_of(inputs.get("cached_tokens")) if isinstance(inputs, dict) else None,
    )


class ResponseBody:
    """One whole (not streamed) response."""

    __slots__ = ("_body",)

    def __init__(self) -> None:
        self._body = WholeBody()

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Raises `BodyTooLarge`."""
        self._body.add(data)
        return False

    def finish(self) -> Found:
        try:
            facts = read_response(jiter.from_json(self._body.data))
        except ValueError as cause:
            return Found(Outcome.BAD_PAYLOAD, unreadable(self._body.data, cause))
        columns = {
            "finish_reason": facts.finish_reason,
            "model": facts.model,
            **(facts.usage.columns() if facts.usage is not None else {}),
        }
        if facts.failure is None and not facts.has_output and not (facts.usage and facts.usage.completion_tokens):
            facts.failure = (Outcome.BAD_PAYLOAD, "response without output")
        outcome, error = facts.failure or (Outcome.OK, None)
        return Found(outcome, error, facts.text, columns)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
