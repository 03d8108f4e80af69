"""What a message or a delta of one says: text, thinking, tool calls. No I/O, no clock."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tokenswarm.payload.tool_calls import Called, ToolCall, called_by

_SHOWN = ("tool_calls", "function_call", "audio")
_VISIBLE = frozenset((*_SHOWN, "refusal"))
_REASONING = frozenset({"reasoning_content", "reasoning", "reasoning_details", "thinking", "reasoning_text"})
_THINKING_PARTS = frozenset({"thinking", "reasoning", "redacted_thinking"})
_SEEN = re.compile(
    "[^\\s\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
"""A character that a reader sees: no blank, no control, none that Unicode lets a font leave out."""


def message_of(choice: Mapping[str, Any], fields: tuple[str, str] = ("delta", "message")) -> Mapping[str, Any] | None:
    """The delta or message of a choice, whichever of the fields comes first (Perplexity's chunks have both, the message
    being all so far); the text of a completion is one, too. `None` where there is none."""
    for field in fields:
        if isinstance(found := choice.get(field), dict):
            return found
    return {"content": choice["text"]} if isinstance(choice.get("text"), str) else None


def visible_text(content: Any) -> str:
    """The text that a reader sees of a content: a string, or a list of parts, of which thinking is none."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(_part_text(part) for part in content if not _is_thinking(part))


def said_text(message: Mapping[str, Any]) -> str:
    """What a reader sees of a message: its text, or the refusal that stands in a field of its own."""
    refusal = message.get("refusal")
    return visible_text(message.get("content")) or (refusal if isinstance(refusal, str) else "")


def is_seen(text: str) -> bool:
    """Whether a reader sees anything of a text: blanks and characters without width are not seen."""
    return _SEEN.search(text) is not None


class ToolCalls:
    """The calls of tools in an answer, put together from its messages or deltas."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[list[str], list[str], list[str]]] = {}
        """Ids, names and arguments by place."""

    def add(self, message: Mapping[str, Any]) -> None:
        """Take the calls, or the parts of calls, of a message or delta."""
        listed = message.get("tool_calls")
        for call in listed if isinstance(listed, list) else []:
            if isinstance(call, Mapping):
                self._take(call.get("index"), call.get("function"), call.get("id"))
        self._take(0, message.get("function_call"))

    def _take(self, index: Any, function: Any, identity: Any = None) -> None:
        """A part without an index belongs to a new call where it has a name, else to the last; one with another id
        than the call at its index (some gateways give each the index 0) to a new one."""
        if not isinstance(function, Mapping):
            return
        name, arguments = function.get("name"), function.get("arguments")
        if not isinstance(index, int):
            index = max(self._parts, default=-1) + (1 if name or not self._parts else 0)
        if isinstance(identity, str) and identity:
            if any(known != identity for known in self._parts.get(index, ([],))[0]):
                index = max(self._parts) + 1
            self._parts.setdefault(index, ([identity], [], []))
        _, names, parts = self._parts.setdefault(index, ([], [], []))
        names += [name] if isinstance(name, str) else []
        parts += [arguments] if isinstance(arguments, str) else [json.dumps(arguments)] if arguments is not None else []

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Name and arguments of each, in their order."""
        for call in self._whole():
            yield call.name, call.arguments

    def called(self, text: str, end: str | None) -> Called | None:
        """The answer that they are of, with the text beside them; `None` without a call that can be answered, and where
        the answer's limit (its `end`) may have cut one."""
        calls = [call for call in self._whole() if call.name and end != "length"]
        functions = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
        said = {"role": "assistant", "content": text or None, "tool_calls": functions}
        return called_by(calls, [said]) if calls else None

    def _whole(self) -> Iterator[ToolCall]:
        for _, (ids, names, parts) in sorted(self._parts.items()):
            yield ToolCall("".join(ids), next(filter(None, names), ""), "".join(parts))


def has_text(message: Mapping[str, Any]) -> bool:
    """Whether there is anything of the answer itself in a message: text, a refusal, a call of a tool."""
    return bool(visible_text(message.get("content"))) or _has_any(message, _VISIBLE)


def shows(message: Mapping[str, Any]) -> bool:
    """Whether a reader or a program sees anything of a message: a character of its text, a call of a tool."""
    return is_seen(said_text(message)) or any(message.get(field) for field in _SHOWN)


def reasons(message: Mapping[str, Any]) -> bool:
    """Whether there is thinking in a message, in a field of its own or as a part of its content."""
    content = message.get("content")
    return _has_any(message, _REASONING) or (isinstance(content, list) and any(_is_thinking(part) for part in content))


def _has_any(message: Mapping[str, Any], fields: frozenset[str]) -> bool:
    """Whether one of the fields is there, with anything in it; most messages have none of them."""
    return not fields.isdisjoint(message) and any(message.get(field) for field in fields)


def _part_text(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) else part
    return text if isinstance(text, str) else ""


def _is_thinking(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _THINKING_PARTS
