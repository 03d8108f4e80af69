"""Completions of a prompt (base models, vLLM) on the wire: like chat completions, but for text in place of messages.

Source: OpenAI API reference, completions. No I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenswarm.apis.api import Encoded
from tokenswarm.apis.chat_completions import ChatStream, stream_of
from tokenswarm.apis.request import ChatRequest, encode_json, sdk_body, usage_option

PATH = "/completions"


class Completions:
    """The API of completions; `deployment` is the model that a body names."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment

    def encode(self, request: ChatRequest) -> Encoded:
        return Encoded(encode_json(completions_body(request, self._deployment)), PATH)

    def reader(self, request: ChatRequest, status: int, headers: Mapping[str, str]) -> ChatStream:
        return stream_of(request, status, headers, CompletionStream)


class CompletionStream(ChatStream):
    """One answer while it arrives."""

    __slots__ = ()
    CONTENT = b'"text":"'


def completions_body(request: ChatRequest, deployment: str) -> dict[str, Any]:
    """The JSON body of a request: all that was said, as one text."""
    prompt = "\n\n".join(message["content"] for message in request.messages)
    limit = {} if request.max_tokens is None else {"max_tokens": request.max_tokens}
    return sdk_body({"model": deployment, "prompt": prompt}, limit | usage_option(request), request)
