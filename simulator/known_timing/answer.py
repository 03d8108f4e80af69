"""What the known-timing target answers, byte for byte, and when. Pure: no clock, no socket.

An answer is a head, sent at once, and pieces, each with its offset from the moment the request was there. All of it
is laid out before the first byte is sent, so that sending a chunk is one write of bytes that exist already.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

TOKEN = " token"
"""One token in cl100k_base and in o200k_base."""

_IDENTITY = {
    "id": "chatcmpl-known-timing",
    "object": "chat.completion.chunk",
    "created": 1700000000,
    "model": "known-timing",
    "system_fingerprint": "fp_known_timing",
}


@dataclass(frozen=True, slots=True)
class Timing:
    """The shape of an answer in time and in bytes. All of it can be set per request under `known_timing`."""

    ttft_ms: float = 200.0
    tbt_ms: float = 20.0
    tokens: int = 100  # 0: as many as the request's max_tokens
    tokens_per_chunk: int = 1
    role_early: bool = False  # the role chunk goes out with the head instead of with the first token
    framing: str = "chunked"  # or close: the end of the connection ends the answer
    line_end: str = "lf"  # or crlf
    usage: bool = True  # False: no usage even when the request asks for it
    stall_ms: float = 0.0
    stall_after: int = 0  # chunks with tokens before the stall
    piece_bytes: int = 0  # cut events into HTTP chunks of this many bytes; 0: one HTTP chunk for each event


@dataclass(frozen=True, slots=True)
class Asked:
    """What a chat-completion request asks for, as far as the target cares."""

    stream: bool
    include_usage: bool
    max_tokens: int | None
    prompt_tokens: int
    timing: Timing


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes of an answer: `opening` at once, `pieces[i]` `offsets[i]` seconds after the request was there."""

    content_type: str
    length: int | None  # of the body; None when it is streamed
    opening: bytes
    pieces: list[bytes]
    offsets: tuple[float, ...]
    tokens: int


