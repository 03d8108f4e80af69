"""The body of a question as a JSON template: placeholders in its texts stand for what each request says. Pure.

A text that is nothing but a placeholder becomes its value, whatever that is: a number, a list of messages. One that has
no value (no conversation yet, no limit) takes its field with it, as most services know "left out" and not all `null`.
Within a longer text it is written out, and is empty without a value.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from tokenswarm.apis.request import ChatRequest
from tokenswarm.userinput import BadInput, parse_json

_PLACEHOLDER = re.compile(r"\{\{\s*(\w*)\s*\}\}")
_ASKS = frozenset({"question", "messages", "messages_with_ids", "ui_messages"})


def question_of(messages: list[dict[str, Any]]) -> str:
    """The text of the last message; of one in parts, its texts."""
    content = messages[-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if isinstance(part, dict))


def _turns(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Earlier questions and answers as Prompt Flow takes a `chat_history`."""
    said = [message for message in messages[:-1] if message["role"] != "system"]
    pairs = zip(said[::2], said[1::2], strict=False)
    return [{"inputs": {"question": asked["content"]}, "outputs": {"answer": told["content"]}} for asked, told in pairs]


def _numbered(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": f"message-{number}", **message} for number, message in enumerate(messages, 1)]


def _in_parts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    numbered = enumerate(messages, 1)
    return [
        {"id": f"message-{number}", "role": each["role"], "parts": [{"type": "text", "text": each["content"]}]}
        for number, each in numbered
    ]


PLACEHOLDERS: Mapping[str, tuple[str, Callable[[ChatRequest], Any]]] = {
    "question": ("the last thing the user says", lambda asked: question_of(asked.messages)),
    "messages": ("all that was said, as role and content", lambda asked: asked.messages),
    "messages_with_ids": ("the same with an id for each message", lambda asked: _numbered(asked.messages)),
    "ui_messages": ("the same with ids and parts, as Vercel's AI SDK has it", lambda asked: _in_parts(asked.messages)),
    "history": ("all that was said before, as role and content", lambda asked: asked.messages[:-1]),
    "turns": ("earlier turns, as Prompt Flow takes a chat_history", lambda asked: _turns(asked.messages)),
    "conversation_id": ("what app-conversation found in the answer before; left out in the first turn",
                        lambda asked: asked.service_conversation),
    "session_id": ("an id made up here, the same in all turns of a conversation",
                   lambda asked: asked.session_id or str(uuid.uuid4())),
    "request_id": ("an id made up here, another in each request", lambda asked: str(uuid.uuid4())),
    "model": ("the option deployment", lambda asked: None),
    "max_tokens": ("the option max-tokens, drawn; left out without it", lambda asked: asked.max_tokens),
}  # fmt: skip
"""What each placeholder stands for, in words and in a request. Of `model` the application knows."""


class Template:
    """A parsed template. `names`: the placeholders in it."""

    def __init__(self, text: str, model: str = "") -> None:
        """Raises `BadInput` when it is no JSON object or array, has unknown placeholders or asks nothing."""
        try:
            self._value = parse_json(text)
        except (ValueError, RecursionError) as error:
            raise BadInput([f"app-body: expected a JSON template, got {text!r:.200} ({error})"]) from None
        if not isinstance(self._value, dict | list):
            raise BadInput([f"app-body: expected a JSON object or array, got {text!r:.200}"])
        found = [name for each in _texts(self._value) for name in _PLACEHOLDER.findall(each)]
        self.names = frozenset(found)
        self._model = model or None
        problems = [
            f"app-body: expected one of {', '.join(PLACEHOLDERS)} in braces, got {{{{{name}}}}}"
            for name in dict.fromkeys(found)
            if name not in PLACEHOLDERS
        ]
        if not self.names & _ASKS:
            problems.append("app-body: expected {{question}} or {{messages}} in it, got neither")
        if problems:
            raise BadInput(problems)

    def fill(self, request: ChatRequest) -> Any:
        """The body of a request."""
        values = {name: PLACEHOLDERS[name][1](request) for name in self.names}
        if "model" in values:
            values["model"] = self._model
        return _filled(self._value, values)


def _texts(value: Any) -> list[str]:
    """All texts in a JSON value that are not names of fields."""
    if isinstance(value, str):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for child in children for text in _texts(child)]


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        whole = _PLACEHOLDER.fullmatch(value)
        return values[whole[1]] if whole else _PLACEHOLDER.sub(lambda found: _written(values[found[1]]), value)
    if isinstance(value, dict):
        pairs = ((name, each, _filled(each, values)) for name, each in value.items())
        return {name: new for name, each, new in pairs if new is not None or each is None}
    if isinstance(value, list):
        news = ((each, _filled(each, values)) for each in value)
        return [new for each, new in news if new is not None or each is None]
    return value


def _written(value: Any) -> str:
    return "" if value is None else str(value)
