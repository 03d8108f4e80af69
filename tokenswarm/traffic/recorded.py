"""Recorded requests as an API that can be asked, each to the API it went to. No I/O, no clock."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from tokenswarm.apis.api import Api, Encoded, Reader
from tokenswarm.apis.embeddings import EmbeddingsRequest
from tokenswarm.apis.messages import VERSION_HEADERS
from tokenswarm.apis.named import NAMES, api_of, path_of
from tokenswarm.apis.request import ChatRequest, ChatTarget, Request
from tokenswarm.workload.distributions import MAX_TOKENS

_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_MOST_CHOICES = 1000


class Said(NamedTuple):
    """How many messages there are, and a hash of them."""

    messages: int
    digest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest(Request):
    """`asks`: which API it goes to, as the option `endpoint` names it; `content`: the bytes of its body; `like`: a
    request of that API whose answer is read in the same way; `said`: what tells its recorded messages from others,
    `None` where nobody asks."""

    asks: str
    content: bytes
    like: Request
    said: Said | None = None

    def recorded(self) -> Any:
        return json.loads(self.content)

    def columns(self) -> dict[str, Any]:
        # Not super(): a dataclass with slots is another class than the one that was written down.
        return {**self.like.columns(), **Request.columns(self)}


class Recorded:
    """The APIs that recorded requests went to, at one target."""

    def __init__(self, target: ChatTarget) -> None:
        targets = {asks: dataclasses.replace(target, asks=asks) for asks in NAMES}
        self._apis: dict[str, Api[Any]] = {asks: api_of(each) for asks, each in targets.items()}
        self._paths = {asks: path_of(each) for asks, each in targets.items()}

    def encode(self, request: RecordedRequest) -> Encoded:
        headers = VERSION_HEADERS if request.asks == "messages" else {}
        return Encoded(request.content, self._paths[request.asks], headers)

    def reader(self, request: RecordedRequest, status: int, headers: Mapping[str, str]) -> Reader:
        return self._apis[request.asks].reader(request.like, status, headers)


def like(asks: str, body: Mapping[str, Any], name: str, keep_text: bool = False) -> Request:
    """A request whose answer is read as that of `body` is."""
    if asks == "embeddings":
        given = body.get("input")
        count = len(given) if isinstance(given, list) and given and not isinstance(given[0], int) else 1
        return EmbeddingsRequest(texts=[""] * count, name=name)
    limit = next((found for each in _LIMITS if (found := count_of(body.get(each), MAX_TOKENS)) is not None), None)
    choices = count_of(body.get("n"), _MOST_CHOICES)
    return _chat(limit, choices, body.get("stream") is True, keep_text, name)


@lru_cache(maxsize=1024)
def _chat(limit: int | None, choices: int | None, stream: bool, keep_text: bool, name: str) -> ChatRequest:
    """The same one again and again: most requests of a recording differ in their messages alone."""
    body = {} if choices is None else {"n": choices}
    return ChatRequest(messages=[], max_tokens=limit, stream=stream, keep_text=keep_text, name=name, body=body)


def count_of(value: Any, most: int) -> int | None:
    """`None` for what is no count that a service would take: it is sent all the same."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most else None
