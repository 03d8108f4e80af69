"""Real streams, cut, delayed, doubled and mangled: whatever comes, one row comes of it, and no figure that cannot be.

    python -m tests.wire.fuzz [--seed 1] [--count 10000 | --minutes 60]

Each number is an answer of its own and can be made again: `--seed N --count 1`. At its start, every minute, at its end and
when it is interrupted it says from which seed how many answers were read.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import re
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count as numbers
from typing import Any

from tests.wire.cases import BEGIN, DONE, END, NO_STREAM, ROLE, SSE, STOP, STREAMED, ev, token, usage, whole
from tests.wire.corpus import CASES
from tests.wire.replay import OPEN_FOR_MS, Answer, replay
from tokenswarm.apis.api import Api
from tokenswarm.apis.chat_completions import ChatCompletions
from tokenswarm.apis.completions import Completions
from tokenswarm.apis.embeddings import Embeddings, EmbeddingsRequest
from tokenswarm.apis.gpt_rag import GptRagV1, GptRagV2
from tokenswarm.apis.messages import Messages
from tokenswarm.apis.request import ChatRequest, Request
from tokenswarm.apis.responses import Responses
from tokenswarm.payload.usage import MAX_COUNT
from tokenswarm.record import COLUMNS, Doubt, Outcome, RequestRecord

MAX_SECONDS = 5.0
"""More than this for one answer is a hang."""


@dataclass(frozen=True)
class Base:
    """A good answer. `proofs`: what must be in the bytes of a stream for the answer to be whole, each of them; one
    `body` must be whole JSON."""

    api: Api[Any]
    events: tuple[bytes, ...]
    proofs: tuple[bytes, ...]
    asked: Request = STREAMED
    body: bool = False


def _named(*payloads: dict[str, Any]) -> tuple[bytes, ...]:
    """Typed events as services send them: the type is the event's name, too."""
    return tuple(b"event: " + payload["type"].encode() + b"\n" + ev(payload) for payload in payloads)


def _responses() -> tuple[dict[str, Any], ...]:
    item = {"item_id": "i", "output_index": 0, "content_index": 0}
    kinds = ["reasoning_text", *["output_text"] * 5]
    texts = [{"type": f"response.{kind}.delta", **item, "delta": f"w{n} "} for n, kind in enumerate(kinds)]
    counts = {
        "input_tokens": 9,
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 15,
    }
    return {"type": "response.created", "response": {"model": "m"}}, *texts, {
        "type": "response.completed",
        "response": {"status": "completed", "model": "m", "output": [_ITEM], "usage": counts},
    }  # fmt: skip


def _messages() -> tuple[dict[str, Any], ...]:
    counts = {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 1}
    start = {"type": "message_start", "message": {"model": "m", "usage": counts}}
    texts = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f"w{n}"}} for n in range(5)
    ]
    thinking = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 6}}
    return start, thinking, *texts, {"type": "ping"}, end, {"type": "message_stop"}


def _body(value: Any) -> tuple[bytes, ...]:
    return (json.dumps(value).encode(),)


