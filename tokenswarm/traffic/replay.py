"""Recorded requests, read one at a time as they are to be sent, and changed only where the run says so."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from tokenswarm.recordings.bodies import asks_of
from tokenswarm.recordings.graph import AgentStep, read_steps
from tokenswarm.recordings.json_text import (
    SCAN,
    Member,
    ObjectText,
    Piece,
    edited,
    edited_pieces,
    read_object,
    read_objects,
)
from tokenswarm.recordings.lines import Form, conversation_of, turns_of
from tokenswarm.recordings.scan import Index
from tokenswarm.recordings.sessions import Sessions
from tokenswarm.traffic.recorded import RecordedRequest, Said, like
from tokenswarm.traffic.seen_prefixes import SAID, SeenPrefixes
from tokenswarm.workload.questions import Message, Question

LIMIT_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Recording:
    """Which part of a file is replayed: `count` requests from `first` on, or sessions where there are `sessions`.
    `window_s`: where the part begins, s from the first request; `None` for the whole file."""

    index: Index
    first: int
    count: int
    window_s: float | None = None
    sessions: Sessions | None = None

    def offsets_s(self, speed: float) -> array[float]:
        """When each request, or session, is due, s from the start of the load, `speed` times as fast as recorded."""
        numbers, instants_s = range(self.first, self.first + self.count), self.index.instants_s
        found_s = map(instants_s.__getitem__ if self.sessions is None else self.sessions.instant_s, numbers)
        recorded_s = array("d", found_s)
        begin_s = recorded_s[0] if self.window_s is None else instants_s[0] + self.window_s
        return array("d", ((instant_s - begin_s) / speed for instant_s in recorded_s))

    def facts(self) -> dict[str, Any]:
        """The `requests` part of run.json: `count` is of requests or sessions, from the `first` on."""
        index = self.index
        return {"file": index.path.name, "count": self.count, "first": self.first + 1, "skipped": index.skipped}

    @property
    def warning(self) -> str | None:
        """Where sessions were asked for, and each request of the file is one by itself."""
        index = self.index
        if self.sessions is None or index.form is not Form.REQUEST or not 1 < len(index) == index.session_count:
            return None
        return (
            f"{index.path.name}: each request is a session by itself, as no two have the same session_id beside their "
            "body; fields within a body are not looked at"
        )

    def places(self, number: int) -> Sequence[int]:
        """Where in the file the requests of the run's arrival `number`, from 0, stand; after the last arrival comes the
        first again."""
        place = self.first + number % self.count
        return (place,) if self.sessions is None else self.sessions.places(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a run says on purpose. `stream`, `stream_usage`: `None` for as recorded; `fields`: further body fields."""

    model: str
    stream: bool | None = None
    stream_usage: bool | None = None
    max_tokens: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def of(self, body: ObjectText, asks: str) -> dict[str, str | None]:
        """The members of a body to put in, as JSON, or to take out."""
        changes: dict[str, str | None] = {"model": _json(self.model)} if self.model else {}
        changes |= {name: _json(value) for name, value in self.fields.items()}
        if asks != "embeddings":
            changes |= self._stream_of(body, asks)
            changes |= self._limit_of(body, asks)
        return changes

    def _stream_of(self, body: ObjectText, asks: str) -> dict[str, str | None]:
        changes: dict[str, str | None] = {}
        streams = body.value("stream") is True if self.stream is None else self.stream
        if self.stream is not None:
            changes["stream"] = _json(self.stream)
        if asks not in ("chat", "completions"):
            return changes
        options = body.value("stream_options")
        if not streams:
            return changes | ({"stream_options": None} if self.stream is False else {})
        if self.stream_usage:
            changes["stream_options"] = _json({**(options if isinstance(options, dict) else {}), "include_usage": True})
        elif self.stream_usage is False:
            changes["stream_options"] = None
        return changes

    def _limit_of(self, body: ObjectText, asks: str) -> dict[str, str | None]:
        if self.max_tokens is None:
            return {}
        recorded = next((name for name in LIMIT_FIELDS if body.find(name)), None)
        return {recorded or ("max_output_tokens" if asks == "responses" else "max_tokens"): str(self.max_tokens)}


