"""The Responses API on the wire: typed events and bodies in, tokens, usage and errors out. No I/O, no clock.

Lifecycle events (created, in_progress, output_item.added ...) carry no token. A stream ends with `response.completed`,
`.incomplete`, `.failed` or `error`. Source: OpenAI API reference, streaming events of the Responses API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenswarm.apis.api import Encoded, Found
from tokenswarm.apis.request import ChatRequest, encode_json, sdk_body
from tokenswarm.apis.typed_events import Carries, TypedEventStream, body_columns
from tokenswarm.payload.ends import failed_end
from tokenswarm.payload.errors import ToldError, told
from tokenswarm.payload.message import is_seen
from tokenswarm.payload.tool_calls import ToolCall, called_by
from tokenswarm.payload.usage import Usage, parse_usage
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


class Responses:
    """The Responses API; `deployment` is the model that a body names."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment

    def encode(self, request: ChatRequest) -> Encoded:
        return Encoded(encode_json(responses_body(request, self._deployment)), PATH)

    def reader(self, request: ChatRequest, status: int, headers: Mapping[str, str]) -> ResponseStream:
        return ResponseStream(request.keep_text, status, request.keep_calls)


def responses_body(request: ChatRequest, deployment: str) -> dict[str, Any]:
    """The JSON body of a request: the whole conversation is its `input`, or what follows the answer it refers to."""
    messages = request.shown(
        lambda text: {"type": "input_text", "text": text},
        lambda url: {"type": "input_image", "image_url": url},
    )
    asked: dict[str, Any] = {"model": deployment, "input": list(map(_item, messages))}
    arguments: dict[str, Any] = {}
    if request.previous_id is not None:
        asked["input"] = list(map(_item, _after_last_answer(messages)))
        arguments["previous_response_id"] = request.previous_id
    if request.max_tokens is not None:
        arguments["max_output_tokens"] = request.max_tokens
    return sdk_body(asked, arguments, request)


