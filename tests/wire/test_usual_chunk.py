"""Chunks that are passed by the parsers, against the same bytes read by them: `Reading`, `usual` of the readers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest

from tests.tokenswarm.apis.test_glances import message_events, response_events, sorted_response_events
from tests.wire.cases import END, ROLE, spaced, token
from tests.wire.fuzz import make
from tests.wire.replay import Answer, replay
from tokenswarm.apis.chat_completions import ChatCompletions, ChatStream
from tokenswarm.apis.messages import Messages
from tokenswarm.apis.responses import Responses
from tokenswarm.apis.typed_events import TypedEventStream
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.transport.http1 import CHUNK_LINES, HttpAnswer

TEXTS = ("a", " token", "", '"', "\\", "é", "\r\n", "0\r\n\r\n", 'x"}', "a" * 300, "data: x", "[DONE]")


@dataclass(frozen=True, kw_only=True)
class CutAnswer(Answer):
    """An answer whose reads begin at `places` of its bytes, whatever is there, 10 ms apart."""

    places: tuple[int, ...]

    def reads(self) -> Iterator[tuple[float, bytes | OSError]]:
        wire = b"".join(data for _, data in super().reads() if isinstance(data, bytes))
        edges = sorted({0, len(wire), *(place % len(wire) for place in self.places)})
        for number, begin in enumerate(edges[:-1]):
            yield 10.0 * number, wire[begin : edges[number + 1]]
        yield 10.0 * len(edges), b""


def both(answer: Answer, api: Any = None) -> tuple[RequestRecord, RequestRecord]:
    """With chunks passed by, and with every byte parsed."""
    passed = replay(answer, None, api)
    readers = (ChatStream, TypedEventStream)
    with patch.object(readers[0], "usual", lambda _self: None), patch.object(readers[1], "usual", lambda _self: None):
        return passed, replay(answer, None, api)


def stream(rng: random.Random, length: int) -> tuple[bytes, ...]:
    """A chat stream, most of whose events are alike."""
    texts = [rng.choice(TEXTS) if rng.random() < 0.3 else " token" for _ in range(length)]
    return (ROLE, *map(token, texts), *END)


@pytest.mark.parametrize("seed", range(120))
def test_reads_that_end_anywhere_come_to_the_same_row(seed: int) -> None:
    rng = random.Random(seed)
    pieces = spaced(stream(rng, rng.randrange(3, 30)))
    places = tuple(rng.randrange(10_000) for _ in range(rng.randrange(0, 40)))
    passed, parsed = both(CutAnswer(pieces=pieces, places=places))
    assert passed == parsed


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_mangled_answers_come_to_the_same_row(first: int) -> None:
    for seed in range(first, first + 100):
        base, answer, _ = make(seed)
        if isinstance(base.api, ChatCompletions | Responses | Messages):
            passed, parsed = both(answer, base.api)
            assert passed == parsed, seed


def test_most_chunks_of_a_usual_answer_are_passed_by() -> None:
    answer = Answer(pieces=spaced((ROLE, *[token(" token")] * 100, *END)))
    with patch.object(HttpAnswer, "feed", autospec=True, side_effect=HttpAnswer.feed) as feed:
        record = replay(answer)
    assert record.outcome is Outcome.OK and record.chunks == 100
    assert feed.call_count < 15


TYPED = [(Responses("m"), response_events), (Responses("m"), sorted_response_events), (Messages("m"), message_events)]


@pytest.mark.parametrize(("api", "typed"), TYPED, ids=["responses", "sorted", "messages"])
@pytest.mark.parametrize("seed", range(30))
def test_typed_events_come_to_the_same_row(api: Any, typed: Any, seed: int) -> None:
    rng = random.Random(seed)
    texts = [rng.choice(TEXTS) if rng.random() < 0.2 else " token" for _ in range(rng.randrange(20, 130))]
    passed, parsed = both(Answer(pieces=spaced(tuple(typed(texts)))), api)
    assert passed == parsed
    places = tuple(rng.randrange(20_000) for _ in range(rng.randrange(0, 40)))
    passed, parsed = both(CutAnswer(pieces=spaced(tuple(typed(texts))), places=places), api)
    assert passed == parsed


@pytest.mark.parametrize(("api", "typed"), TYPED, ids=["responses", "sorted", "messages"])
def test_most_typed_chunks_are_passed_by(api: Any, typed: Any) -> None:
    """Six of seven have a text that is shown; of the others some have another form."""
    answer = Answer(pieces=spaced(tuple(typed([" token"] * 140))))
    with patch.object(HttpAnswer, "feed", autospec=True, side_effect=HttpAnswer.feed) as feed:
        record = replay(answer, None, api)
    assert record.outcome is Outcome.OK and record.chunks == 140
    assert feed.call_count < 110


@pytest.mark.parametrize("content", [1, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 65535])
def test_a_chunk_is_told_by_its_length(content: int) -> None:
    line = b"%x\r\n" % content
    assert CHUNK_LINES[len(line) + content + 2] == line


def test_no_chunk_has_some_lengths() -> None:
    for size in (0, 1, 4, 5, 21):  # 21: one digit can say 15 bytes, two say 16 at least
        assert len(CHUNK_LINES[size]) > size
