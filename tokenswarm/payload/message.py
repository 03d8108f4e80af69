"""What a message or a delta of one says: text, thinking, tool calls. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VISIBLE = ("tool_calls", "function_call", "refusal", "audio")
_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
_THINKING_PARTS = frozenset({"thinking", "reasoning", "redacted_thinking"})


def message_of(choice: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The delta or message of a choice; the text of a completion is one, too. `None` where there is none."""
    found = choice.get("delta") or choice.get("message")
    if isinstance(found, Mapping):
        return found
    return {"content": choice["text"]} if isinstance(choice.get("text"), str) else None


def visible_text(content: Any) -> str:
    """The text that a reader sees of a content: a string, or a list of parts, of which thinking is none."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(_part_text(part) for part in content if not _is_thinking(part))


def has_text(message: Mapping[str, Any]) -> bool:
    """Whether there is anything of the answer itself in a message: text, a refusal, a call of a tool."""
    return bool(visible_text(message.get("content"))) or any(message.get(field) for field in _VISIBLE)


def reasons(message: Mapping[str, Any]) -> bool:
    """Whether there is thinking in a message, in a field of its own or as a part of its content."""
    content = message.get("content")
    return any(message.get(field) for field in _REASONING) or (
        isinstance(content, list) and any(_is_thinking(part) for part in content)
    )


def _part_text(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) else part
    return text if isinstance(text, str) else ""


def _is_thinking(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _THINKING_PARTS