def _after_last_answer(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answers = [place for place, each in enumerate(messages) if each.get("role") == "assistant" or "type" in each]
    return messages[answers[-1] + 1 :] if answers else messages


def _item(message: dict[str, Any]) -> dict[str, Any]:
    """An input item: what a tool gave refers to its call, all else is as it stands."""
    if message.get("role") != "tool":
        return message
    return {"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}


class ResponseStream(TypedEventStream):
    """One response, streamed or whole."""

    TOKEN = b'"type":"response.output_text.delta"'
    EMPTY = b'"delta":""'

    def __init__(self, keep_text: bool = False, status: int = 200, keep_calls: bool = False) -> None:
        super().__init__(keep_text, status, keep_calls)
        self._items: list[dict[str, Any]] = []
        """Output items that have come whole, where calls are kept."""

    def take(self, kind: str, event: dict[str, Any]) -> Carries:
        if kind in _CLOSING:
            self._close(event.get("response"), kind.rpartition(".")[2])
        elif event.get("delta"):
            return self._take_delta(kind, event["delta"])
        elif kind == "response.output_item.done" and isinstance(item := event.get("item"), dict):
            self.tool_calls += _calls([item])
            self._items += [item] if self._keep_calls else []
        elif kind == "response.created" and isinstance(response := event.get("response"), dict):
            self.model = _text(response.get("model"))
        return Carries.NOTHING

    def read_body(self, body: dict[str, Any]) -> Found:
        facts = read_response(body)
        columns = body_columns(facts.usage, facts.finish_reason, facts.model, body.get("service_tier"))
        if facts.failure is None and not facts.has_output and not columns["completion_tokens"]:
            facts.failure = (Outcome.BAD_PAYLOAD, "response without output")
        self.answer_id = facts.id
        self.tool_calls, self.refused = facts.tool_calls, facts.refused
        self._note_calls(body, facts.finish_reason)
        return self.found(facts.failure or (Outcome.OK, None), facts.text, columns, is_seen(facts.text))

    def _take_delta(self, kind: str, delta: Any) -> Carries:
        if kind in _VISIBLE:
            self.keep(delta)
            self.refused |= kind == "response.refusal.delta"
            return Carries.VISIBLE
        self.reasoning_streamed |= kind in _REASONING
        self.summarised |= kind in _SUMMARY
        return Carries.HIDDEN if kind in _REASONING | _SUMMARY | _ARGUMENTS else Carries.NOTHING

    def _close(self, response: Any, said: str) -> None:
        """The closing event; `said`: what its type says of the response, in place of a status."""
        self.ended = True
        found = read_response(response, said)
        self.model = found.model or self.model
        self.service_tier = _text(response.get("service_tier")) if isinstance(response, dict) else None
        self.usage, self.finish_reason = found.usage, found.finish_reason
        self.has_output, self.answer_id = found.has_output, found.id
        self.tool_calls = found.tool_calls or self.tool_calls
        self.refused |= found.refused
        self._note_calls(response, found.finish_reason)
        if found.failure is not None:
            self.failure = found.failure

    def _note_calls(self, response: Any, finish_reason: str | None) -> None:
        """The tools that a whole response calls: all of its output is said again, its reasoning too."""
        if not self._keep_calls or finish_reason != "completed":
            return
        listed = response.get("output") if isinstance(response, dict) else None
        items = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
        items = items or self._items  # some servers leave it out at the end
        calls = [item for item in items if item.get("type") == "function_call" and _text(item.get("name"))]
        if calls:
            names = ("call_id", "name", "arguments")
            found = [ToolCall(*(_text(item.get(name)) or "" for name in names)) for item in calls]
            self.called = called_by(found, items)


class ResponseFacts:
    """What a response object says."""

    __slots__ = (
        "failure",
        "finish_reason",
        "has_output",
        "id",
        "model",
        "refused",
        "text",
        "tool_calls",
        "usage",
    )

    def __init__(self) -> None:
        self.failure: tuple[Outcome, str | None] | None = None
        self.finish_reason: str | None = None
        self.has_output = self.refused = False
        self.tool_calls: list[tuple[str, str]] = []
        self.id: str | None = None
        self.model: str | None = None
        self.text = ""
        self.usage: Usage | None = None


def read_response(response: Any, said: str | None = None) -> ResponseFacts:
    """Read a response object. `finish_reason` is its status (where it has none, what is `said` of it), or the reason of
    an incomplete one."""
    facts = ResponseFacts()
    if not isinstance(response, dict):
        facts.failure = (Outcome.BAD_PAYLOAD, f"response is not a JSON object: {type(response).__name__}")
        return facts
    status = _text(response.get("status")) or said
    details = response.get("incomplete_details")
    reason = _text(details.get("reason")) if isinstance(details, dict) else None
    facts.finish_reason = reason if status == "incomplete" and reason else status
    facts.id, facts.model = _text(response.get("id")), _text(response.get("model"))
    facts.usage = parse_usage(response["usage"]) if isinstance(response.get("usage"), dict) else None
    items = response["output"] if isinstance(response.get("output"), list) else []
    facts.text, facts.refused, facts.tool_calls = *_said(items), _calls(items)
    facts.has_output = bool(facts.text) or any(str(item.get("type", "")).endswith("_call") for item in _objects(items))
    facts.failure = _status_failure(status, reason, response.get("error"))
    return facts


def _status_failure(status: str | None, reason: str | None, error: Any) -> tuple[Outcome, str | None] | None:
    if status == "failed" or error:
        found = told(error) if error else ToldError(Outcome.STREAM_ERROR, "response failed without an error")
        return found.outcome, found.text
    if status == "cancelled":
        return Outcome.STREAM_ERROR, "response was cancelled by the service"
    if status in ("completed", "incomplete"):
        return failed_end([reason] if reason else [])
    return Outcome.BAD_PAYLOAD, f"response has status {status!r}, not completed or incomplete"


def _objects(items: list[Any]) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)]


def _said(items: list[Any]) -> tuple[str, bool]:
    """The visible text, which may be a refusal, and whether it is one."""
    contents = [item["content"] for item in _objects(items) if isinstance(item.get("content"), list)]
    parts = [part for content in contents for part in _objects(content)]
    texts = [part["text"] for part in parts if part.get("type") == "output_text" and isinstance(part.get("text"), str)]
    refusals = [str(part["refusal"]) for part in parts if part.get("refusal")]
    return "".join(texts) or "".join(refusals), bool(refusals)


def _calls(items: list[Any]) -> list[tuple[str, str]]:
    """Name and arguments of each tool that items call."""
    return [
        (item["name"], str(item.get("arguments") or item.get("input") or ""))
        for item in _objects(items)
        if str(item.get("type", "")).endswith("_call") and isinstance(item.get("name"), str)
    ]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
