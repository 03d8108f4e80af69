"""The values of one line of a dataset, each checked: what is wrong with one is told to `add`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenswarm.userinput import is_encodable
from tokenswarm.workload.expectation import Expectation, parse_expectation
from tokenswarm.workload.questions import Message

ROLES = ("system", "developer", "user", "assistant")
MAX_TOKENS_LIMIT = 1_000_000
"""Largest `max_tokens` that is taken seriously; no model answers with more."""

RECORDED = "requests = FILE sends such requests as they are, in place of dataset = FILE"
_CONTROL = {*map(chr, range(32)), "\x7f"}


def read_text(value: Any, what: str, add: Callable[[str], None]) -> str:
    """Text that is not blank and can be sent; an empty one with its problem told."""
    if not isinstance(value, str):
        add(f"{what}: expected text, got {kind(value)}")
        return ""
    if not value.strip():
        add(f"{what}: expected text, got a blank")
    elif not is_encodable(value):
        add(f"{what}: expected text, got half of a surrogate pair")
    elif "\0" in value:
        add(f"{what}: expected text, got a NUL character")
    return value


def read_turns(value: Any, add: Callable[[str], None]) -> list[str]:
    """The user's texts of a conversation, at least one."""
    if not isinstance(value, list) or not value:
        add(f"turns: expected a list of texts, got {kind(value)}")
        return [""]
    return [read_text(turn, f"turn {number}", add) for number, turn in enumerate(value, start=1)]


def read_messages(value: Any, add: Callable[[str], None]) -> list[Message]:
    """The messages of a conversation, at least one of the user."""
    if not isinstance(value, list) or not value:
        add(f"messages: expected a list of messages, got {kind(value)}")
        return [Message("user", "")]
    messages = []
    for number, item in enumerate(value, start=1):
        if not isinstance(item, dict) or set(item) != {"role", "content"}:
            got = ", ".join(item) if isinstance(item, dict) else kind(item)
            add(f"message {number}: expected role and content, got {got or 'nothing':.60}")
        elif item["role"] not in ROLES:
            add(f"message {number}: role: expected one of {', '.join(ROLES)}, got {shown(item['role'])}")
        else:
            if isinstance(item["content"], list):
                add(f"message {number}: expected text, got a list of content parts: {RECORDED}")
                messages.append(Message(item["role"], ""))
                continue
            messages.append(Message(item["role"], read_text(item["content"], f"message {number}", add)))
    if not any(message.role == "user" for message in messages):
        add("messages: expected at least one of the user, got none")
        return [Message("user", "")]
    return messages


def system_of(messages: list[Message], system: str | None, add: Callable[[str], None]) -> str | None:
    """The system prompt of a conversation: its first message, where that is one."""
    if messages[0].role not in ("system", "developer"):
        return system
    if system is not None:
        add("system: expected it once, got it as a key and as the first message")
    return messages[0].content


def read_id(value: Any, add: Callable[[str], None]) -> str:
    """The id of a question; empty when it has none."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    if not isinstance(value, str):
        add(f"id: expected text or a whole number, got {kind(value)}")
        return ""
    identity = value.strip()
    if not identity or len(identity) > 200 or _CONTROL & set(identity) or not is_encodable(identity):
        add(f"id: expected 1 to 200 characters without control characters, got {identity!r:.40}")
    return identity


def read_max_tokens(value: Any, add: Callable[[str], None]) -> int | None:
    """The most tokens of an answer; `None` when nothing is said of it."""
    if value is None:
        return None
    number: Any = value
    if isinstance(value, str):
        digits = value.strip()
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_TOKENS_LIMIT:
        add(f"max_tokens: expected a whole number from 1 to {MAX_TOKENS_LIMIT}, got {shown(value)}")
        return None
    return number


def read_expectation(value: Any, add: Callable[[str], None]) -> Expectation | None:
    """What the answer is held against; `None` when nothing is expected."""
    try:
        return None if value is None else parse_expectation(value)
    except ValueError as error:
        add(f"expect: {error}")
        return None


def shown(value: Any) -> str:
    """A value for a message: short ones as they are, the others by what they are."""
    return f"{value!r:.40}" if isinstance(value, (str, int, float)) else kind(value)


def kind(value: Any) -> str:
    """What a JSON value is, in words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object"
