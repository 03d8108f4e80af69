"""The bytes of a body are those that the openai SDK's own methods send for the same arguments, and Anthropic's."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tokenswarm.apis.embeddings import EmbeddingsRequest
from tokenswarm.apis.named import api_of, path_of
from tokenswarm.apis.request import ChatRequest, ChatTarget, Sending
from tokenswarm.client.sdk import chat_endpoint
from tokenswarm.config.request_extras import parse_extra_body

MESSAGES: list[Any] = [{"role": "user", "content": 'Grüße, "you" \\ 你好 \U0001f600 \n'}]
EXTRA = {
    "reasoning_effort": "low",
    "service_tier": "flex",
    "top_k": 40,
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "nested": {"min_tokens": 7, "list": [1, {"ratio": 0.25}], "none": None, "text": "é \u2028"},
}
SAMPLING: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "n": 2, "presence_penalty": 0.1, "frequency_penalty": 0.2}
OPTIONS: dict[str, Any] = {"include_usage": True}
HEADERS = {"X-Team": "blue"}
QUERY = {"tenant": "blue one"}


def sent_by(call: Callable[[Any], Any], make: Any = openai.OpenAI) -> httpx2.Request:
    """What an SDK sends for a call, whatever it makes of the answer."""
    seen: list[httpx2.Request] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={"data": []})

    base = "http://h/v1" if make is openai.OpenAI else "http://h"
    with httpx2.Client(transport=httpx2.MockTransport(keep)) as http:
        sdk = make(base_url=base, api_key="key-1", max_retries=0, http_client=http)
        with contextlib.suppress(ValueError):
            call(sdk)
    return seen[0]


def check(asks: str, request: Any, theirs: httpx2.Request) -> None:
    target = ChatTarget(api="openai", endpoint="http://h/v1", deployment="m", asks=asks, key="key-1")
    assert api_of(target).encode(request).body == theirs.content
    address = chat_endpoint(target, Sending(headers=HEADERS, query=QUERY)).at(path_of(target))
    assert address.url == str(theirs.url).replace("%20", "+")  # Anthropic's SDK writes a blank the other way
    assert theirs.headers["x-team"] == address.headers["X-Team"] == "blue"


@pytest.mark.parametrize("stream", [True, False])
def test_chat_completions(stream: bool) -> None:
    streamed = {"stream": True, "stream_options": OPTIONS} if stream else {}
    request = ChatRequest(messages=MESSAGES, max_tokens=5, stream=stream, body={**SAMPLING, **EXTRA})
    theirs = sent_by(
        lambda sdk: sdk.chat.completions.create(
            messages=MESSAGES, model="m", max_tokens=5, **SAMPLING, **streamed,
            extra_body=EXTRA, extra_headers=HEADERS, extra_query=QUERY,
        )
    )  # fmt: skip
    check("chat", request, theirs)


@pytest.mark.parametrize("stream", [True, False])
def test_responses(stream: bool) -> None:
    request = ChatRequest(
        messages=MESSAGES, max_tokens=5, stream=stream, previous_id="resp_1", body={"top_p": 0.9, **EXTRA}
    )
    theirs = sent_by(
        lambda sdk: sdk.responses.create(
            input=MESSAGES, model="m", max_output_tokens=5, previous_response_id="resp_1", top_p=0.9,
            **({"stream": True} if stream else {}), extra_body=EXTRA, extra_headers=HEADERS, extra_query=QUERY,
        )
    )  # fmt: skip
    check("responses", request, theirs)


@pytest.mark.parametrize("stream", [True, False])
def test_completions(stream: bool) -> None:
    streamed = {"stream": True, "stream_options": OPTIONS} if stream else {}
    request = ChatRequest(messages=MESSAGES, max_tokens=5, stream=stream, body={"temperature": 0.5, **EXTRA})
    theirs = sent_by(
        lambda sdk: sdk.completions.create(
            prompt=MESSAGES[0]["content"], model="m", max_tokens=5, temperature=0.5, **streamed,
            extra_body=EXTRA, extra_headers=HEADERS, extra_query=QUERY,
        )
    )  # fmt: skip
    check("completions", request, theirs)


def test_embeddings() -> None:
    request = EmbeddingsRequest(texts=["a", "é"], body=EXTRA)
    theirs = sent_by(
        lambda sdk: sdk.embeddings.create(
            input=["a", "é"], model="m", extra_body=EXTRA, extra_headers=HEADERS, extra_query=QUERY
        )
    )
    check("embeddings", request, theirs)


@pytest.mark.parametrize("stream", [True, False])
def test_messages(stream: bool) -> None:
    said = [{"role": "system", "content": "Be brief."}, *MESSAGES]
    theirs = sent_by(
        lambda sdk: sdk.messages.create(
            messages=MESSAGES, model="m", max_tokens=5, system="Be brief.", **({"stream": True} if stream else {}),
            extra_body=EXTRA, extra_headers=HEADERS, extra_query=QUERY,
        ),
        anthropic.Anthropic,
    )  # fmt: skip
    check("messages", ChatRequest(messages=said, max_tokens=5, stream=stream, body=EXTRA), theirs)


def test_what_is_drawn_is_sent_as_the_number_that_was_drawn() -> None:
    fields = parse_extra_body('{"a": {"min_tokens": "uniform(1, 9)", "list": ["uniform(0.5, 1.5)"]}, "b": "uniform"}')
    drawn = fields.sample(random.Random(3))
    assert 1 <= drawn["a"]["min_tokens"] <= 9 and isinstance(drawn["a"]["min_tokens"], int)
    assert 0.5 <= drawn["a"]["list"][0] <= 1.5 and drawn["b"] == "uniform"
    theirs = sent_by(
        lambda sdk: sdk.chat.completions.create(
            messages=MESSAGES, model="m", extra_body=dict(drawn), extra_headers=HEADERS, extra_query=QUERY
        )
    )
    check("chat", ChatRequest(messages=MESSAGES, stream=False, body=drawn), theirs)
