"""GPT-RAG orchestrator contracts on the wire: bytes in, answer, conversation id and errors out. No I/O, no clock.

v1 (`POST /api/orc`): one JSON body; failures hide under status 200. v2 and later (`POST /orchestrator`): raw text
pieces under the name of an event stream: first the conversation id and a space, flushed before any work is done,
then the answer; a failure in mid-stream is written into the text as `event: error`, still under status 200.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from typing import Any

from tokenswarm.apis.api import Encoded, Found
from tokenswarm.apis.chunk_times import CHARACTERS, ChunkTimes
from tokenswarm.apis.request import RagRequest
from tokenswarm.apis.whole_body import WholeBody
from tokenswarm.payload.errors import MAX_ERROR_CHARACTERS, find_error, not_text, told, unreadable
from tokenswarm.payload.json_text import read_json
from tokenswarm.payload.message import is_seen
from tokenswarm.record import Doubt, Outcome

MAX_TEXT_BYTES = 4 * 1024 * 1024

_ID_PIECE = re.compile(r"^\s*([0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})(\s)")
_ID_LENGTH = 37
_ID_BEGUN = re.compile(r"\s*[0-9a-fA-F]{8}-[0-9a-fA-F-]*")
_IN_BAND_ERROR = re.compile(r"event:\s*error\s*\r?\ndata:\s?(.*?)(?:\r?\n\r?\n|$)", re.DOTALL)
# v1 returns what its exception handler says as if it were an answer: a sentence of its own and this.
_ERROR_ANSWER = re.compile(r"RAG flow: exception:[^\n]*|^\s*(?:error|exception)\b[^\n]*", re.IGNORECASE)


class AnswerTooLarge(ValueError):
    """An answer that grew past `MAX_TEXT_BYTES`."""


class GptRagV1:
    """`POST /api/orc`, or another orchestrator that answers with one JSON body. `body` adds or overrides fields of the
    question's; `answer_path`: dotted path of the text in the answer's."""

    def __init__(self, body: Mapping[str, Any] | None = None, answer_path: str = "answer") -> None:
        self._body = dict(body or {})
        self._answer_path = answer_path

    def encode(self, request: RagRequest) -> Encoded:
        return _question("question", request, self._body)

    def reader(self, request: RagRequest, status: int, headers: Mapping[str, str]) -> RagReply:
        return RagReply(self._answer_path, headers)


class GptRagV2:
    """`POST /orchestrator`, whose answer is a stream of text. `body` adds or overrides fields of the question's."""

    def __init__(self, body: Mapping[str, Any] | None = None) -> None:
        self._body = dict(body or {})

    def encode(self, request: RagRequest) -> Encoded:
        return _question("ask", request, self._body)

    def reader(self, request: RagRequest, status: int, headers: Mapping[str, str]) -> RagStream:
        return RagStream(headers)


def _question(field: str, request: RagRequest, more: Mapping[str, Any]) -> Encoded:
    body = {"conversation_id": request.conversation_id or "", field: request.question, **more}
    return Encoded(json.dumps(body).encode(), headers={"Content-Type": "application/json", "Accept": "*/*"})


class RagReply:
    """One v1 answer while it arrives."""

    __slots__ = ("_answer_path", "_body", "_headers")

    def __init__(self, answer_path: str, headers: Mapping[str, str]) -> None:
        self._answer_path = answer_path
        self._headers = headers
        self._body = WholeBody()

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Raises `BodyTooLarge`."""
        self._body.add(data)
        return False

    def finish(self) -> Found:
        found = read_reply(self._body.data, self._answer_path)
        found.columns["stages"] = stages_of(self._headers)
        return found


def read_reply(body: bytes, answer_path: str = "answer", id_path: str = "conversation_id") -> Found:
    """What a v1 body, or another orchestrator's JSON by dotted paths, came to: some fail under status 200."""
    try:
        reply = read_json(body)
    except ValueError as error:
        return Found(Outcome.BAD_PAYLOAD, unreadable(body, error))
    if isinstance(reply, dict) and reply.get("error"):
        error_found = told(reply["error"])
        return Found(error_found.outcome, error_found.text)
    answer = _follow(reply, answer_path)
    if not isinstance(answer, str) or not is_seen(answer):
        return Found(Outcome.BAD_PAYLOAD, f"body has no text at {answer_path!r}")
    columns = _conversation(_follow(reply, id_path))
    if error_answer := _ERROR_ANSWER.search(answer):
        found = told(error_answer.group(0).strip())
        return Found(found.outcome, found.text, answer, columns)
    return Found(text=answer, columns=columns)