_ITEM = {"type": "message", "content": [{"type": "output_text", "text": "w0"}]}
_VECTORS = {
    "data": [{"index": n, "embedding": [0.5, -1.0]} for n in range(2)],
    "model": "m",
    "usage": {"prompt_tokens": 9, "total_tokens": 9},
}
_MESSAGE = {
    "type": "message",
    "model": "m",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 9, "output_tokens": 2},
}
_COMPLETION = tuple(
    ev({"object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": end}], "model": "m"})
    for text, end in [*((f"w{n}", None) for n in range(6)), ("", "stop")]
)
_LONG = (ROLE, *(token(f"w{n}") for n in range(40)), STOP, usage(completion=40), DONE)
_TWO = (
    tuple(token(f"w{n}", index=n % 2) for n in range(10)),
    ev({"model": "m", "choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]}),
)
_REASON = b'"finish_reason":"stop"'
BASES = (
    Base(ChatCompletions("m"), tuple([*BEGIN, *END]), (_REASON,)),
    Base(ChatCompletions("m"), _LONG, (_REASON,)),
    Base(ChatCompletions("m"), tuple(e.replace(b"\n", b"\r\n") for e in _LONG), (_REASON,)),
    Base(ChatCompletions("m"), (*_TWO[0], _TWO[1], STOP, usage(completion=10), DONE), (_REASON, b'"finish_reason":"length"'),
         ChatRequest(messages=[], body={"n": 2}, keep_text=True)),
    Base(Completions("m"), (*_COMPLETION, usage(completion=6), DONE), (_REASON,)),
    Base(Responses("m"), tuple(map(ev, _responses())), (b'"response.completed"',)),
    Base(Responses("m"), _named(*_responses()), (b'"response.completed"',), ChatRequest(messages=[], keep_text=True)),
    Base(Messages("m"), tuple(map(ev, _messages())), (b'"message_stop"', b'"stop_reason"')),
    Base(Messages("m"), _named(*_messages()), (b'"message_stop"', b'"stop_reason"'), ChatRequest(messages=[], keep_text=True)),
    Base(ChatCompletions("m"), _body(whole()), (), NO_STREAM, body=True),
    Base(Responses("m"), _body(_responses()[-1]["response"]), (), NO_STREAM, body=True),
    Base(Messages("m"), _body(_MESSAGE), (), NO_STREAM, body=True),
    Base(Embeddings("m"), _body(_VECTORS), (), EmbeddingsRequest(texts=["a", "b"]), body=True),
    Base(GptRagV1(), _body({"answer": "Ann is the one.", "conversation_id": "c"}), (), body=True),
    Base(GptRagV2(), (b"11111111-2222-3333-4444-555555555555 ", b"Ann ", b"is ", b"the one."), ()),
)  # fmt: skip
_INSERTS = (b"\x00", b"\n", b"\r", b"\n\n", b'"', b"{", b"}", b"data: ", b"data:\n\n", b": ping\n\n", b"\xff", b"\xe2\x80", b"null", b"-1",
            b"1e400", b"event: error\n", b"event: ping\n", b'"finish_reason":null', b'"usage":{"prompt_tokens":-5}', b"[DONE]", b"<html>",
            b'{"error":{"code":429}}\n\n', b"\x1b[31m", b"\xef\xbb\xbf", b"9" * 30)  # fmt: skip
_WORDS = (b'_tokens":', b'"index":', b'"finish_reason":', b'"content":', b'"stop_reason":', b'"status":', b'"type":', b'"delta":',
          b'"usage":', b'"embedding":', b'"text":', b'"output":', b'"response":', b'"answer":')  # fmt: skip
_NUMBERS = (b"0", b"-7", b"1e30", b"4.0", b"4.5", b"null", b'"9"', b"999999999999", b"true", b"[]", b"{}")


def make(seed: int) -> tuple[Base, Answer, bytes]:
    """A base, what was made of it, and the bytes of the body."""
    rng = random.Random(seed)
    base = rng.choice(BASES)
    data = b"".join(base.events)
    for change in rng.choices(_CHANGES, k=rng.choice((0, 1, 1, 2, 3, 6))):
        data = change(rng, data, base)
    data = data[: rng.randrange(len(data) + 1)] if rng.random() < 0.4 else data
    pieces = _events_of(data, base) if rng.random() < 0.4 else _cut(rng, data)
    at, timed = rng.uniform(0.0, 500.0), []
    for piece in pieces:
        timed.append((at, piece))
        at += rng.choice((0.0, 0.0, 0.01, 1.0, 10.0, 10.0, 900.0))
    end, framing = (
        rng.choice(("whole", "whole", "open", "closed", "reset")),
        rng.choice(("chunked", "chunked", "close", "length")),
    )
    headers = rng.choice((SSE, SSE, {}, {"Content-Type": "application/json"}, {**SSE, "Content-Encoding": "gzip"}))
    status = rng.choice((200,) * 8 + (201, 204, 429, 500))
    return base, Answer(pieces=tuple(timed), status=status, headers=headers, framing=framing, end=end), data


def _events_of(data: bytes, base: Base) -> list[bytes]:
    """Each event a piece, as most servers write."""
    mark = b"\r\n\r\n" if b"\r\n\r\n" in base.events[-1] else b"\n\n"
    *events, rest = data.split(mark)
    return [event + mark for event in events] + ([rest] if rest else [])


def _cut(rng: random.Random, data: bytes) -> list[bytes]:
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 1, 3, 10, 60))))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a < b]


