"""Anthropic's Messages API on the wire, as Anthropic, gateways and vLLM serve it. No I/O, no clock.

A stream: `message_start` (model, prompt tokens), blocks of deltas, `message_delta` (stop reason, completion tokens so
far), `message_stop`; `ping` and unknown types may stand anywhere, `error` ends it. `input_tokens` leaves out what was
read from or written to the prompt cache. Source: Anthropic API reference, streaming messages.
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

PATH = "/messages"
VERSION_HEADERS = {"anthropic-version": "2023-06-01"}
"""The version that Anthropic, gateways and vLLM all know; the option `headers` puts another in its place."""
MAX_TOKENS = 1024
"""The API wants a limit: this one where the scenario says none."""
_COMPLETED = frozenset(
    {"end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "model_context_window_exceeded"}
)
_DELTAS = {
    "text_delta": Carries.VISIBLE,
    "thinking_delta": Carries.HIDDEN,
    "input_json_delta": Carries.HIDDEN,
}
_DELTA_TEXTS = ("text", "thinking", "partial_json")


class Messages:
    """The Messages API; `deployment` is the model that a body names."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment

    def encode(self, request: ChatRequest) -> Encoded:
        return Encoded(encode_json(messages_body(request, self._deployment)), PATH, VERSION_HEADERS)

    def reader(self, request: ChatRequest, status: int, headers: Mapping[str, str]) -> MessageStream | MessageBody:
        if status == 200 and request.stream:
            return MessageStream(keep_text=request.keep_text)
        return MessageBody()


def messages_body(request: ChatRequest, deployment: str) -> dict[str, Any]:
    """The JSON body of a request; system messages stand apart from the others."""
    system = [message["content"] for message in request.messages if message["role"] in ("system", "developer")]
    others = [message for message in request.messages if message["role"] not in ("system", "developer")]
    body: dict[str, Any] = {"model": deployment, "max_tokens": request.max_tokens or MAX_TOKENS, "messages": others}
    if system:
        body["system"] = "\n\n".join(system)
    if request.stream:
        body["stream"] = True
    return {**body, **request.body}


class MessageStream(TypedEventStream):
    """One streamed message."""

    TOKEN = b'"type":"text_delta"'
    EMPTY = b'"text":""'

    def take(self, event: dict[str, Any]) -> Carries:
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._take_delta(event.get("delta"))
        if kind == "message_start":
            self._take_message(event.get("message"))
        elif kind == "message_delta":
            self._take_end(event)
        elif kind == "message_stop":
            self.ended = True
        elif kind == "error" or (kind is None and event.get("error")):
            self.ended = True
            self.failure = _failure(event.get("error"))
        return Carries.NOTHING

    def finish(self) -> Found:
        """What the stream came to."""
        outcome, error = self.outcome()
        if outcome is Outcome.OK:
            outcome, error = _outcome(self.finish_reason)
        return Found(outcome, error, self.text, self.columns())

    def _take_delta(self, delta: Any) -> Carries:
        if not isinstance(delta, dict) or not any(delta.get(name) for name in _DELTA_TEXTS):
            return Carries.NOTHING
        kind = str(delta.get("type"))
        self.reasoning_streamed |= kind == "thinking_delta"
        if kind == "text_delta":
            self.keep(delta.get("text"))
        return _DELTAS.get(kind, Carries.NOTHING)

    def _take_message(self, message: Any) -> None:
        if isinstance(message, dict):
            self.model = message.get("model") if isinstance(message.get("model"), str) else None
            self.usage = merge_usage(self.usage, message.get("usage"))

    def _take_end(self, event: dict[str, Any]) -> None:
        delta = event.get("delta")
        if isinstance(delta, dict) and isinstance(delta.get("stop_reason"), str):
            self.finish_reason = delta["stop_reason"]
        self.usage = merge_usage(self.usage, event.get("usage"))


def merge_usage(known: Usage | None, usage: Any) -> Usage | None:
    """`known` with what a usage object says besides: later counts replace earlier ones, absent ones do not."""
    if not isinstance(usage, dict):
        return known
    known = known or Usage()
    prompt, cached = count_of(usage.get("input_tokens")), count_of(usage.get("cache_read_input_tokens"))
    written = count_of(usage.get("cache_creation_input_tokens")) or 0
    if prompt is not None and (prompt or cached or written):
        known.prompt_tokens = prompt + (cached or 0) + written
    if cached is not None:
        known.cached_tokens = cached
    completion = count_of(usage.get("output_tokens"))
    if completion is not None:
        known.completion_tokens = completion
    return known


def _outcome(stop_reason: str | None) -> tuple[Outcome, str | None]:
    if stop_reason == "refusal":
        return Outcome.CONTENT_FILTER, "answer stopped by the service: refusal"
    if stop_reason is None:
        return Outcome.TRUNCATED, "message ended without a stop reason"
    if stop_reason not in _COMPLETED:
        return Outcome.BAD_PAYLOAD, f"message has stop reason {stop_reason!r:.80}, which the API does not know"
    return Outcome.OK, None


def _failure(error: Any) -> tuple[Outcome, str]:
    if not isinstance(error, dict):
        return Outcome.STREAM_ERROR, str(error or "error without type or message")[:500]
    kind = error.get("type")
    text = ": ".join(str(part) for part in (kind, error.get("message")) if part)[:500]
    return (
        Outcome.THROTTLED if kind == "rate_limit_error" else Outcome.STREAM_ERROR,
        text or "error without type or message",
    )


class MessageBody:
    """One whole (not streamed) message."""

    __slots__ = ("_body",)

    def __init__(self) -> None:
        self._body = WholeBody()

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Raises `BodyTooLarge`."""
        self._body.add(data)
        return False

    def finish(self) -> Found:
        try:
            message = jiter.from_json(self._body.data)
        except ValueError as cause:
            return Found(Outcome.BAD_PAYLOAD, unreadable(self._body.data, cause))
        if not isinstance(message, dict):
            return Found(Outcome.BAD_PAYLOAD, f"body is not a JSON object: {type(message).__name__}")
        if message.get("error"):
            return Found(*_failure(message["error"]))
        return _read_message(message)


def _read_message(message: dict[str, Any]) -> Found:
    content = message.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    text = "".join(str(part["text"]) for part in parts if part.get("text"))
    usage = merge_usage(None, message.get("usage"))
    reason = message.get("stop_reason")
    columns = {
        "finish_reason": reason if isinstance(reason, str) else None,
        "model": message.get("model") if isinstance(message.get("model"), str) else None,
        **(usage.columns() if usage is not None else {}),
    }
    if not parts and reason != "refusal":
        return Found(Outcome.BAD_PAYLOAD, "message without content", columns=columns)
    return Found(*_outcome(columns["finish_reason"]), text, columns)
