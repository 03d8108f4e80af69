"""GPT-RAG orchestrator contracts on the wire: bytes in, answer, conversation id and errors out. No I/O, no clock.

v1 (`POST /api/orc`): one JSON body; failures hide under status 200. v2 and later (`POST /orchestrator`): raw text
pieces under the name of an event stream: first the conversation id and a space, flushed before any work is done,
then the answer; a failure in mid-stream is written into the text as `event: error`, still under status 200.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

import jiter

from tokenswarm.apis.chunk_times import ChunkTimes

MAX_TEXT_BYTES = 4 * 1024 * 1024

_ID_PIECE = re.compile(r"^\s*([0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})(\s)")
_ID_LENGTH = 37
_IN_BAND_ERROR = re.compile(r"event:\s*error\s*\r?\ndata:\s?(.*?)(?:\r?\n\r?\n|$)", re.DOTALL)
# v1 returns what its exception handler says as if it were an answer: a sentence of its own and this.
_ERROR_ANSWER = re.compile(r"RAG flow: exception:[^\n]*|^\s*(?:error|exception)\b[^\n]*", re.IGNORECASE)


class AnswerTooLarge(ValueError):
    """An answer that grew past `MAX_TEXT_BYTES`."""


class RagReply:
    """What a v1 body says."""

    __slots__ = ("answer", "conversation_id", "error", "problem")

    def __init__(self, answer: str, conversation_id: str | None, error: str | None, problem: str | None) -> None:
        self.answer = answer
        self.conversation_id = conversation_id
        self.error = error
        self.problem = problem


def parse_reply(body: bytes, answer_path: str = "answer", id_path: str = "conversation_id") -> RagReply:
    """Read a v1 body, or another orchestrator's JSON by dotted paths. `error`: the service failed under 200."""
    try:
        reply = jiter.from_json(body)
    except ValueError as error:
        return RagReply("", None, None, f"body is not JSON: {error}")
    if isinstance(reply, dict) and reply.get("error"):
        return RagReply("", None, str(reply["error"])[:500], None)
    answer = _follow(reply, answer_path)
    if not isinstance(answer, str) or not answer.strip():
        return RagReply("", None, None, f"body has no text at {answer_path!r}")
    conversation_id = _follow(reply, id_path)
    error_answer = _ERROR_ANSWER.search(answer)
    return RagReply(
        answer=answer,
        conversation_id=conversation_id if isinstance(conversation_id, str) and conversation_id else None,
        error=error_answer.group(0).strip()[:500] if error_answer else None,
        problem=None,
    )


class RagStream:
    """One v2 answer while it arrives: takes the id piece off, keeps the times of text, finds in-band errors."""

    __slots__ = ("_decoder", "_pieces", "_size", "_waiting", "conversation_id", "times", "undecodable")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._waiting: str | None = ""
        self._pieces: list[str] = []
        self._size = 0
        self.times = ChunkTimes()
        self.conversation_id: str | None = None
        self.undecodable: str | None = None

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> None:
        """Take bytes that arrived not later than `at_ms` and not before `since_ms`. Raises `AnswerTooLarge`."""
        self._size += len(data)
        if self._size > MAX_TEXT_BYTES:
            raise AnswerTooLarge(f"an answer of more than {MAX_TEXT_BYTES} bytes")
        try:
            text = self._decoder.decode(data)
        except UnicodeDecodeError as error:
            self.undecodable = self.undecodable or f"answer is not UTF-8: {error.reason}"
            self._decoder.reset()
            text = data.decode("utf-8", "replace")
        if self._waiting is not None:
            text = self._take_id(self._waiting + text)
        if text:
            self._pieces.append(text)
            self.times.add(1, at_ms, since_ms)

    def finish(self) -> None:
        """The body is complete: what was held back as a possible id piece is text."""
        if self._waiting:
            self._pieces.append(self._waiting)
        self._waiting = None

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def error(self) -> str | None:
        """Message of an in-band error, `None` when there is none."""
        found = _IN_BAND_ERROR.search(self.text)
        return (found.group(1).strip()[:500] or "error without message") if found else None

    def _take_id(self, text: str) -> str:
        """The text after the id piece; empty while it cannot be told yet whether there is one."""
        if found := _ID_PIECE.match(text):
            self.conversation_id = found.group(1)
            self._waiting = None
            return text[found.end() :]
        if len(text.lstrip()) < _ID_LENGTH and re.fullmatch(r"\s*[0-9a-fA-F-]*", text):
            self._waiting = text
            return ""
        self._waiting = None
        return text


def parse_server_timing(header: str) -> str | None:
    """`Server-Timing` as the record's `stages` text: `name=ms` pairs joined by ';'. `None` when nothing is in it.

    Source: https://www.w3.org/TR/server-timing/#the-server-timing-header-field (durations are ms).
    """
    stages = []
    for metric in header.split(","):
        name, *parameters = (part.strip() for part in metric.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "dur" and name and _is_number(value.strip('" ')):
                stages.append(f"{name}={float(value.strip(chr(34) + ' ')):g}")
    return ";".join(stages) or None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None


def _follow(value: Any, path: str) -> Any:
    for key in path.split("."):
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value
