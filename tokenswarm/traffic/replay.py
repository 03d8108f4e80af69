"""Recorded requests, read one at a time as they are to be sent, and changed only where the run says so."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenswarm.traffic.index import Index
from tokenswarm.traffic.json_text import ObjectText, edited, read_object
from tokenswarm.traffic.recorded import RecordedRequest, asks_of, like

LIMIT_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Recording:
    """Which part of a file is replayed: `count` requests from `first` on. `window_s`: where the part begins, s from
    the first request; `None` for the whole file."""

    index: Index
    first: int
    count: int
    window_s: float | None = None

    def offsets_s(self, speed: float) -> array[float]:
        """When each request is due, s from the start of the load, `speed` times as fast as recorded."""
        instants_s = self.index.instants_s[self.first : self.first + self.count]
        begin_s = instants_s[0] if self.window_s is None else self.index.instants_s[0] + self.window_s
        return array("d", ((instant_s - begin_s) / speed for instant_s in instants_s))

    def facts(self) -> dict[str, Any]:
        """The `requests` part of run.json."""
        index = self.index
        return {"file": index.path.name, "requests": self.count, "first": self.first + 1, "skipped": index.skipped}

    def place(self, number: int) -> int:
        """Where in the file the run's request `number`, from 0, stands; after the last one comes the first again."""
        return self.first + number % self.count


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

    def request(self, number: int, changes: Changes, name: str, abort_after_s: float | None = None) -> RecordedRequest:
        """The run's request `number` as it is sent now; its id is its number in the file, from 1."""
        index, place = self._recording.index, self._recording.place(number)
        data = os.pread(self._file, index.lengths[place], index.offsets[place])
        asks, text, found = body_of(data.decode("utf-8"), index.asks)
        made = changes.of(found, asks)
        # As it is sent, for what of it decides how the answer is read.
        body = {each.key: each.value for each in found.members}
        body |= {key: json.loads(new) for key, new in made.items() if new is not None}
        content = edited(text, found, made).encode("utf-8")
        return RecordedRequest(
            asks=asks,
            content=content,
            like=like(asks, body, name),
            name=name,
            question_id=str(place + 1),
            abort_after_s=abort_after_s,
        )


def body_of(text: str, asks: str) -> tuple[str, str, ObjectText]:
    """Which API a line goes to, and its body: a text, and where in that it stands. Raises `ValueError`."""
    line = read_object(text, within="body")
    body = line.value("body")
    if not isinstance(body, ObjectText):
        return asks, *_without(text, line, "timestamp")
    url = line.value("url")
    return (asks_of(url) or asks) if isinstance(url, str) else asks, text, body


def _without(text: str, found: ObjectText, key: str) -> tuple[str, ObjectText]:
    if found.find(key) is None:
        return text, found
    cut = edited(text, found, {key: None})
    return cut, read_object(cut)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
