"""One answer of an application as text, piece by piece: each read is a chunk. No I/O, no clock.

There are no events to look into. What may be told in the text are its conversation's id, as the first word, an error in
its midst (status 200 has long been sent then), and a mark at its end: regular expressions say how they look.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping

from tokenswarm.apis.api import Found
from tokenswarm.apis.chunk_times import CHARACTERS, ChunkTimes
from tokenswarm.apis.gpt_rag import stages_of
from tokenswarm.apps.held import MAX_TEXT
from tokenswarm.apps.mapping import HEADER, AppMapping
from tokenswarm.payload.errors import not_text, told
from tokenswarm.record import Doubt, Outcome
from tokenswarm.userinput import BadInput

MAX_TEXT_BYTES = 4 * 1024 * 1024
_LONGEST_ID = 128
_FIRST_WORD = re.compile(r"\s*\S*\Z")


class TextTooLarge(ValueError):
    """An answer that grew past `MAX_TEXT_BYTES`."""


class TextPatterns:
    """How id, error and end look in the text. Those that are `None` are not looked for."""

    def __init__(self, mapping: AppMapping) -> None:
        """Raises `BadInput` with every regular expression that is none."""
        problems: list[str] = []

        def parse(field: str, text: str) -> re.Pattern[str] | None:
            try:
                return re.compile(text, re.MULTILINE) if text else None
            except re.error as error:
                problems.append(f"app-{field}: expected a regular expression, got {text!r} ({error})")
                return None

        header = mapping.conversation.startswith(HEADER)
        self.header = mapping.conversation.removeprefix(HEADER).strip().lower() if header else None
        self.conversation = None if header else parse("conversation", mapping.conversation)
        self.error = parse("error", mapping.error)
        self.end = parse("end", mapping.end)
        if problems:
            raise BadInput(problems)


class AppText:
    """One answer while it arrives. Its first word is held back where it may be an id, with the time when it came."""

    __slots__ = (
        "_content_type",
        "_decoder",
        "_patterns",
        "_pieces",
        "_size",
        "_stages",
        "_waiting",
        "_waiting_ms",
        "conversation_id",
        "times",
    )

    def __init__(self, patterns: TextPatterns, headers: Mapping[str, str]) -> None:
        self._patterns = patterns
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pieces: list[str] = []
        self._size = 0
        self._waiting: str | None = "" if patterns.conversation is not None else None
        self._waiting_ms = 0.0
        self._stages = stages_of(headers)
        self._content_type = headers.get("content-type", "")
        self.times = ChunkTimes()
        self.conversation_id = (headers.get(patterns.header) or None) if patterns.header else None

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Take bytes that arrived not later than `at_ms` and not before `since_ms`. Raises `TextTooLarge`."""
        self._size += len(data)
        if self._size > MAX_TEXT_BYTES:
            raise TextTooLarge(f"an answer of more than {MAX_TEXT_BYTES} bytes")
        text = self._decoder.decode(data)
        if self._waiting is not None and text:
            text = self._take_id(self._waiting + text, at_ms, since_ms)
        if text:
            self._pieces.append(text)
            self.times.add(1, at_ms, since_ms)
        return False

    def _take_id(self, text: str, at_ms: float, since_ms: float) -> str:
        """What follows the id, or what was held back and is none; empty while the first word goes on."""
        if not self._waiting:
            self._waiting_ms = at_ms
        if _FIRST_WORD.match(text) and len(text) <= _LONGEST_ID:
            self._waiting = text
            return ""
        held, self._waiting = self._waiting, None
        found = self._patterns.conversation.match(text) if self._patterns.conversation is not None else None
        if found is not None:
            self.conversation_id = found[1] if found.re.groups else found[0].strip()
            return text[found.end() :]
        if held:
            self._pieces.append(held)
            self.times.add(1, self._waiting_ms, since_ms if since_ms < self._waiting_ms else self._waiting_ms)
            return text[len(held) :]
        return text

    def finish(self) -> Found:
        """What the answer came to."""
        if self._waiting:
            waiting, self._waiting = self._waiting, None
            found = self._patterns.conversation.match(waiting) if self._patterns.conversation is not None else None
            if found is None:
                self._pieces.append(waiting)
                self.times.add(1, self._waiting_ms, self._waiting_ms)
        text = "".join(self._pieces)
        outcome, error = self._outcome(text)
        if self._patterns.error is not None and (found := self._patterns.error.search(text)):
            self._forget_from(found.start())
        columns = self.times.columns()
        columns |= {"ttft_visible_ms": columns.get("ttft_ms"), "stages": self._stages}
        if self.conversation_id is not None:
            columns["conversation_id"] = self.conversation_id
        if outcome is Outcome.OK and self.times.buffered(len(text) // CHARACTERS):
            columns["doubts"] = Doubt.BUFFERED
        return Found(outcome, error, text, columns)

    def _forget_from(self, begin: int) -> None:
        """An error is no part of the answer: pieces that hold nothing else are no chunks of it."""
        kept, length = 0, 0
        for piece in self._pieces:
            if length + len(piece) - len(piece.lstrip()) >= begin:
                break
            kept, length = kept + 1, length + len(piece)
        del self.times.at_ms[kept:]

    def _outcome(self, text: str) -> tuple[Outcome, str | None]:
        patterns = self._patterns
        if patterns.error is not None and (found := patterns.error.search(text)):
            said = told((found[1] if found.re.groups else found[0]).strip() or "error without message")
            return said.outcome, said.text
        if (wrong := not_text(text, self._content_type)) is not None:
            return wrong.outcome, wrong.text
        if patterns.end is not None and not patterns.end.search(text):
            return (
                Outcome.TRUNCATED,
                f"ended without app-end {patterns.end.pattern!r}: it ended with {text[-MAX_TEXT:]!r}",
            )
        return Outcome.OK, None
