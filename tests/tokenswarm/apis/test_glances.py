"""Most events with text are known by their form and are not parsed: what is found must be what parsing finds."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenswarm.apis.streams import cut_at, events, read
from tokenswarm.apis.completions import CompletionStream
from tokenswarm.apis.messages import MessageStream
from tokenswarm.apis.responses import ResponseStream
from tokenswarm.apis.typed_events import EventForm

ITEM = {"item_id": "i", "output_index": 0, "content_index": 0}


def response_events(texts: list[str]) -> list[bytes]:
    made: list[dict[str, Any]] = [{"type": "response.created", "sequence_number": 0, "response": {"model": "m"}}]
    for number, text in enumerate(texts, 1):
        kind = "response.output_text.delta" if number % 7 else "response.reasoning_text.delta"
        padding = {"obfuscation": "x" * (number % 5)} if number % 2 else {}
        made.append({"type": kind, "sequence_number": number, **ITEM, "delta": text, "logprobs": [], **padding})
    usage = {"input_tokens": 5, "output_tokens": len(texts)}
    end = {"status": "completed", "output": [], "usage": usage, "model": "m", "error": None}
    return events(*made, {"type": "response.completed", "sequence_number": 99, "response": end})


def message_events(texts: list[str]) -> list[bytes]:
    made: list[dict[str, Any]] = [{"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 5}}}]
    for number, text in enumerate(texts, 1):
        delta = {"type": "text_delta", "text": text} if number % 7 else {"type": "thinking_delta", "thinking": text}
        made.append({"type": "content_block_delta", "index": 0, "delta": delta})
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": len(texts)}}
    padded = [event.replace(b"}}\n\n", b"}" + b" " * (at % 4) + b"}\n\n") for at, event in enumerate(events(*made))]
    return [*padded, *events(end, {"type": "message_stop"})]


def completion_events(texts: list[str]) -> list[bytes]:
    made = [{"id": "c", "choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in texts]
    end: dict[str, Any] = {"id": "c", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": len(texts)}}
    return [*events(*made, end, usage), b"data: [DONE]\n\n"]


def sorted_response_events(texts: list[str]) -> list[bytes]:
    """As vLLM writes them: keys by their names, the number behind the text."""
    bodies = [json.loads(event.partition(b"data: ")[2]) for event in response_events(texts)]
    return events(*(dict(sorted(body.items())) for body in bodies))


READERS = [(ResponseStream, response_events), (MessageStream, message_events), (CompletionStream, completion_events)]
READERS.append((ResponseStream, sorted_response_events))


@pytest.mark.parametrize(("kind", "make"), READERS, ids=["responses", "messages", "completions", "sorted"])
@given(
    texts=st.lists(st.one_of(st.sampled_from(["a", " b", "", 'say "', "\n", "é", "}}\n\n"]), st.text(max_size=4))),
    places=st.lists(st.integers(0, 100_000), max_size=20),
)
def test_a_glance_finds_what_parsing_finds(kind: Any, make: Any, texts: list[str], places: list[int]) -> None:
    whole = b"".join(make(texts))
    for pieces in (make(texts), cut_at(whole, places)):
        glancing, reading = read(kind(), pieces), read(kind(keep_text=True), pieces)
        assert dataclasses.replace(glancing, text="") == dataclasses.replace(reading, text="")


@pytest.mark.parametrize(("kind", "make"), READERS[:2], ids=["responses", "messages"])
def test_plain_texts_are_not_parsed(kind: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six of seven: the fast path is taken, or this test would compare nothing."""
    parsed: list[bytes] = []
    parse = kind._parse
    monkeypatch.setattr(kind, "_parse", lambda self, event: parsed.append(event) or parse(self, event))
    read(kind(), make([" word"] * 70))
    assert len(parsed) <= 10 + 4


ORDERS = [
    {"sequence_number": 8, "item_id": "i", "delta": "a", "logprobs": [], "obfuscation": "xx"},
    {"sequence_number": 8, "item_id": "i", "delta": "a"},
    {"delta": "a", "item_id": "i", "sequence_number": 8},
    {"delta": "a", "obfuscation": "xx", "item_id": "i", "sequence_number": 8},
    {"delta": "a", "sequence_number": 8, "obfuscation": "xx"},
    {"obfuscation": "xx", "delta": "a", "sequence_number": 8, "n": 1},
    {"delta": "a"},
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: " ".join(order))
@pytest.mark.parametrize("behind", ["", "   "])
def test_one_event_is_known_as_in_a_row_of_them(order: dict[str, Any], behind: str) -> None:
    def event(**new: Any) -> bytes:
        body = json.dumps({"type": "t", **{name: new.get(name, order[name]) for name in order}}, separators=(",", ":"))
        return f"event: t\ndata: {body[:-1]}{behind}}}\n\n".encode()

    form = EventForm(event())
    if behind and list(order)[-1] == "sequence_number":
        assert form.is_one(event(delta="b")), "a number before blanks is taken as it stands"
        return
    for number in (8, 9, 10, 99, 100, 7):
        for text in ("a", " word", "x" * 90):
            made = event(sequence_number=number, delta=text, obfuscation="y" * (number % 4))
            assert form.count(made) == form.count(made + made) / 2 == 1
            assert not form.is_one(made + made) and not form.is_one(made[:-1]) and not form.is_one(b"x" + made)
    for other in ({"delta": ""}, {"delta": '"'}, {"delta": "\n"}, {"sequence_number": None}, {"item_id": "j"}):
        changes = {name: value for name, value in other.items() if name in order}
        if changes:
            assert not form.is_one(event(**changes)) and form.count(event(**changes)) == 0
    if next(iter(order)) != "obfuscation" and list(order)[1:] != ["sequence_number", "obfuscation"]:
        assert EventForm(event()).is_one(event(delta="b", sequence_number=9, obfuscation="z"))


def test_a_form_counts_its_like_and_nothing_else() -> None:
    def event(delta: str, number: int = 3, **more: Any) -> bytes:
        body = {"type": "response.output_text.delta", "sequence_number": number, "delta": delta, **more}
        return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"

    form = EventForm(event(" a"))
    assert form.count(event(" other", 17)) == 1
    assert form.count(event("x", 1) + event("y", 2)) == 2
    for other in (event(""), event('"'), event("a", output_index=1), event("a")[:-1], event("a") + b"data: [DONE]\n\n"):
        assert form.count(other) == 0
    for unfit in (b'data: {"type":"x"}\n\n', event("a", text="b"), event("a")[:-2]):
        with pytest.raises(ValueError, match="not one event"):
            EventForm(unfit)
