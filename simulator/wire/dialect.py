"""How an answer of one API looks to what spoils it: where content is, how errors and ends are written. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SERVER_ERROR: dict[str, Any] = {
    "message": "The server had an error while processing your request.",
    "type": "server_error",
    "param": None,
    "code": "internal_error",
}

Spoiler = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Dialect:
    """`content` matches up to where the text of a piece begins, `whole_content` likewise in a body."""

    content: re.Pattern[bytes]
    whole_content: re.Pattern[bytes]
    error_event: bytes
    """An error in place of the rest of a stream."""
    error_body: bytes
    """An error in place of an answer that is not streamed."""
    filtered: Spoiler = lambda body: body
    """From an event or a body with content to what ends the answer by the content filter, where the API has one."""
    failed_event: bytes | None = None
    """An answer that is reported as failed, where the API has such a thing; None: as `error_event`."""
    framed: bool = True
    """Whether pieces are events, so that one without content is not one."""


def filtered_chat(body: bytes) -> bytes:
    """A chat chunk or completion whose choices were ended by the content filter."""
    event = json.loads(body.removeprefix(b"data: "))
    for choice in event["choices"]:
        verdict = {"hate": {"filtered": True, "severity": "high"}}
        choice.update(finish_reason="content_filter", content_filter_results=verdict)
        choice.update({"delta": {}} if "delta" in choice else {})
    spoilt = json.dumps(event).encode()
    return b"data: " + spoilt + b"\n\ndata: [DONE]\n\n" if body.startswith(b"data: ") else spoilt


_ERROR = json.dumps({"error": SERVER_ERROR}).encode()

CHAT = Dialect(
    content=re.compile(rb'"delta":\{"(?:content|reasoning_content)":"(?!")|"delta":\{"tool_calls":'),
    whole_content=re.compile(rb'"content":"'),
    error_event=b"data: " + _ERROR + b"\n\n",
    error_body=_ERROR,
    filtered=filtered_chat,
)
PLAIN = Dialect(
    content=re.compile(rb"(?!)"),
    whole_content=re.compile(rb"(?!)"),
    error_event=CHAT.error_event,
    error_body=_ERROR,
    framed=False,
)
"""Text without events: every write is content."""