def _delete(rng: random.Random, data: bytes, base: Base) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 2, 20, 200)) :]


def _insert(rng: random.Random, data: bytes, base: Base) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_INSERTS) + data[at:]


def _flip(rng: random.Random, data: bytes, base: Base) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _double(rng: random.Random, data: bytes, base: Base) -> bytes:
    event = rng.choice(base.events)
    return data.replace(event, event * rng.choice((2, 3)), 1)


def _drop(rng: random.Random, data: bytes, base: Base) -> bytes:
    return data.replace(rng.choice(base.events), b"", 1)


def _swap(rng: random.Random, data: bytes, base: Base) -> bytes:
    one, other = rng.choice(base.events), rng.choice(base.events)
    return data.replace(one, b"\x00swap\x00", 1).replace(other, one, 1).replace(b"\x00swap\x00", other, 1)


def _miscount(rng: random.Random, data: bytes, base: Base) -> bytes:
    word = rng.choice(_WORDS)
    begin = data.find(word, rng.randrange(len(data) + 1))
    if begin < 0:
        return data
    begin += len(word)
    stop = next((i for i in range(begin, len(data)) if data[i : i + 1] in (b",", b"}")), len(data))
    return data[:begin] + rng.choice(_NUMBERS) + data[stop:]


def _append(rng: random.Random, data: bytes, base: Base) -> bytes:
    case = rng.choice(CASES)
    return data + rng.choice(case.answer.pieces)[1] if case.answer.pieces else data


_ANY_END = re.compile(rb'"finish_reason": ?"[^"]+"')
_Change = Callable[[random.Random, bytes, Base], bytes]
_CHANGES: tuple[_Change, ...] = (_delete, _insert, _flip, _double, _drop, _swap, _miscount, _append)


def problems_of(record: RequestRecord, base: Base, answer: Answer, data: bytes) -> list[str]:
    """What cannot be about a row."""
    found = [
        f"{name} is {value}" for name in COLUMNS if (value := _impossible(name, getattr(record, name))) is not None
    ]
    order = [record.ttft_ms, record.last_token_ms, record.e2e_ms]
    known = [value for value in order if value is not None]
    found += [f"instants not in order: {order}"] if known != sorted(known) else []
    for part, all_of in (("cached_tokens", "prompt_tokens"), ("reasoning_tokens", "completion_tokens")):
        some, most = getattr(record, part), getattr(record, all_of)
        found += [f"{part} {some} of {all_of} {most}"] if some is not None and most is not None and some > most else []
    if record.tbt_ms is not None and record.completion_tokens is not None and record.e2e_ms is not None:
        rest = (record.last_token_ms or 0.0) - (record.ttft_ms or 0.0)
        found += [f"tbt_ms {record.tbt_ms} of {rest}"] if record.tbt_ms > 2.0 * rest + 1e-6 else []
    if record.outcome is Outcome.OK:
        found += [
            f"ok without {proof!r}" for proof in base.proofs if proof not in data and not _another_end(data, base)
        ]
        found += ["ok with a body that is cut"] if base.body and not _is_json(answer) else []
        found += ["ok with status"] if not 200 <= (record.status or 0) < 300 else []
        found += ["ok without a token"] if not base.body and not _has_token(record, data) else []
    found += [f"a fault of ours: {record.error}"] if _OURS.match(record.error or "") else []
    cells = record.to_row()
    found += ["a cell that is no line"] if any(not cell.isprintable() and "\n" in cell for cell in cells) else []
    return found + _round_trip(record, cells)


_OURS = re.compile(r"(?:\w+: )?(?:Type|Key|Index|Attribute|Assertion|Value|Unicode\w*|Name|Recursion|Overflow)Error\b")


