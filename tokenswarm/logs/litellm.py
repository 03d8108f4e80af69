"""LiteLLM's log: a StandardLoggingPayload a line, or a list of them, as it hands it to its loggers; rows of its spend
log. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tokenswarm.logs.logged import PASSED_ON, Fields, LoggedRequest, objects_of, url_of
from tokenswarm.recordings.bodies import BadLine
from tokenswarm.recordings.lines import read_timestamp
from tokenswarm.userinput import parse_json

_CALLS = {
    "completion": "chat",
    "text_completion": "completions",
    "responses": "responses",
    "embedding": "embeddings",
    "anthropic_messages": "messages",
}
"""LiteLLM's types of calls, each with an a before it where it was asynchronous, and the API that was asked."""
_NOT_WHOLE = ("redacted-by-litellm", "litellm_truncated", "[base64_data truncated")
"""What stands in a body in place of what was asked."""
_CONTENT = frozenset(["messages", "input", "prompt"])
_TAKEN = PASSED_ON | _CONTENT | {"model", "system", "stream"}


def read_litellm(data: bytes) -> Iterator[LoggedRequest | None]:
    """The requests of a line, `None` for each entry of another kind. Raises `BadLine`."""
    for values in objects_of(data):
        entry = Fields(values)
        call = str(entry.get("call_type") or "completion")
        asks = _CALLS.get(call) or _CALLS.get(call.removeprefix("a"))
        yield None if asks is None else _litellm_request(entry, asks)


def _litellm_request(entry: Fields, asks: str) -> LoggedRequest:
    if (begin := entry.get("startTime")) is None:
        raise BadLine("expected an instant as startTime, which LiteLLM's payloads have, got none")
    answer = None if entry.get("status") == "failure" or asks == "embeddings" else entry.count("completion_tokens")
    return LoggedRequest(
        at_s=read_timestamp(begin),
        url=url_of(asks),
        body=_litellm_body(entry, asks),
        session=entry.get("session_id", "litellm_session_id", "trace_id"),
        context_tokens=entry.count("prompt_tokens") or None,  # 0 where a stream ended without a count
        max_tokens=answer or None,
    )


def _litellm_body(entry: Fields, asks: str) -> dict[str, Any] | None:
    """`None` where it is not logged, cut, or goes on from an answer that a service has stored."""
    body = _sent_body(entry) or _logged_body(entry, asks)
    if body is None or body.get("previous_response_id"):
        return None
    text = json.dumps(body)
    if any(mark in text for mark in _NOT_WHOLE):
        return None
    return {name: value for name, value in body.items() if name in _TAKEN and value is not None}


def _sent_body(entry: Fields) -> dict[str, Any] | None:
    """What a client sent to the proxy, which rows of the spend log have with `store_prompts_in_spend_logs`."""
    given = entry.get("proxy_server_request")
    try:
        body = parse_json(given) if isinstance(given, str) else given
    except ValueError:
        return None
    return body if isinstance(body, dict) and not body.keys().isdisjoint(_CONTENT) else None


def _logged_body(entry: Fields, asks: str) -> dict[str, Any] | None:
    messages, given = entry.get("messages"), entry.get("model_parameters")
    if not isinstance(messages, list) or not messages:
        return None
    content = _content_of(messages, asks)
    if content is None:
        return None
    stream = {"stream": True} if entry.get("stream") is True and asks != "embeddings" else {}
    return {"model": str(entry.get("model") or ""), **content, **(given if isinstance(given, dict) else {}), **stream}


def _content_of(messages: list[Any], asks: str) -> dict[str, Any] | None:
    """LiteLLM logs what was asked of any API as messages."""
    if asks == "chat":
        return {"messages": messages}
    if asks == "responses":
        return {"input": messages}
    if asks == "messages":
        system = [message["content"] for message in messages if message.get("role") == "system"]
        said = [message for message in messages if message.get("role") != "system"]
        return {"messages": said, **({"system": system[0]} if system else {})}
    texts = [message.get("content") for message in messages]
    if not all(isinstance(text, str) for text in texts):
        return None
    return {"input": texts} if asks == "embeddings" else {"prompt": texts[0] if len(texts) == 1 else texts}
