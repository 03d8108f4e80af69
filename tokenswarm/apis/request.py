"""What is asked of which target, and the bytes that ask it. No I/O, no clock."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tokenswarm.apis.chat_completions import ChatStream

TokenProvider = Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How requests are sent, whatever the target. `tls`: context shared by all users; `retry`: none | exponential."""

    timeout_s: float = 120.0
    retry: str = "none"
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTarget:
    """Where chat completions go. `api`: azure (deployments URL), azure-v1 or openai. `key` or `token_provider`."""

    api: str
    endpoint: str
    deployment: str
    api_version: str | None = None
    key: str | None = field(default=None, repr=False)
    token_provider: TokenProvider | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RagTarget:
    """Where questions go. `contract`: v1 (JSON) or v2 (text stream). `headers` carry the keys."""

    contract: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] = field(default_factory=dict)
    answer_path: str = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What to ask. `context_tokens`: the prompt's tokens as counted or estimated; `body`: further SDK parameters."""

    messages: list[dict[str, str]]
    max_tokens: int | None = None
    max_tokens_field: str = "max_tokens"
    context_tokens: int | None = None
    stream: bool = True
    keep_text: bool = False
    name: str = "chat"
    conversation_id: str | None = None
    turn: int | None = None
    question_id: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RagRequest:
    """A question. `conversation_id`: the service's id of the conversation to go on with, `None` for a new one."""

    question: str
    conversation_id: str | None = None
    turn: int | None = None
    question_id: str | None = None
    context_tokens: int | None = None
    name: str = "orchestrator"


def chat_body(request: ChatRequest, deployment: str) -> dict[str, Any]:
    """The JSON body of a chat request."""
    body: dict[str, Any] = {"model": deployment, "messages": request.messages, **request.body}
    if request.max_tokens is not None:
        body[request.max_tokens_field] = request.max_tokens
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return body


def rag_body(request: RagRequest, target: RagTarget) -> bytes:
    """The JSON body of a question in the target's contract; `target.body` adds or overrides fields."""
    question_field = "question" if target.contract == "v1" else "ask"
    body = {"conversation_id": request.conversation_id or "", question_field: request.question, **target.body}
    return json.dumps(body).encode()


def write_request(method: str, url: str, headers: Mapping[str, str], body: bytes, absolute: bool) -> bytes:
    """The bytes of an HTTP/1.1 request. Raises `ValueError` for a header that would break the framing."""
    parts = urlsplit(url)
    target = url if absolute else (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["Accept-Encoding: identity", f"Content-Length: {len(body)}"]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break inside a request header")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def chat_sink(status: int, headers: dict[str, str], request: ChatRequest) -> ChatStream | None:
    """Who takes an answer: a stream decoder for a streamed 200, nobody (collect it) for the rest."""
    kind = headers.get("content-type", "").lower()
    if status == 200 and request.stream and "json" not in kind and "html" not in kind:
        return ChatStream(keep_text=request.keep_text)
    return None
