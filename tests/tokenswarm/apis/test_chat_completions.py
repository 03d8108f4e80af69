from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.apis.chat_completions import (
    ChatStream,
    read_body,
)
from tokenswarm.apis.completions import completions_body
from tokenswarm.apis.request import ChatRequest, chat_body
from tokenswarm.payload.errors import ToldError, error_text, is_content_filter
from tokenswarm.payload.usage import Usage, parse_usage, streamed_tokens
from tokenswarm.record import Outcome

FILTER = {"choices": [], "id": "", "model": "", "prompt_filter_results": [{"prompt_index": 0}]}
USAGE = {
    "choices": [],
    "model": "gpt-4o-2024-11-20",
    "usage": {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "total_tokens": 15,
        "completion_tokens_details": {"reasoning_tokens": 1},
        "prompt_tokens_details": {"cached_tokens": 4},
    },
}


def chunk(delta: dict[str, Any] | None, finish: str | None = None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "content_filter_results": {}}
    if delta is not None:
        choice["delta"] = delta
    return {"choices": [choice], "model": "gpt-4o-2024-11-20", "object": "chat.completion.chunk"}


ROLE = chunk({"content": "", "refusal": None, "role": "assistant"})


def event(body: Any) -> bytes:
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def feed(stream: ChatStream, *bodies: Any, at: float = 0.0, step: float = 10.0) -> None:
    for number, body in enumerate(bodies):
        moment = at + number * step
        stream.feed(body if isinstance(body, bytes) else event(body), moment, moment)


def test_the_chunks_before_the_first_content_carry_no_token() -> None:
    stream = ChatStream()
    feed(stream, FILTER, ROLE, chunk({"content": "Hello"}), chunk({"content": " you"}), chunk({}, "stop"), USAGE)
    feed(stream, b"data: [DONE]\n\n")
    assert list(stream.times.at_ms) == [20.0, 30.0]
    assert stream.visible_ms == 20.0
    assert stream.finish_reason == "stop"
    assert stream.model == "gpt-4o-2024-11-20"
    assert stream.usage == Usage(12, 3, 1, 4, 15)
    assert stream.done
    assert not stream.cut


def test_reasoning_is_a_token_and_not_a_visible_one() -> None:
    stream = ChatStream()
    feed(stream, ROLE, chunk({"reasoning_content": "hm"}), chunk({"content": "Yes"}))
    assert stream.times.first_ms == 10.0
    assert stream.visible_ms == 20.0
    assert stream.reasoning_streamed


def test_a_tool_call_is_a_token() -> None:
    stream = ChatStream()
    feed(stream, ROLE, chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}))
    assert list(stream.times.at_ms) == [10.0]


@pytest.mark.parametrize("spacing", [(",", ":"), (", ", ": ")])
def test_content_is_found_whatever_the_spacing_of_the_json(spacing: tuple[str, str]) -> None:
    stream = ChatStream()
    for number in range(4):
        data = b"data: " + json.dumps(chunk({"content": f"w{number}"}), separators=spacing).encode() + b"\n\n"
        stream.feed(data, float(number), float(number))
    assert list(stream.times.at_ms) == [0.0, 1.0, 2.0, 3.0]


def test_text_that_quotes_the_marks_of_a_chunk_fools_nobody() -> None:
    stream = ChatStream()
    tricky = '"delta":{"content":"x","finish_reason":null'
    feed(stream, chunk({"content": "a"}), chunk({"content": ""}), chunk({"content": tricky}), chunk({"role": tricky}))
    assert list(stream.times.at_ms) == [0.0, 20.0]


def test_the_text_is_kept_only_when_asked_for() -> None:
    kept, left = ChatStream(keep_text=True), ChatStream()
    for stream in (kept, left):
        feed(stream, ROLE, chunk({"content": "Hel"}), chunk({"content": "lo"}))
    assert (kept.text, left.text) == ("Hello", "")


def test_an_error_inside_a_stream_of_status_200() -> None:
    stream = ChatStream()
    feed(stream, chunk({"content": "a"}), {"error": {"code": "server_error", "message": "it broke"}})
    assert stream.told == ToldError(Outcome.STREAM_ERROR, "server_error: it broke")


def test_an_async_filter_chunk_without_delta_is_no_token_even_after_the_finish() -> None:
    stream = ChatStream()
    offsets = {"check_offset": 1, "start_offset": 1, "end_offset": 9}
    late = {"id": "", "object": "", "choices": [{"index": 0, "content_filter_offsets": offsets, "finish_reason": None}]}
    feed(stream, chunk({"content": "a"}), chunk({}, "stop"), late, b"data: [DONE]\n\n")
    assert len(stream.times.at_ms) == 1
    assert stream.finish_reason == "stop"


@pytest.mark.parametrize("garbage", [b"{not json", b"\xff\xfe", b"[1, 2]", b"7", b'{"choices": "x"}'])
def test_an_event_that_is_no_chunk_is_noted_and_the_stream_goes_on(garbage: bytes) -> None:
    stream = ChatStream()
    feed(stream, chunk({"content": "a"}), b"data: " + garbage + b"\n\n", chunk({"content": "b"}))
    assert len(stream.times.at_ms) == 2
    assert (stream.undecodable is not None) == (garbage != b'{"choices": "x"}')


def test_a_stream_that_ends_without_finish_reason_is_cut() -> None:
    stream = ChatStream()
    feed(stream, ROLE, chunk({"content": "a"}))
    assert stream.cut


_CONTENTS = st.text(
    st.sampled_from(['"', "\\", "\n", "\r", "}", "{", ":", " ", "a", "Z", "~", "\x7f", "é", "→"]), max_size=4
)