def read_request(body: bytes, defaults: Timing) -> Asked:
    """Parse a request body. Raises `ValueError` saying what is wrong with it."""
    try:
        payload = json.loads(body)
    except ValueError as error:
        raise ValueError(f"body: expected JSON, got {body[:40]!r} ({error})") from None
    if not isinstance(payload, dict):
        raise ValueError(f"body: expected a JSON object, got {type(payload).__name__}")
    options = payload.get("stream_options") or {}
    return Asked(
        stream=payload.get("stream") is True,
        include_usage=options.get("include_usage") is True,
        max_tokens=payload.get("max_completion_tokens") or payload.get("max_tokens"),
        prompt_tokens=max(1, len(body) // 4),
        timing=override(defaults, payload.get("known_timing") or {}),
    )


def override(defaults: Timing, changes: dict[str, Any]) -> Timing:
    """`defaults` with some fields changed. Raises `ValueError` listing every unknown name and bad value."""
    known = {field.name for field in dataclasses.fields(Timing)}
    problems = [f"{name}: expected one of {', '.join(sorted(known))}" for name in changes if name not in known]
    timing = dataclasses.replace(defaults, **{name: value for name, value in changes.items() if name in known})
    problems += check(timing)
    if problems:
        raise ValueError("; ".join(problems))
    return timing


def check(timing: Timing) -> list[str]:
    """What is wrong with a timing, one line for each; empty when it can be used."""
    problems = []
    for name in ("ttft_ms", "tbt_ms", "tokens", "stall_ms", "stall_after", "piece_bytes"):
        if getattr(timing, name) < 0:
            problems.append(f"{name}: expected 0 or more, got {getattr(timing, name)}")
    if timing.tokens_per_chunk < 1:
        problems.append(f"tokens_per_chunk: expected 1 or more, got {timing.tokens_per_chunk}")
    if timing.framing not in ("chunked", "close"):
        problems.append(f"framing: expected chunked or close, got {timing.framing!r}")
    if timing.line_end not in ("lf", "crlf"):
        problems.append(f"line_end: expected lf or crlf, got {timing.line_end!r}")
    return problems


def compose(asked: Asked) -> Answer:
    """Lay out the whole answer to a request."""
    timing = asked.timing
    tokens = timing.tokens or asked.max_tokens or 16
    if not asked.stream:
        body = _whole(tokens, asked.prompt_tokens)
        offset = (timing.ttft_ms + timing.tbt_ms * (tokens - 1)) / 1000.0
        return Answer("application/json", len(body), b"", [body], (offset,), tokens)
    opening, shared, offsets = _stream(timing, tokens)
    usage = _usage(asked.prompt_tokens, tokens) if asked.include_usage and timing.usage else None
    pieces = [*shared[:-1], shared[-1] + _closing(timing, usage)]
    return Answer("text/event-stream; charset=utf-8", None, opening, pieces, offsets, tokens)


@lru_cache(maxsize=256)
def _stream(timing: Timing, tokens: int) -> tuple[bytes, list[bytes], tuple[float, ...]]:
    """Opening, one piece for each chunk with tokens, and their offsets in s. The same for every such request."""
    role = _event(timing, _chunk({"role": "assistant", "content": "", "refusal": None}))
    counts = chunk_sizes(tokens, timing.tokens_per_chunk)
    pieces = [_event(timing, _chunk({"content": TOKEN * count})) for count in counts]
    if not timing.role_early:
        pieces[0] = role + pieces[0]
    return (role if timing.role_early else b""), pieces, chunk_offsets(timing, counts)


def chunk_sizes(tokens: int, per_chunk: int) -> list[int]:
    """Tokens in each chunk: `per_chunk`, and in the last what is left."""
    return [min(per_chunk, tokens - done) for done in range(0, tokens, per_chunk)]


def chunk_offsets(timing: Timing, counts: list[int]) -> tuple[float, ...]:
    """Seconds from the request to each chunk: TTFT, then TBT for each token of the chunk before, and the stall."""
    offsets, at_ms = [], timing.ttft_ms
    for index, count in enumerate(counts):
        if timing.stall_ms and index == timing.stall_after:
            at_ms += timing.stall_ms
        offsets.append(at_ms / 1000.0)
        at_ms += timing.tbt_ms * count
    return tuple(offsets)


def _closing(timing: Timing, usage: dict[str, Any] | None) -> bytes:
    """Finish chunk, usage chunk when there is one, `[DONE]`, and the end of the body."""
    finish = _event(timing, _chunk({}, finish_reason="length"))
    counted = _event(timing, _compact({**_IDENTITY, "choices": [], "usage": usage})) if usage else b""
    end = b"0\r\n\r\n" if timing.framing == "chunked" else b""
    return finish + counted + _event(timing, "[DONE]") + end


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _compact({**_IDENTITY, "choices": [choice], "usage": None})


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _event(timing: Timing, data: str) -> bytes:
    end = "\r\n" if timing.line_end == "crlf" else "\n"
    event = f"data: {data}{end}{end}".encode()
    if timing.framing == "close":
        return event
    size = timing.piece_bytes or len(event)
    return b"".join(_framed(event[start : start + size]) for start in range(0, len(event), size))


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _whole(tokens: int, prompt: int) -> bytes:
    message = {"role": "assistant", "content": TOKEN * tokens, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    answer = {**_IDENTITY, "object": "chat.completion", "choices": [choice], "usage": _usage(prompt, tokens)}
    return _compact(answer).encode()


@dataclass(frozen=True, slots=True)
class Head:
    """Request line and headers of an HTTP request; header names in lower case."""

    method: str
    path: str
    version: str
    headers: dict[str, str]

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", 0))

    @property
    def keep_alive(self) -> bool:
        return self.version == "HTTP/1.1" and self.headers.get("connection", "").lower() != "close"


def parse_head(text: bytes) -> Head:
    """Parse a request's head without its blank line. Raises `ValueError` when it is none."""
    lines = text.decode("latin-1").split("\r\n")
    method, path, version = lines[0].split(" ")
    pairs = (line.split(":", 1) for line in lines[1:])
    return Head(method, path, version, {name.strip().lower(): value.strip() for name, value in pairs})


_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found"}


def response_head(status: int, content_type: str, length: int | None, request_id: str, keep_alive: bool) -> bytes:
    """Head of a response, with the headers that a client of Azure OpenAI reads."""
    lines = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"Content-Type: {content_type}",
        f"apim-request-id: {request_id}",
        "x-ms-region: Loopback",
        "x-ratelimit-remaining-requests: 100000",
        "x-ratelimit-remaining-tokens: 100000000",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
    ]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
