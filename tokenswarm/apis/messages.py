"""Anthropic's Messages API on the wire, as Anthropic, gateways and vLLM serve it. No I/O, no clock.

A stream: `message_start` (model, prompt tokens), blocks of deltas, `message_delta` (stop reason, completion tokens so
far), `message_stop`; `ping` and unknown types may stand anywhere, `error` ends it. `input_tokens` leaves out what was
read from or written to the prompt cache. Source: Anthropic API reference, streaming messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenswarm.apis.api import Encoded, Found
from tokenswarm.apis.request import ChatRequest, encode_json
from tokenswarm.apis.typed_events import Carries, TypedEventStream, body_columns
from tokenswarm.payload.ends import end_reason, failed_end
from tokenswarm.payload.json_text import read_json
from tokenswarm.payload.message import is_seen
from tokenswarm.payload.tool_calls import ToolCall, called_by
from tokenswarm.payload.usage import Usage, count_of
from tokenswarm.record import Outcome

PATH = "/messages"
VERSION_HEADERS = {"anthropic-version": "2023-06-01"}
"""The version that Anthropic, gateways and vLLM all know; the option `headers` puts another in its place."""
MAX_TOKENS = 1024
"""The API wants a limit: this one where the scenario says none."""
_DELTAS = {
    "text_delta": Carries.VISIBLE,
    "thinking_delta": Carries.HIDDEN,
    "input_json_delta": Carries.HIDDEN,
}
_ARGUMENTS = frozenset(
    {"cache_control", "container", "inference_geo", "metadata", "output_config"}
    | {"service_tier", "stop_sequences", "thinking", "tool_choice", "tools"}
)
"""What the SDK has a place for, by name, among what we write ourselves; other fields stand at the end."""
_DELTA_TEXTS = ("text", "thinking", "partial_json")


class Messages:
    """The Messages API; `deployment` is the model that a body names."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment

    def encode(self, request: ChatRequest) -> Encoded:
        return Encoded(encode_json(messages_body(request, self._deployment)), PATH, VERSION_HEADERS)

    def reader(self, request: ChatRequest, status: int, headers: Mapping[str, str]) -> MessageStream:
        return MessageStream(request.keep_text, status, request.keep_calls)


def messages_body(request: ChatRequest, deployment: str) -> dict[str, Any]:
    """The JSON body of a request, in the order of Anthropic's SDK; system messages stand apart from the others."""
    system = [message["content"] for message in request.messages if message["role"] in ("system", "developer")]
    shown = request.shown(lambda text: {"type": "text", "text": text}, _image)
    others = _joined_results([message for message in shown if message["role"] not in ("system", "developer")])
    body: dict[str, Any] = {"model": deployment, "max_tokens": request.max_tokens or MAX_TOKENS, "messages": others}
    if system:
        body["system"] = "\n\n".join(system)
    if request.stream:
        body["stream"] = True
    body |= {name: value for name, value in request.body.items() if name in _ARGUMENTS}
    return {**dict(sorted(body.items())), **request.body}


def _joined_results(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages, in which what several tools gave is one of the user's."""
    joined: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] != "tool":
            results = []
            joined.append(message)
            continue
        if not results:
            joined.append({"role": "user", "content": results})
        results.append({"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": message["content"]})
    return joined


def _image(url: str) -> dict[str, Any]:
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


