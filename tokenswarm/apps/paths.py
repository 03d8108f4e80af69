"""The parsed expressions of an application's mapping, made once for all users. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenswarm.apps.expressions import Expression
from tokenswarm.apps.mapping import DEFAULT_ERROR, HEADER, AppMapping
from tokenswarm.userinput import BadInput

WHOLE = "@"
"""The expression for the event itself, which need not be JSON then."""


class Paths:
    """Where things are in an event. Those that are `None` are not looked for."""

    def __init__(self, mapping: AppMapping) -> None:
        """Raises `BadInput` with every expression that is none."""
        problems: list[str] = []

        def parse(field: str, text: str) -> Expression | None:
            try:
                return Expression(text, f"app-{field}") if text else None
            except BadInput as error:
                problems.extend(error.problems)
                return None

        header = mapping.conversation.startswith(HEADER)
        self._header = mapping.conversation.removeprefix(HEADER).strip().lower() if header else None
        found_text = parse("text", mapping.text)
        found_error = parse("error", mapping.error or DEFAULT_ERROR)
        self.conversation = None if header else parse("conversation", mapping.conversation)
        self.end = parse("end", mapping.end)
        self.progress = parse("progress", mapping.progress)
        self.usage = parse("usage", mapping.usage)
        if problems:
            raise BadInput(problems)
        assert found_text is not None and found_error is not None
        self.text, self.error = found_text, found_error
        self.takes_text = mapping.text.strip() == WHOLE
        self.text_keys = self._keys()
        found = (self.text, self.error, self.conversation, self.end, self.progress, self.usage)
        self.words = frozenset(word.encode() for each in found if each is not None for word in each.words)
        """All names in the expressions."""

    def _keys(self) -> frozenset[bytes]:
        """Names of fields whose value only `text` looks at, and only to give it: an event in which nothing else is
        new means what the one before meant."""
        others = [self.error, self.conversation, self.end, self.progress, self.usage]
        known = [each for each in others if each is not None]
        if not all(each.is_compiled for each in (self.text, *known)):
            return frozenset()
        words = self.text.words
        elsewhere = {word for each in known for word in each.words}
        return frozenset(word.encode() for word in words if words.count(word) == 1 and word not in elsewhere)

    def in_headers(self, headers: Mapping[str, str]) -> str | None:
        """The conversation's id, where a header has it."""
        return (headers.get(self._header) or None) if self._header is not None else None

    def id_in(self, event: Any) -> str | None:
        """The conversation's id, where an event has it."""
        found = self.conversation.evaluate(event) if self.conversation is not None else None
        return str(found) if isinstance(found, str | int) and not isinstance(found, bool) and found != "" else None
