"""What is asked of which target, and the bytes that ask it. No I/O, no clock."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tokenswarm.apis.api import Api

TokenProvider = Callable[[], str]

_SAMPLING = ("frequency_penalty", "n", "presence_penalty", "temperature", "top_p")
"""Arguments that options give."""
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How requests are sent, whatever the target. `tls`: context shared by all users; `retry`: none | exponential."""

    timeout_s: float = 120.0
    retry: str = "none"
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further headers of every request; they stand in place of ours of the same name."""
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further query parameters of every URL."""
    route_header: str | None = None
    """Response header that names the backend which served a request, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTarget:
    """Where chat completions go. `api`: azure (deployments URL), azure-v1 or openai. `key` or `token_provider`."""

    api: str
    endpoint: str
    deployment: str
    """Deployment or model; empty while the service has still to be asked which one it has."""
    asks: str = "chat"
    """What it is asked: chat, responses, embeddings, completions, messages or app."""
    app: Api[Any] | None = field(default=None, repr=False)
    """How an application is asked; `endpoint` is its whole URL then."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What each question to an application carries."""
    api_version: str | None = None
    key: str | None = field(default=None, repr=False)
    token_provider: TokenProvider | None = None

    @property
    def lacks_model(self) -> bool:
        """Whether the service has still to be asked which model it has. An application knows its own."""
        return not self.deployment and self.app is None


