"""One request as a log tells of it, and how the values of logs are read. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenswarm.recordings.bodies import BadLine, asks_of, check_body, kind
from tokenswarm.recordings.lines import MAX_INSTANT_S
from tokenswarm.userinput import parse_json

PASSED_ON = frozenset(
    ["max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "top_k", "n", "stop", "seed",
     "stop_sequences", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "response_format", "tools",
     "tool_choice", "parallel_tool_calls", "reasoning_effort", "reasoning", "text", "instructions", "dimensions",
     "encoding_format", "thinking", "stream_options", "functions", "function_call", "prediction", "verbosity",
     "logit_bias", "prompt_cache_key", "prompt_cache_retention", "service_tier", "max_tool_calls", "truncation"]
)  # fmt: skip
"""Parameters that an API takes; others are a client's own."""
BYTES_PER_TOKEN = 4
"""Where a log has lengths in bytes only: OpenAI's rule of thumb for English."""
STREAMED_BYTES_PER_TOKEN = 300
"""Of a chat answer, where each token has a chunk around it."""


@dataclass(slots=True)
class LoggedRequest:
    """One request of a log. `body`: what was asked, where the log has it. Tokens are `None` where the log has none, and
    where no answer came; `answer_bytes`: the answer's length where that is all the log has of it; `is_streamed`:
    whether the log says that these are bytes of a stream; `source`: the kind of record, where a call may have one of
    each; `is_end`: whether the log has the instant of its end only; `span`, `parent`, `answer`: ids of its span, of
    the one around it, and of its answer, empty where the log has none."""

    at_s: float
    url: str = "/v1/chat/completions"
    body: dict[str, Any] | None = None
    session: str | None = None
    context_tokens: int | None = None
    max_tokens: int | None = None
    answer_bytes: int | None = None
    is_streamed: bool = False
    source: str = ""
    is_end: bool = False
    span: str = ""
    parent: str = ""
    answer: str = ""

    @property
    def is_measured(self) -> bool:
        """Whether the lengths of prompt and answer are known."""
        return self.context_tokens is not None and (self.max_tokens is not None or self.answer_bytes is not None)


@dataclass(slots=True)
class Fields:
    """A log entry's fields, each asked for under the names that it has had over the years."""

    values: Mapping[str, Any]
    missing: list[str] = field(default_factory=list)

    def get(self, *names: str) -> Any:
        return next((self.values[name] for name in names if self.values.get(name) not in (None, "")), None)

    def count(self, *names: str) -> int | None:
        found = self.get(*names)
        try:
            number = float(found) if found is not None and not isinstance(found, bool) else None
        except (TypeError, ValueError, OverflowError):
            return None
        return int(number) if number is not None and math.isfinite(number) and number >= 0 else None


Reader = Callable[[bytes], Iterator[LoggedRequest | None]]
"""The requests of a line; `None` for each entry that is about something else."""


def check_logged(request: LoggedRequest) -> LoggedRequest:
    """Raises `ValueError` for what would be no request in a file of them, or at no time."""
    if not 0 <= request.at_s < MAX_INSTANT_S:
        raise BadLine("expected an instant from 1970 to the year 5138, got another")
    if isinstance(request.session, bool) or not isinstance(request.session, str | int | None):
        raise BadLine(f"expected an id of a session, got {kind(request.session)}")
    if request.body:
        check_body(request.body, asks_of(request.url) or "chat")
        json.dumps(request.body, allow_nan=False)  # ValueError for a number that JSON has not
    return request


def object_of(data: bytes) -> dict[str, Any]:
    """Raises `BadLine`."""
    try:
        entry = parse_json(data)
    except ValueError:
        raise BadLine("expected a JSON object, got text that is none") from None
    if not isinstance(entry, dict):
        raise BadLine(f"expected a JSON object, got {kind(entry)}")
    return entry


def objects_of(data: bytes) -> list[dict[str, Any]]:
    """The objects of a line that is one, or a list of them."""
    if not data.lstrip().startswith(b"["):
        return [object_of(data)]
    try:
        entries = parse_json(data)
    except ValueError:
        raise BadLine("expected JSON objects, got text that is none") from None
    if wrong := next((entry for entry in entries if not isinstance(entry, dict)), None):
        raise BadLine(f"expected a list of JSON objects, got {kind(wrong)} in it")
    return list(entries)


def url_of(asks: str) -> str:
    return f"/v1/{'chat/completions' if asks == 'chat' else asks}"


def tokens_of(length: int | None) -> int | None:
    return None if length is None else -(-length // BYTES_PER_TOKEN)