class MessageStream(TypedEventStream):
    """One message, streamed or whole."""

    TOKEN = b'"type":"text_delta"'
    EMPTY = b'"text":""'

    def __init__(self, keep_text: bool = False, status: int = 200, keep_calls: bool = False) -> None:
        super().__init__(keep_text, status, keep_calls)
        self._blocks: list[dict[str, Any]] = []
        """The content blocks so far, where calls are kept."""

    def take(self, kind: str, event: dict[str, Any]) -> Carries:
        if kind == "content_block_delta":
            return self._take_delta(event.get("delta"))
        if kind == "content_block_start":
            return self._take_block(event.get("content_block"))
        if kind == "content_block_stop" and self._blocks:
            self._blocks[-1] = _closed(self._blocks[-1])
        if kind == "message_start":
            self._take_message(event.get("message"))
        elif kind == "message_delta":
            self._take_end(event)
        elif kind == "message_stop":
            self.ended = True
            self._note_calls(self._blocks, self.finish_reason)
        return Carries.NOTHING

    def outcome(self) -> tuple[Outcome, str | None]:
        outcome, error = super().outcome()
        return _outcome(self.finish_reason) if outcome is Outcome.OK else (outcome, error)

    def read_body(self, body: dict[str, Any]) -> Found:
        content = body.get("content")
        parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
        text = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
        usage = body.get("usage")
        columns = body_columns(
            merge_usage(None, usage), end_reason(body.get("stop_reason")), body.get("model"), _tier(usage)
        )
        self.tool_calls = _calls(parts)
        outcome = _outcome(columns["finish_reason"])
        self._note_calls(parts, columns["finish_reason"])
        if not _has_token(parts) and outcome[0] is not Outcome.CONTENT_FILTER:
            outcome = Outcome.BAD_PAYLOAD, "message without content"
        return self.found(outcome, text, columns, is_seen(text))

    def _take_delta(self, delta: Any) -> Carries:
        if isinstance(delta, dict) and self._blocks:
            _extend(self._blocks[-1], delta)
        if not isinstance(delta, dict) or not any(delta.get(name) for name in _DELTA_TEXTS):
            return Carries.NOTHING
        kind = str(delta.get("type"))
        self.reasoning_streamed |= kind == "thinking_delta"
        if kind == "text_delta":
            self.keep(delta.get("text"))
        elif kind == "input_json_delta" and self._keep_text and self.tool_calls:
            name, begun = self.tool_calls[-1]
            self.tool_calls[-1] = name, begun + str(delta.get("partial_json") or "")
        return _DELTAS.get(kind, Carries.NOTHING)

    def _take_block(self, block: Any) -> Carries:
        """A block begins empty, but some gateways write the first text into it."""
        if not isinstance(block, dict):
            return Carries.NOTHING
        self.tool_calls += _calls([block])
        if self._keep_calls:
            self._blocks.append(dict(block))
        if not block.get("text"):
            return Carries.NOTHING
        self.keep(block.get("text"))
        return Carries.VISIBLE

    def _note_calls(self, blocks: list[dict[str, Any]], stop_reason: str | None) -> None:
        """The tools that a whole message calls: all of its blocks are said again, its thinking too."""
        calls = [block for block in blocks if block.get("type") == "tool_use" and isinstance(block.get("name"), str)]
        if self._keep_calls and calls and stop_reason != "max_tokens":
            found = [ToolCall(str(call.get("id")), call["name"], json.dumps(call.get("input") or {})) for call in calls]
            said = [block for block in blocks if block.get("type") != "text" or block.get("text")]  # none may be empty
            self.called = called_by(found, [{"role": "assistant", "content": said}])

    def _take_message(self, message: Any) -> None:
        if isinstance(message, dict):
            self.model = message.get("model") if isinstance(message.get("model"), str) else None
            usage = message.get("usage")
            begun = {**usage, "output_tokens": None} if isinstance(usage, dict) else None  # of the first token alone
            self.usage = merge_usage(self.usage, begun)
            self.service_tier = _tier(usage)

    def _take_end(self, event: dict[str, Any]) -> None:
        delta = event.get("delta")
        if isinstance(delta, dict):
            self.finish_reason = end_reason(delta.get("stop_reason")) or self.finish_reason
        self.usage = merge_usage(self.usage, event.get("usage"))
        self.service_tier = _tier(event.get("usage")) or self.service_tier


_PARTIAL = "partial_json"


def _extend(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Put a delta into the block that it is of."""
    for name in ("text", "thinking", "signature", _PARTIAL):
        if isinstance(piece := delta.get(name), str):
            block[name] = block.get(name, "") + piece


def _closed(block: dict[str, Any]) -> dict[str, Any]:
    """A block whose deltas have all come: the input of a tool is an object."""
    if _PARTIAL not in block:
        return block
    try:
        given = read_json(block[_PARTIAL].encode())
    except ValueError:
        given = {}
    return {**{name: value for name, value in block.items() if name != _PARTIAL}, "input": given}


def _tier(usage: Any) -> str | None:
    """Which tier has served a message: Anthropic says it beside the counts."""
    tier = usage.get("service_tier") if isinstance(usage, dict) else None
    return tier if isinstance(tier, str) else None


def merge_usage(known: Usage | None, usage: Any) -> Usage | None:
    """`known` with what a usage object says besides: later counts replace earlier ones, absent ones and zeros do
    not."""
    if not isinstance(usage, dict):
        return known
    prompt, cached = usage.get("input_tokens"), usage.get("cache_read_input_tokens")
    written, completion = usage.get("cache_creation_input_tokens"), usage.get("output_tokens")
    found = Usage(count_of(prompt), count_of(completion), cached_tokens=count_of(cached))
    found.ill_formed = any(
        count is not None and count_of(count) is None for count in (prompt, cached, written, completion)
    )
    if found.prompt_tokens is not None:
        found.prompt_tokens += (found.cached_tokens or 0) + (count_of(written) or 0)
    if known is None:
        return found
    known.take(found)
    return known


def _calls(parts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Name and arguments of each tool that parts call; a stream's block begins with no arguments."""
    return [
        (str(part.get("name") or ""), json.dumps(part["input"]) if part.get("input") else "")
        for part in parts
        if part.get("type") == "tool_use"
    ]


def _has_token(parts: list[dict[str, Any]]) -> bool:
    thinking = ("text", "thinking", "data")
    return any(any(part.get(name) for name in thinking) or part.get("type") == "tool_use" for part in parts)


def _outcome(stop_reason: str | None) -> tuple[Outcome, str | None]:
    """What an answer with this end came to; one whose reason is not known is taken, with a doubt."""
    if stop_reason is None:
        return Outcome.TRUNCATED, "message ended without a stop reason"
    return failed_end([stop_reason]) or (Outcome.OK, None)
