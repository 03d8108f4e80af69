"""Real streams, cut, delayed, doubled and mangled: whatever comes, one row comes of it, and no figure that cannot be.

    python -m tests.wire.fuzz [--seed 1] [--count 10000]

Each number is an answer of its own and can be made again: `--seed N --count 1`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.wire.cases import BEGIN, CASES, DONE, END, ROLE, SSE, STOP, STREAMED, ev, token, usage
from tests.wire.replay import OPEN_FOR_MS, Answer, replay
from tokenswarm.apis.api import Api
from tokenswarm.apis.chat_completions import ChatCompletions
from tokenswarm.apis.gpt_rag import GptRagV2
from tokenswarm.apis.messages import Messages
from tokenswarm.apis.request import ChatRequest
from tokenswarm.apis.responses import Responses
from tokenswarm.payload.usage import MAX_COUNT
from tokenswarm.record import COLUMNS, Doubt, Outcome, RequestRecord

MAX_SECONDS = 5.0
"""More than this for one answer is a hang."""


@dataclass(frozen=True)
class Base:
    """A good stream. `proofs`: what must be in the bytes for the answer to be whole, each of them."""

    api: Api[Any]
    events: tuple[bytes, ...]
    proofs: tuple[bytes, ...]
    asked: ChatRequest = STREAMED


def _responses() -> tuple[bytes, ...]:
    texts = [
        {"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "delta": f"w{n} "} for n in range(5)
    ]
    counts = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
    done = {
        "type": "response.completed",
        "response": {"status": "completed", "model": "m", "output": [], "usage": counts},
    }
    return tuple(map(ev, [{"type": "response.created", "response": {"model": "m"}}, *texts, done]))


def _messages() -> tuple[bytes, ...]:
    start = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}}
    texts = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f"w{n}"}} for n in range(5)
    ]
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
    return tuple(map(ev, [start, *texts, end, {"type": "message_stop"}]))


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
    Base(Responses("m"), _responses(), (b'"response.completed"',)),
    Base(Messages("m"), _messages(), (b'"message_stop"', b'"end_turn"')),
    Base(GptRagV2(), (b"11111111-2222-3333-4444-555555555555 ", b"Ann ", b"is ", b"the one."), ()),
)  # fmt: skip
_INSERTS = (b"\x00", b"\n", b"\r", b"\n\n", b'"', b"{", b"}", b"data: ", b"data:\n\n", b": ping\n\n", b"\xff", b"\xe2\x80", b"null", b"-1",
            b"1e400", b"event: error\n", b"event: ping\n", b'"finish_reason":null', b'"usage":{"prompt_tokens":-5}', b"[DONE]", b"<html>",
            b'{"error":{"code":429}}\n\n', b"\x1b[31m", b"\xef\xbb\xbf", b"9" * 30)  # fmt: skip
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
    field = rng.choice((b'_tokens":', b'"index":', b'"finish_reason":', b'"content":'))
    begin = data.find(field, rng.randrange(len(data) + 1))
    if begin < 0:
        return data
    begin += len(field)
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
        found += ["ok with status"] if not 200 <= (record.status or 0) < 300 else []
        found += ["ok without a token"] if not record.chunks and not record.completion_tokens else []
    cells = record.to_row()
    found += ["a cell that is no line"] if any(not cell.isprintable() and "\n" in cell for cell in cells) else []
    return found + _round_trip(record, cells)


def _another_end(data: bytes, base: Base) -> bool:
    """Whether the bytes hold an end that was mangled into them, or one that is not good and so a doubt."""
    return isinstance(base.api, ChatCompletions) and _ANY_END.search(data) is not None


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


def run(first_seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """Outcomes of `count` answers, and the problems with the seeds that show them."""
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    for seed in range(first_seed, first_seed + count):
        try:
            record, problems = one(seed)
        except Exception as error:
            failures.append(f"seed {seed}: {type(error).__name__}: {error}")
            continue
        outcomes[record.outcome.value] += 1
        failures += [f"seed {seed}: {problem}" for problem in problems]
    return outcomes, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="number of the first answer")
    parser.add_argument("--count", type=int, default=10_000, help="how many answers")
    options = parser.parse_args()
    outcomes, failures = run(options.seed, options.count)
    print(
        json.dumps(
            {"seed": options.seed, "count": options.count, "outcomes": dict(outcomes), "failures": len(failures)}
        )
    )
    print(*failures[:20], sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
