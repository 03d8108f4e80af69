"""What makes a body a request of its API. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from tokenswarm.apis.named import NAMES

_CONTENT = {"chat": "messages", "messages": "messages", "responses": "input", "embeddings": "input",
            "completions": "prompt"}  # fmt: skip


class BadLine(ValueError):
    """A line that is no request: what was expected and of what kind it is, never what it says."""


@lru_cache(maxsize=1024)
def asks_of(url: str) -> str | None:
    """Which API a recorded URL or path is of, by its end; `None` for one of none that can be asked."""
    try:
        path = urlsplit(url).path.rstrip("/")
    except ValueError:  # as of http://[::1
        return None
    if path.endswith("/chat/completions"):
        return "chat"
    name = path.rpartition("/")[2]
    return name if name in NAMES and name != "chat" else None


def _asks(url: Any) -> str:
    found = asks_of(url) if isinstance(url, str) else None
    if found is None:
        raise BadLine(
            "url: expected one that ends in /chat/completions, /responses, /embeddings, /completions or /messages, "
            f"got {kind(url) if not isinstance(url, str) else 'another'}"
        )
    return found


def line_asks(entry: Mapping[str, Any], asks: str) -> str:
    """Which API an object with a body goes to, by its URL. Raises `BadLine`."""
    if entry.get("method", "POST") != "POST":
        raise BadLine(f"method: expected POST, got {kind(entry['method'])} that is another")
    return asks if entry.get("url") is None else _asks(entry["url"])


def check_body(body: Mapping[str, Any], asks: str) -> None:
    """Raises `BadLine` for a body that asks nothing of its API."""
    name = _CONTENT[asks]
    content = body.get(name)
    if name == "messages":
        _check_messages(content)
    elif not content or not isinstance(content, str | list):
        raise BadLine(f"{name}: expected text or a list, as {asks} has it, got {kind(content)}")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise BadLine(f"messages: expected a list of messages, got {kind(messages)}")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            got = "one without" if isinstance(message, dict) else kind(message)
            raise BadLine(f"message {number}: expected an object with a role, got {got}")
    _check_tools(messages)


def _check_tools(messages: list[dict[str, Any]]) -> None:
    """No service takes what a tool has said without having been called."""
    called = False
    for number, message in enumerate(messages, start=1):
        called = called or bool(message.get("tool_calls"))
        if message["role"] == "tool" and not called:
            raise BadLine(f"message {number}: expected tool_calls in a message before a tool's, got none")


def figure(value: float) -> str:
    """A number as a message has it; JSON's whole numbers may have hundreds of digits."""
    return f"{value:g}" if isinstance(value, float) or abs(value) < 1e300 else "a number of over 300 digits"


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text" if value else "an empty text"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object"
