"""An application as an API: its questions from a template, its answers by the expressions of a mapping. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from tokenswarm.apis.api import Encoded, Reader
from tokenswarm.apis.request import ChatRequest, encode_json
from tokenswarm.apis.sse import EventDecoder
from tokenswarm.apps.events import AppEvents
from tokenswarm.apps.expressions import Expression
from tokenswarm.apps.mapping import HEADER, AppMapping, Get
from tokenswarm.apps.paths import Paths
from tokenswarm.apps.records import LINE_END, MESSAGE_END, RecordDecoder
from tokenswarm.apps.template import Template
from tokenswarm.apps.text import AppText, TextPatterns
from tokenswarm.apps.whole import AppBody
from tokenswarm.userinput import BadInput

_ACCEPT = {
    "sse": "text/event-stream",
    "jsonl": "application/x-ndjson, application/jsonl, */*",
    "text": "text/plain, */*",
    "json": "application/json",
}
"""What a request says that it takes, by `app-stream`: some applications stream only when asked so."""

_TELL_CONVERSATION = frozenset(
    {"conversation_id", "session_id", "messages", "messages_with_ids", "ui_messages", "history", "turns"}
)
"""Placeholders of a message that says itself to which conversation it belongs. Where none is, the WebSocket is the
conversation, and a new one begins on a new connection."""


@dataclass(slots=True)
class App:
    """How an application is asked, as `mapping` says; one for all users. `model`: what `{{model}}` stands for."""

    mapping: AppMapping
    model: str = ""
    _template: Template = field(init=False, compare=False)
    _reads: Paths | TextPatterns = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Raises `BadInput` with every problem of the template and the expressions."""
        problems: list[str] = []
        try:
            self._template = Template(self.mapping.body, self.model)
        except BadInput as error:
            problems += error.problems
        try:
            self._reads = TextPatterns(self.mapping) if self.mapping.stream == "text" else Paths(self.mapping)
        except BadInput as error:
            problems += error.problems
        if problems:
            raise BadInput(problems)

    @property
    def headers(self) -> dict[str, str]:
        """What each question carries, unless the option `headers` says otherwise."""
        if self.mapping.stream == "websocket":
            return {}
        return {"Content-Type": "application/json", "Accept": _ACCEPT[self.mapping.stream]}

    @property
    def placeholders(self) -> frozenset[str]:
        """The names in the template."""
        return self._template.names

    def encode(self, request: ChatRequest) -> Encoded:
        body = self._template.fill(request)
        data = encode_json({**body, **request.body} if isinstance(body, dict) else body)
        if self.mapping.stream != "websocket":
            return Encoded(data)
        begins = request.turn is None or request.turn == 1
        return Encoded(data, is_message=True, is_new=begins and not self.placeholders & _TELL_CONVERSATION)

    def reader(self, request: ChatRequest, status: int, headers: Mapping[str, str]) -> Reader:
        reads = self._reads
        if isinstance(reads, TextPatterns):
            return AppText(reads, headers)
        stream = self.mapping.stream
        if stream == "json":
            return AppBody(reads, headers)
        if stream == "sse":
            return AppEvents(reads, EventDecoder(), request, headers)
        return AppEvents(reads, RecordDecoder(LINE_END if stream == "jsonl" else MESSAGE_END), request, headers)


def problems_of_each(get: Get) -> list[str]:
    """What is wrong with options by themselves, where they make no mapping together."""
    of_text = get("app-stream") == "text"
    checks: list[tuple[str, Callable[[str], object]]] = [("app-body", Template)]
    for name in (
        () if of_text else ("app-text", "app-conversation", "app-error", "app-end", "app-progress", "app-usage")
    ):
        checks.append((name, partial(Expression, option=name)))
    problems: list[str] = []
    for name, check in checks:
        text = get(name)
        if text is not None and not text.startswith(HEADER):
            try:
                check(text)
            except BadInput as error:
                problems += error.problems
    return problems