@dataclass(frozen=True, slots=True)
class Sent:
    """How a recorded request is sent. `answers`: the texts that came to earlier ones of its session, each beside what
    that one had said; `None` where the recorded answers stay; `seen`: what earlier prompts of the run began with."""

    name: str
    abort_after_s: float | None = None
    answers: Sequence[tuple[Said, str]] | None = None
    seen: SeenPrefixes | None = None


class Replay:
    """One process's way through a recording, whose file it keeps open: arrival i of the run always gets the same
    request, whatever the number of workers; in closed load the process takes every `worker_count`-th."""

    def __init__(self, recording: Recording, worker_position: int = 0, worker_count: int = 1) -> None:
        """Raises `OSError`."""
        self._recording = recording
        self._file = os.open(recording.index.path, os.O_RDONLY | os.O_CLOEXEC)
        self._number = worker_position
        self._worker_count = worker_count

    def close(self) -> None:
        os.close(self._file)

    def next_number(self) -> int:
        """Of this process's next request in closed load."""
        number = self._number
        self._number += self._worker_count
        return number

    def places(self, number: int) -> Sequence[int]:
        """Where the requests of arrival `number` stand."""
        return self._recording.places(number)

    def question(self, number: int) -> Question:
        """The conversation of arrival `number`; its id is its number in the file, from 1."""
        (place,) = self.places(number)
        turns = [Message(role, text) for role, text in turns_of(conversation_of(json.loads(self._read(place))))]
        system = next((turn.content for turn in turns[:1] if turn.role == "system"), None)
        said = tuple(turn.content for turn in turns if turn.role == "user" and turn.content.strip())
        return Question(str(place + 1), said[0], place + 1, said, system, messages=tuple(turns))

    def request(self, place: int, changes: Changes, sent: Sent) -> RecordedRequest:
        """The request at a place of the file as it is sent now; its id is its number in the file, from 1."""
        return made_request(body_of(self._read(place), self._recording.index.asks), changes, sent, str(place + 1))

    def graph(self, number: int) -> RecordedGraph:
        """The steps of arrival `number`."""
        (place,) = self.places(number)
        text, asks = self._read(place), self._recording.index.asks
        member = read_object(text).find("steps")
        assert member is not None
        entries = read_objects(text, member.begin, within="body")
        bodies = [(_asks_of(entry, asks), text, entry.value("body")) for entry in entries]
        return RecordedGraph(str(place + 1), read_steps(member.value, asks), bodies)

    def bodies(self) -> Iterator[list[tuple[dict[str, Any], str]]]:
        """Every body of the part that is replayed, in the order of the file, and which API it goes to: those of a line
        together."""
        form, asks = self._recording.index.form, self._recording.index.asks
        for number in range(self._recording.count):
            if form is Form.CONVERSATION:
                yield [({"messages": messages}, "chat") for messages in _turns(self.question(number))]
                continue
            if form is Form.GRAPH:
                found = self.graph(number).bodies
            else:
                found = [body_of(self._read(place), asks) for place in self.places(number)]
            yield [({each.key: each.value for each in body.members}, asked) for asked, _, body in found]

    def _read(self, place: int) -> str:
        index = self._recording.index
        return os.pread(self._file, index.lengths[place], index.offsets[place]).decode("utf-8")


Body = tuple[str, str, ObjectText]
"""Which API it goes to, a text, and where in that it stands."""


@dataclass(frozen=True, slots=True)
class RecordedGraph:
    """A session of steps; `number`: its own in the file, from 1."""

    number: str
    steps: list[AgentStep]
    bodies: list[Body]

    def request(self, position: int, changes: Changes, sent: Sent) -> RecordedRequest:
        """The request of a step."""
        return made_request(self.bodies[position], changes, sent, f"{self.number}.{position + 1}")


def _turns(question: Question) -> Iterator[list[dict[str, str]]]:
    """What is sent up to each turn of a conversation, with the recorded answers: what the system says at its
    beginning, what a human says, and the first answer to that."""
    said: list[dict[str, str]] = []
    for place, message in enumerate(question.messages or ()):
        is_turn = message.role == "user" and bool(message.content.strip())
        is_answer = message.role == "assistant" and said[-1:] and said[-1]["role"] == "user"
        if is_turn or is_answer or (message.role == "system" and place == 0):
            said.append({"role": message.role, "content": message.content})
        if is_turn:
            yield list(said)