def _is_json(answer: Answer) -> bool:
    """Whether the body, or one that stands whole behind blank lines as in a stream, is JSON to the standard library;
    or a stream was mangled into it."""
    body = answer.body
    if body.startswith(b"\x1f\x8b"):  # as a case of the corpus has it
        with suppress(OSError, EOFError, zlib.error):
            body = gzip.decompress(body)
    text = body.decode("utf-8", "replace").lstrip("\ufeff")
    return b"data:" in body or any(map(_is_value, [text, *re.split(r"\n\n|\r\r|\r\n\r\n", text)]))


def _is_value(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True


def _has_token(record: RequestRecord, data: bytes) -> bool:
    """Tokens that came or were counted; a Responses API's last event, or a body, may have the text alone."""
    return bool(record.chunks or record.completion_tokens) or b'"output_text"' in data or data.lstrip()[:1] == b"{"


def _another_end(data: bytes, base: Base) -> bool:
    """Whether the bytes hold an end that was mangled into them, or one that is not good and so a doubt."""
    if isinstance(base.api, Responses):
        return b'"response.incomplete"' in data
    return isinstance(base.api, ChatCompletions | Completions) and _ANY_END.search(data) is not None


def _impossible(name: str, value: Any) -> Any:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if not math.isfinite(value) or value < 0:
        return value
    if name.endswith("_tokens") and value > 4 * MAX_COUNT:
        return value
    return value if name.endswith("_ms") and name != "retry_after_ms" and value > 2 * OPEN_FOR_MS + 1e6 else None


def _round_trip(record: RequestRecord, cells: list[str]) -> list[str]:
    """A row is read again as what it was, and can be written."""
    try:
        "".join(cells).encode("utf-8")
        again = RequestRecord.from_row(dict(zip(COLUMNS, cells, strict=True)))
    except ValueError as error:
        return [f"row cannot be written and read: {error}"]
    unknown = {doubt for doubt in (again.doubts or "").split(";") if doubt} - {str(doubt) for doubt in Doubt}
    return [f"unknown doubts {unknown}"] if unknown or again.outcome is not record.outcome else []


def one(seed: int) -> tuple[RequestRecord, list[str]]:
    """The row of one made-up answer, and what is impossible about it."""
    base, answer, data = make(seed)
    started = time.perf_counter()
    record = replay(answer, base.asked, base.api)
    problems = problems_of(record, base, answer, data)
    took = time.perf_counter() - started
    return record, problems + ([f"took {took:.1f} s"] if took > MAX_SECONDS else [])


@dataclass
class Tally:
    """What came of the answers so far."""

    seed: int
    count: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def take(self, seed: int) -> None:
        self.count += 1
        try:
            record, problems = one(seed)
        except Exception as error:
            self.failures.append(f"seed {seed}: {type(error).__name__}: {error}")
            return
        self.outcomes[record.outcome.value] += 1
        self.failures += [f"seed {seed}: {problem}" for problem in problems]

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self.started) / 60.0

    def line(self) -> str:
        said = {"seed": self.seed, "count": self.count, "minutes": round(self.minutes, 1)}
        return json.dumps(said | {"outcomes": dict(self.outcomes), "failures": len(self.failures)})


def run(first_seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """Outcomes of `count` answers, and the problems with the seeds that show them."""
    tally = Tally(first_seed)
    for seed in range(first_seed, first_seed + count):
        tally.take(seed)
    return tally.outcomes, tally.failures


@contextmanager
def _said(tally: Tally) -> Iterator[None]:
    """Say what came of it, however it ends."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        print("\n".join([tally.line(), *tally.failures[:20]]), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="number of the first answer")
    parser.add_argument("--count", type=int, default=10_000, help="how many answers")
    parser.add_argument("--minutes", type=float, help="as many as can be read in this time, in place of a count")
    options = parser.parse_args()
    tally, said_at = Tally(options.seed), 1.0
    with _said(tally):
        print(tally.line(), flush=True)
        for seed in numbers(options.seed):
            if tally.count >= options.count if options.minutes is None else tally.minutes >= options.minutes:
                break
            tally.take(seed)
            if tally.minutes >= said_at:
                said_at += 1.0
                print(tally.line(), flush=True)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
