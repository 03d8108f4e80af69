"""Chat completions on the wire: events and bodies in, tokens, usage and errors out. No I/O, no clock.

The order of a stream (Azure OpenAI, captures 2024-2026): a prompt-filter chunk without choices, a role chunk with
empty content, content chunks (one or several tokens each), a finish chunk, a usage chunk when asked for, `[DONE]`.
Only a non-empty content, reasoning or tool-call delta is a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jiter

from tokenswarm.apis.api import Encoded, Found
from tokenswarm.apis.chunk_times import ChunkTimes
from tokenswarm.apis.request import ChatRequest
from tokenswarm.apis.sse import EventDecoder
from tokenswarm.apis.whole_body import WholeBody
from tokenswarm.record import Outcome, TokenSource

CHAT_PATH = "/chat/completions"

_CONTENT = b'"delta":{"content":"'
_UNFINISHED = b'"finish_reason":null'
_PLAIN = re.compile(rb"[ !#-\[\]-~]+")
"""Characters that stand for themselves inside a JSON string: printable ASCII but quote and backslash."""
_REASONING_FIELDS = ("reasoning_content", "reasoning")


class ChatCompletions:
    """The API of chat completions; `deployment` is the model that a body names."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment

    def encode(self, request: ChatRequest) -> Encoded:
        return Encoded(encode_json(chat_body(request, self._deployment)), CHAT_PATH)

    def reader(self, request: ChatRequest, status: int, headers: Mapping[str, str]) -> ChatStream | ChatBody:
        kind = headers.get("content-type", "").lower()
        if status == 200 and request.stream and "json" not in kind and "html" not in kind:
            return ChatStream(keep_text=request.keep_text)
        return ChatBody(promised=status == 200)


def chat_body(request: ChatRequest, deployment: str) -> dict[str, Any]:
    """The JSON body of a chat request."""
    body: dict[str, Any] = {"model": deployment, "messages": request.messages, **request.body}
    if request.max_tokens is not None:
        body[request.max_tokens_field] = request.max_tokens
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return body


def encode_json(body: Mapping[str, Any]) -> bytes:
    """A JSON body as the openai SDK's HTTP client writes it."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


@dataclass(slots=True)
class Usage:
    """Token counts as the service reported them; `None` where it did not."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None

    def columns(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "cached_tokens": self.cached_tokens,
            "token_source": TokenSource.USAGE,
        }