def _conversation(conversation_id: Any) -> dict[str, Any]:
    """The service's id of the conversation, where it has given one."""
    return {"conversation_id": conversation_id} if isinstance(conversation_id, str) and conversation_id else {}


def stages_of(headers: Mapping[str, str]) -> str | None:
    """The stages that a Server-Timing header tells of, as a row has them."""
    return parse_server_timing(headers.get("server-timing", ""))


class RagStream:
    """One v2 answer while it arrives: takes the id piece off, keeps the times of text, finds in-band errors."""

    __slots__ = (
        "_decoder",
        "_headers",
        "_pieces",
        "_size",
        "_waiting",
        "_waiting_ms",
        "conversation_id",
        "times",
        "undecodable",
    )

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self._headers = headers or {}
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._waiting: str | None = ""
        self._waiting_ms = 0.0
        self._pieces: list[str] = []
        self._size = 0
        self.times = ChunkTimes()
        self.conversation_id: str | None = None
        self.undecodable: str | None = None

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
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
            self._waiting_ms = at_ms
        if text:
            self._pieces.append(text)
            self.times.add(1, at_ms, since_ms)
        return False

    def finish(self) -> Found:
        """What the answer came to. What was held back as a possible id piece is text."""
        cut_id = _ID_BEGUN.fullmatch(self._waiting or "") is not None
        if self._waiting:
            self._pieces.append(self._waiting)
            if not cut_id:
                self.times.add(1, self._waiting_ms, self._waiting_ms)
        self._waiting = None
        text = self.text
        outcome, error = (
            (Outcome.TRUNCATED, "answer ended inside the conversation's id") if cut_id else self._outcome(text)
        )
        # A stream that begins with its error has no token in it.
        failed_at_once = outcome is Outcome.STREAM_ERROR and text.lstrip().startswith("event:")
        columns = {} if failed_at_once else self.times.columns()
        columns |= {"ttft_visible_ms": columns.get("ttft_ms"), **_conversation(self.conversation_id)}
        if outcome is Outcome.OK and self.times.buffered(len(text) // CHARACTERS):
            columns["doubts"] = Doubt.BUFFERED
        return Found(outcome, error, text, columns | {"stages": stages_of(self._headers)})

    def _outcome(self, text: str) -> tuple[Outcome, str | None]:
        if (error := self.error) is not None:
            found = told(error)
            return found.outcome, found.text
        if self.undecodable is not None:
            return Outcome.BAD_PAYLOAD, self.undecodable
        wrong = not_text(text, self._headers.get("content-type", ""))
        return (Outcome.OK, None) if wrong is None else (wrong.outcome, wrong.text)

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def error(self) -> str | None:
        """Message of an in-band error, `None` when there is none."""
        text = self.text
        if found := _IN_BAND_ERROR.search(text):
            return _message(found.group(1).strip()) or "error without message"
        return _message(text) if text.lstrip().startswith("{") else None

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


def _message(text: str) -> str | None:
    """What an error says that is JSON or text; of an answer that is JSON without an error, nothing."""
    try:
        value = read_json(text.encode("utf-8", "replace"))
    except ValueError:
        return None if text.lstrip().startswith("{") else text[:MAX_ERROR_CHARACTERS]
    found = find_error(value) if isinstance(value, dict) else None
    return found.text if found is not None else None


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