def made_request(body: Body, changes: Changes, sent: Sent, number: str) -> RecordedRequest:
    """A recorded body as it is sent."""
    asks, text, found = body
    made = changes.of(found, asks)
    # As it is sent, for what of it decides how the answer is read.
    members = {each.key: each.value for each in found.members}
    members |= {key: SCAN(new, 0)[0] for key, new in made.items() if new is not None}
    messages = found.value("messages")
    said = _said(messages) if sent.answers is not None and isinstance(messages, list) else []
    goes_on = {
        before.messages: answer for before, answer in sent.answers or () if before in said[: before.messages][-1:]
    }
    if goes_on:
        made["messages"] = answered(text, found.last["messages"], goes_on)
    content, seen_share = _content(text, found, made, sent.seen)
    return RecordedRequest(
        asks=asks,
        content=content,
        like=like(asks, members, sent.name, keep_text=sent.answers is not None),
        said=said[-1] if said else None,
        seen_share=seen_share,
        name=sent.name,
        question_id=number,
        abort_after_s=sent.abort_after_s,
    )


def _said(messages: Sequence[Any]) -> list[Said]:
    """Of the first message, the first two, and so on."""
    digests = accumulate(messages, lambda before, message: hash((before, repr(message))), initial=0)
    return [Said(count, digest) for count, digest in enumerate(digests)][1:]


def _content(
    text: str, found: ObjectText, made: Mapping[str, str | None], seen: SeenPrefixes | None
) -> tuple[bytes, float | None]:
    """The bytes of a body, and how much of what it says has been seen."""
    encoded = memoryview(text.encode("utf-8")) if text.isascii() else None
    if seen is None:
        return b"".join([_encoded(piece, text, encoded) for piece in edited_pieces(found, made)]), None
    said = {name: (at.begin, at.end) for name in SAID if (at := found.last.get(name)) and name not in made}
    # A member that stands there twice is left as it is.
    apart = said if len(found.last) == len(found.members) else {}
    pieces = edited_pieces(found, {**apart, **made})
    parts = {id(piece): _encoded(piece, text, encoded) for piece in pieces}
    texts = [each for name in SAID if (each := said.get(name) or made.get(name))]
    share = seen.share([parts.get(id(each)) or _encoded(each, text, encoded) for each in texts])
    return b"".join([parts[id(piece)] for piece in pieces]), share


def _encoded(piece: Piece, text: str, encoded: memoryview | None) -> bytes | memoryview:
    """A piece of a text; `encoded`: all of that where its characters are one byte each."""
    if isinstance(piece, str):
        return piece.encode("utf-8")
    begin, end = piece
    return text[begin:end].encode("utf-8") if encoded is None else encoded[begin:end]


class Conversations:
    """The conversations of a recording as questions: arrival i of the run always gets the same one."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def next(self) -> Question:
        """This process's next one."""
        return self._replay.question(self._replay.next_number())

    def at(self, index: int) -> Question:
        """That of the run's arrival `index`, from 0."""
        return self._replay.question(index)


def answered(text: str, messages: Member, answers: Mapping[int, str]) -> str:
    """The text of messages in which recorded answers are replaced by those that came now, by their place among the
    messages. One that calls tools stays: what the tools said, and to which call, is recorded after it. So does one in
    whose place nothing that can be read came, as a call of a tool: services refuse empty messages. All else stays as it
    is, so that it begins as what was sent before."""
    said = read_objects(text, messages.begin, within="")
    pieces, at = [], messages.begin
    for place, answer in sorted(answers.items()):
        each = said[place] if place < len(said) else None
        if each and answer.strip() and each.value("role") == "assistant" and not each.value("tool_calls"):
            pieces += [text[at : each.begin], edited(text, each, {"content": _json(answer)})]
            at = each.end
    return "".join([*pieces, text[at : messages.end]])


def body_of(text: str, asks: str) -> Body:
    """The body of a line. Raises `ValueError`."""
    line = read_object(text, within="body")
    body = line.value("body")
    if not isinstance(body, ObjectText):
        return asks, *_without(text, line, "timestamp")
    return _asks_of(line, asks), text, body


def _asks_of(entry: ObjectText, asks: str) -> str:
    url = entry.value("url")
    return (asks_of(url) or asks) if isinstance(url, str) else asks


def _without(text: str, found: ObjectText, key: str) -> tuple[str, ObjectText]:
    if found.find(key) is None:
        return text, found
    cut = edited(text, found, {key: None})
    return cut, read_object(cut)


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