class ChatStream:
    """One streamed answer while it arrives.

    `keep_text` collects the visible answer (for conversations that feed it back); it costs a JSON parse a chunk.
    """

    __slots__ = (
        "_after",
        "_before",
        "_decoder",
        "_keep_text",
        "_text",
        "done",
        "error",
        "finish_reason",
        "model",
        "reasoning_streamed",
        "times",
        "undecodable",
        "usage",
        "visible_ms",
    )

    def __init__(self, keep_text: bool = False) -> None:
        self._decoder = EventDecoder()
        self._keep_text = keep_text
        self._before = self._after = b""
        self._text: list[str] = []
        self.times = ChunkTimes()
        self.visible_ms: float | None = None
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.error: str | None = None
        self.undecodable: str | None = None
        self.reasoning_streamed = False
        self.done = False

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Take bytes that arrived not later than `at_ms` and not before `since_ms`. Raises `EventTooLarge`."""
        if self._is_another_token(data):
            self.times.add(1, at_ms, since_ms)
            return False
        tokens = 0
        for event in self._decoder.feed(data):
            # Cheap and certain: an unescaped key cannot stand inside a JSON string, and an empty content has a
            # quote where this one has a character. Everything else is parsed, what may be cut off or no UTF-8 too.
            mark = event.find(_CONTENT)
            if (
                self.visible_ms is not None
                and not self._keep_text
                and mark >= 0
                and event[mark + 20 : mark + 21] != b'"'
                and _UNFINISHED in event
                and event.endswith(b"}")
                and event.isascii()
            ):
                tokens += 1
                if not self._before:
                    self._learn(data, event, mark + len(_CONTENT))
            elif event == b"[DONE]":
                self.done = True
            else:
                tokens += self._parse(event, at_ms)
        if tokens:
            self.times.add(tokens, at_ms, since_ms)
            if self.visible_ms is not None and self.visible_ms < 0:
                self.visible_ms = self.times.latest_first_ms
        return False

    def finish(self) -> Found:
        """What the stream came to."""
        outcome, error = self._outcome()
        columns = {
            **self.times.columns(streamed_tokens(self.usage, self.reasoning_streamed)),
            "ttft_visible_ms": self.visible_ms,
            "finish_reason": self.finish_reason,
            "model": self.model,
            **(self.usage.columns() if self.usage is not None else {}),
        }
        return Found(outcome, error, self.text, columns)

    def _outcome(self) -> tuple[Outcome, str | None]:
        problem = self.undecodable
        if problem is None and not self.times.at_ms and not (self.usage and self.usage.completion_tokens):
            problem = "stream without tokens"
        told = self.error is not None or self.finish_reason == "content_filter"
        if not told and self.cut and (self.usage is None or problem is not None):
            return Outcome.TRUNCATED, "stream ended before the answer was finished"
        return _outcome(self.error, self.finish_reason, problem)

    def _learn(self, data: bytes, event: bytes, begin: int) -> None:
        """Remember what stands around the content (from `begin`) of an event that was a read of its own."""
        end = _PLAIN.match(event, begin)
        if end is not None and event[end.end() : end.end() + 1] == b'"' and data == b"data: " + event + b"\n\n":
            self._before, self._after = data[: begin + 6], data[end.end() + 6 :]

    def _is_another_token(self, data: bytes) -> bool:
        """Whether `data` is one event that differs from a content event seen before in plain characters of its content
        only, as most reads are: half the work of looking at it."""
        before, after = self._before, self._after
        return (
            before != b""
            and data.startswith(before)
            and data.endswith(after)
            and self._decoder.at_boundary
            and _PLAIN.fullmatch(data, len(before), len(data) - len(after)) is not None
        )

    @property
    def text(self) -> str:
        """The visible answer so far; empty unless `keep_text`."""
        return "".join(self._text)

    @property
    def cut(self) -> bool:
        """Whether the stream ended without `[DONE]` and without a finish reason, or inside an event."""
        return not self.done and (self.finish_reason is None or self._decoder.unfinished)

    def _parse(self, event: bytes, at_ms: float) -> int:
        """Read one event; 1 when it carries tokens, else 0."""
        try:
            chunk = jiter.from_json(event)
        except ValueError as error:
            self.undecodable = self.undecodable or f"event is not JSON: {error}"
            return 0
        if not isinstance(chunk, dict):
            self.undecodable = self.undecodable or f"event is not a JSON object: {type(chunk).__name__}"
            return 0
        if chunk.get("error"):
            self.error = describe_error(chunk)
        if isinstance(usage := chunk.get("usage"), dict):
            self.usage = parse_usage(usage)
        if isinstance(model := chunk.get("model"), str) and model:
            self.model = model
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return 0
        return int(any([self._take_choice(choice) for choice in choices if isinstance(choice, dict)]))

    def _take_choice(self, choice: dict[str, Any]) -> bool:
        if isinstance(reason := choice.get("finish_reason"), str):
            self.finish_reason = reason
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return False
        content = delta.get("content")
        visible = bool(content) or bool(delta.get("tool_calls")) or bool(delta.get("refusal"))
        reasoning = any(delta.get(field) for field in _REASONING_FIELDS)
        self.reasoning_streamed |= reasoning
        if visible and self.visible_ms is None:
            self.visible_ms = -1.0  # set by feed() once the time of this chunk is known
        if self._keep_text and isinstance(content, str):
            self._text.append(content)
        return visible or reasoning


def streamed_tokens(usage: Usage | None, reasoning_streamed: bool) -> int | None:
    """Completion tokens that were sent as chunks: all, less reasoning tokens where those are not streamed."""
    if usage is None or usage.completion_tokens is None:
        return None
    hidden = 0 if reasoning_streamed else usage.reasoning_tokens or 0
    return usage.completion_tokens - hidden


def parse_usage(usage: dict[str, Any]) -> Usage:
    """Read a usage object; fields that are missing or not whole numbers stay `None`."""
    completion_details = usage.get("completion_tokens_details")
    prompt_details = usage.get("prompt_tokens_details")
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        reasoning_tokens=_count(completion_details.get("reasoning_tokens"))
        if isinstance(completion_details, dict)
        else None,
        cached_tokens=_count(prompt_details.get("cached_tokens")) if isinstance(prompt_details, dict) else None,
    )


class ChatBody:
    """One whole (not streamed) answer. `promised`: its status promises an answer."""

    __slots__ = ("_body", "_promised")

    def __init__(self, promised: bool = True) -> None:
        self._body = WholeBody()
        self._promised = promised

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Raises `BodyTooLarge`."""
        self._body.add(data)
        return False

    def finish(self) -> Found:
        return read_body(self._body.data) if self._promised else Found()


def read_body(body: bytes) -> Found:
    """What a non-streamed answer came to."""
    try:
        answer = jiter.from_json(body)
    except ValueError as cause:
        return Found(Outcome.BAD_PAYLOAD, f"body is not JSON: {cause}")
    if not isinstance(answer, dict):
        return Found(Outcome.BAD_PAYLOAD, f"body is not a JSON object: {type(answer).__name__}")
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message, finish_reason, usage = choice.get("message"), choice.get("finish_reason"), answer.get("usage")
    content = message.get("content") if isinstance(message, dict) else None
    error = describe_error(answer) if answer.get("error") else None
    columns = {
        "finish_reason": finish_reason if isinstance(finish_reason, str) else None,
        "model": answer.get("model") if isinstance(answer.get("model"), str) else None,
        **(parse_usage(usage).columns() if isinstance(usage, dict) else {}),
    }
    outcome, said = _outcome(error, columns["finish_reason"], None if choice else "body has no choices")
    return Found(outcome, said, content if isinstance(content, str) else "", columns)


def _outcome(error: str | None, finish_reason: str | None, problem: str | None) -> tuple[Outcome, str | None]:
    """`error`: what the service says is wrong; `problem`: what is wrong with what it says."""
    if error is not None:
        return Outcome.STREAM_ERROR, error
    if finish_reason == "content_filter":
        return Outcome.CONTENT_FILTER, "answer stopped by the content filter"
    if problem is not None:
        return Outcome.BAD_PAYLOAD, problem
    return Outcome.OK, None


def describe_error(body: dict[str, Any]) -> str:
    """One line from an error body: `code: message`, as much of it as there is."""
    error = body.get("error")
    if not isinstance(error, dict):
        return str(error)[:500]
    code, message = error.get("code") or error.get("type"), error.get("message")
    return ": ".join(str(part) for part in (code, message) if part)[:500] or "error without code or message"


def is_content_filter(body: bytes) -> bool:
    """Whether an error body is the content filter's refusal (HTTP 400, error code `content_filter`)."""
    try:
        answer = jiter.from_json(body)
    except ValueError:
        return False
    error = answer.get("error") if isinstance(answer, dict) else None
    return isinstance(error, dict) and error.get("code") == "content_filter"


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