@dataclass(frozen=True, slots=True, kw_only=True)
class RagTarget:
    """Where questions go. `contract`: v1 (JSON) or v2 (text stream). `headers` carry the keys."""

    contract: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] = field(default_factory=dict)
    answer_path: str = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is known of a request whatever it asks. `name`: in Locust's statistics, rows and criteria.
    `context_tokens`: the prompt's tokens as counted or estimated."""

    name: str
    conversation_id: str | None = None
    turn: int | None = None
    question_id: str | None = None
    context_tokens: int | None = None
    shared_tokens: int | None = None
    """Of these, those at the beginning that other prompts of the run have too."""
    seen_share: float | None = None
    """Which part of a recorded prompt, from its beginning, an earlier one of the run has, too; `None` for others."""
    abort_after_s: float | None = None
    """s after the start of its first attempt at which the user leaves, whether or not the answer has ended; `None`:
    waits for it."""
    judge: Callable[[str, Sequence[tuple[str, str]], bool], Mapping[str, Any]] | None = None
    """What text, tool calls and refusal of a whole answer (see `Found`) add to the record: whether it is right. Asked
    after the answer has ended."""

    def recorded(self) -> Any:
        """What it says that is from a recording, as JSON: none of it may reach a result. `None` for all others."""
        return None

    def columns(self) -> dict[str, Any]:
        """The record's columns that are known before the request is sent."""
        return {
            "name": self.name,
            "conversation_id": self.conversation_id,
            "turn": self.turn,
            "question_id": self.question_id,
            "context_tokens": self.context_tokens,
            "shared_tokens": self.shared_tokens,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest(Request):
    """Messages to answer. `body`: further parameters of the API; `keep_text`: the text is wanted for a conversation;
    `stream_usage`: a stream is asked for its token counts, which some servers refuse."""

    messages: list[dict[str, Any]]
    """As chat completions have them; what an answer that calls tools has said stands in the form of its own API."""
    max_tokens: int | None = None
    max_tokens_field: str = "max_tokens"
    stream: bool = True
    stream_usage: bool = True
    keep_text: bool = False
    keep_calls: bool = False
    """Whether calls of tools are wanted, too: they are answered in a next request."""
    images: Sequence[str] = ()
    """Data URLs of images that stand behind the text of the user's last message."""
    previous_id: str | None = None
    """Id of the last answer of the conversation, where the service has the earlier turns and only what follows it is
    sent (Responses API)."""
    session_id: str | None = None
    """The id that was made up here for the conversation; `conversation_id` is the same until a service gives one."""
    name: str = "chat"
    body: Mapping[str, Any] = field(default_factory=dict)
    is_recorded: bool = False
    """Whether its texts are from a recording."""

    def recorded(self) -> Any:
        return self.messages if self.is_recorded else None

    def shown(self, text: Callable[[str], Any], image: Callable[[str], Any]) -> list[dict[str, Any]]:
        """The messages, the user's last one with its images as an API writes parts of a `text` and of an `image`."""
        shown = list(self.messages)
        asked = [place for place, message in enumerate(shown) if message.get("role") == "user"]
        if self.images and asked:
            last = shown[asked[-1]]
            shown[asked[-1]] = {**last, "content": [text(last["content"]), *(image(url) for url in self.images)]}
        return shown

    @property
    def service_conversation(self) -> str | None:
        """The service's own id of the conversation; `None` until it has given one."""
        return self.conversation_id if self.conversation_id != self.session_id else None

    def columns(self) -> dict[str, Any]:
        limit = None if self.max_tokens is None else self.max_tokens * int(self.body.get("n", 1))
        return {**Request.columns(self), "max_tokens": limit}


@dataclass(frozen=True, slots=True, kw_only=True)
class RagRequest(Request):
    """A question. `conversation_id`: the service's id of the conversation to go on with, `None` for a new one."""

    question: str
    name: str = "orchestrator"


def chat_body(request: ChatRequest, deployment: str) -> dict[str, Any]:
    """The JSON body of a chat request."""
    messages = request.shown(
        lambda text: {"type": "text", "text": text},
        lambda url: {"type": "image_url", "image_url": {"url": url}},
    )
    return sdk_body({"model": deployment, "messages": messages}, _arguments(request), request)


def _arguments(request: ChatRequest) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if request.max_tokens is not None:
        found[request.max_tokens_field] = request.max_tokens
    return found | usage_option(request)


def usage_option(request: ChatRequest) -> dict[str, Any]:
    """What asks for token counts in a stream, with what else is said of streams."""
    if not request.stream or not request.stream_usage:
        return {}
    return {"stream_options": {**(request.body.get("stream_options") or {}), "include_usage": True}}


def sdk_body(asked: dict[str, Any], arguments: Mapping[str, Any], request: ChatRequest) -> dict[str, Any]:
    """A body as the openai SDK puts it together: the model, whether to stream, what is `asked`, the arguments by name,
    then further fields (its `extra_body`) as they were given."""
    named = {name: request.body[name] for name in _SAMPLING if name in request.body} | dict(arguments)
    further = {name: value for name, value in request.body.items() if name not in named}
    streamed = {"stream": True} if request.stream else {}
    return {"model": asked["model"], **streamed, **asked, **dict(sorted(named.items())), **further}


def encode_json(body: Mapping[str, Any]) -> bytes:
    """A JSON body as the openai SDK's HTTP client writes it."""
    return _encode(body).encode("utf-8")


def write_request(method: str, url: str, headers: Mapping[str, str], body: bytes, absolute: bool) -> bytes:
    """The bytes of an HTTP/1.1 request. Raises `ValueError` for a header that would break the framing."""
    return with_body(head_of(method, url, headers, absolute), {}, body)


def head_of(method: str, url: str, headers: Mapping[str, str], absolute: bool) -> bytes:
    """What requests to one URL begin with. Raises `ValueError` for a header that would break the framing."""
    parts = urlsplit(url)
    target = url if absolute else (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
    return _lines([*lines, *(f"{name}: {value}" for name, value in headers.items())])


def with_body(head: bytes, headers: Mapping[str, str], body: bytes) -> bytes:
    """The bytes of a request that begins so: its further headers and its body. Raises `ValueError` for a header that
    would break the framing."""
    further = [f"{name}: {value}" for name, value in headers.items()]
    return b"%b%bAccept-Encoding: identity\r\nContent-Length: %d\r\n\r\n%b" % (head, _lines(further), len(body), body)


def _lines(lines: Sequence[str]) -> bytes:
    text = "".join([line + "\r\n" for line in lines])
    if text.count("\r") != len(lines) or text.count("\n") != len(lines):
        raise ValueError("a line break inside a request header")
    return text.encode("latin-1")