@given(
    st.lists(_CONTENTS | st.sampled_from(["word", " the"]), min_size=2, max_size=20),
    st.booleans(),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.integers(0, 60),
    st.randoms(use_true_random=False),
)
def test_what_is_seen_at_a_glance_is_what_reading_it_whole_gives(
    contents: list[str], ascii_only: bool, line_end: bytes, cuts: int, rng: random.Random
) -> None:
    bodies = [chunk({"content": content}) for content in contents]
    bodies[rng.randrange(len(bodies))] = chunk({"content": "x"}, rng.choice([None, "stop"]))
    texts = [json.dumps(body, separators=(",", ":"), ensure_ascii=ascii_only).encode() for body in bodies]
    events = [b"data: " + text + line_end * 2 for text in texts]
    whole = b"".join(events)
    places = sorted(rng.choices(range(len(whole) + 1), k=cuts)) if rng.random() < 0.5 else []
    pieces = [whole[a:b] for a, b in pairwise([0, *places, len(whole)])] if places else events
    glancing, reading = ChatStream(), ChatStream(keep_text=True)
    for number, piece in enumerate(pieces):
        glancing.feed(piece, float(number), float(number))
        reading.feed(piece, float(number), float(number))
    assert list(glancing.times.at_ms) == list(reading.times.at_ms)
    assert len(reading.times.at_ms) == sum(bool(body["choices"][0]["delta"]["content"]) for body in bodies)
    assert glancing.visible_ms == reading.visible_ms
    assert glancing.undecodable is reading.undecodable is None


@pytest.mark.parametrize(
    ("data", "tokens"),
    [
        (b"", 0),
        (b'"', 0),  # ends the string: what follows is no JSON
        (b'","content":"y', 1),
        (b"x", 1),
        (b"\xc3", 0),
        (b"\xc3\xa9", 1),
    ],
)
def test_only_plain_characters_pass_at_a_glance(data: bytes, tokens: int) -> None:
    stream = ChatStream()
    feed(stream, chunk({"content": "a"}), chunk({"content": "b"}))  # learnt
    stream.feed(event(chunk({"content": "@"})).replace(b"@", data), 30.0, 30.0)
    assert len(stream.times.at_ms) == 2 + tokens


@given(st.lists(st.binary(max_size=80), max_size=12))
def test_any_bytes_are_taken_without_an_error(pieces: list[bytes]) -> None:
    stream = ChatStream(keep_text=True)
    for piece in pieces:
        stream.feed(b"data: " + piece + b"\n\n", 1.0, 0.0)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["choices", "delta", "content", "usage", "error", "finish_reason", "prompt_tokens"]), x
            )
        ),
    )
)
def test_any_json_is_taken_without_an_error(body: Any) -> None:
    stream = ChatStream()
    feed(stream, {"choices": [{"delta": body}], "usage": body}, body)
    read_body(json.dumps(body).encode())


def test_counts_that_are_missing_or_no_counts_stay_absent() -> None:
    assert parse_usage({"prompt_tokens": "12", "completion_tokens": True, "prompt_tokens_details": None}) == Usage(
        ill_formed=True
    )


def test_streamed_tokens_leave_out_hidden_reasoning_only() -> None:
    usage = Usage(10, 50, 20, None)
    assert streamed_tokens(usage, reasoning_streamed=False) == 30
    assert streamed_tokens(usage, reasoning_streamed=True) == 50
    assert streamed_tokens(None, reasoning_streamed=True) is None


def test_a_whole_answer() -> None:
    body = {
        "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        "model": "m",
    }
    answer = read_body(json.dumps(body).encode())
    assert (answer.outcome, answer.error, answer.text) == (Outcome.OK, None, "Hi")
    columns = {
        "finish_reason": "stop",
        "model": "m",
        "service_tier": None,
        **Usage(3, 1, None, None).columns(),
        "doubts": None,
    }
    assert answer.columns == columns


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices": []}', b'{"choices": [3]}'])
def test_a_whole_answer_that_is_none(body: bytes) -> None:
    assert read_body(body).outcome is Outcome.BAD_PAYLOAD


def test_errors_in_one_line() -> None:
    assert error_text({"code": "429", "message": "slow down"}) == "429: slow down"
    assert error_text({"type": "server_error"}) == "server_error"
    assert error_text("text") == "text"
    assert error_text({}) == "error without code or message"


def test_the_content_filters_refusal_is_recognised() -> None:
    assert is_content_filter(b'{"error": {"code": "content_filter"}}')
    assert not is_content_filter(b'{"error": {"code": "other"}}')
    assert not is_content_filter(b"<html>")


@pytest.mark.parametrize(
    "event",
    [
        b'{"choices":[{"delta":{"content":"x"},"finish_reason":null}],"created":1,"mod',
        b'{"choices":[{"delta":{"content":"\xff\xfe\xc3"},"finish_reason":null}]}',
    ],
    ids=["cut off", "not UTF-8"],
)
def test_a_spoilt_event_among_good_ones_is_no_token(event: bytes) -> None:
    stream = ChatStream()
    good = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":null}]}\n\n'
    stream.feed(good + b"data: " + event + b"\n\n" + good, 1.0, 0.0)
    assert len(stream.times.at_ms) == 2
    assert str(stream.undecodable).startswith("event is not JSON")


@pytest.mark.parametrize("body_of", [chat_body, completions_body])
def test_stream_options_can_be_left_out(body_of: Callable[[ChatRequest, str], dict[str, Any]]) -> None:
    messages = [{"role": "user", "content": "hi"}]
    assert body_of(ChatRequest(messages=messages), "m")["stream_options"] == {"include_usage": True}
    without = body_of(ChatRequest(messages=messages, stream_usage=False), "m")
    assert without["stream"] is True and "stream_options" not in without
