"""The Messages API as the anthropic SDK reads it."""

from __future__ import annotations

import base64
import struct
import zlib

import anthropic
import httpx2
import pytest

from tests.simulator.apis.conftest import last_row
from tests.simulator_process import API_KEY

TOOL = {
    "name": "look_up",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ASKED = {"model": "plain", "max_tokens": 8, "messages": [{"role": "user", "content": "how are you"}]}


def png(width: int, height: int) -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (width + 1) * height)
    return base64.b64encode(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    ).decode()


def test_a_stream_has_its_typed_events_in_order(simulator, claude):
    events = list(claude.messages.create(**ASKED, stream=True))
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        *(["ping"] if any(event.type == "ping" for event in events) else []),
        *["content_block_delta"] * 8,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0].message.usage.input_tokens == 10
    assert (events[-2].delta.stop_reason, events[-2].usage.output_tokens) == ("max_tokens", 8)
    row = last_row(simulator)
    assert (row["api"], row["chunks"], row["prompt_tokens"], row["completion_tokens"]) == ("messages", 8, 10, 8)


def test_the_stream_holds_a_ping_on_the_wire(simulator):
    headers = {"x-api-key": API_KEY, "anthropic-version": "2023-06-01"}
    answer = httpx2.post(simulator.chat_url + "/anthropic/v1/messages", json=ASKED | {"stream": True}, headers=headers)
    kinds = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]


def test_the_sdks_own_accumulation_and_an_answer_in_one_body(claude):
    with claude.messages.stream(**ASKED) as stream:
        streamed = stream.get_final_message()
    whole = claude.messages.create(**ASKED)
    for message in (streamed, whole):
        assert len(message.content[0].text.split()) == 8
        assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 8)


def test_a_tool_is_called_in_pieces_and_a_result_gets_a_text(claude):
    asked = ASKED | {"max_tokens": 100}
    with claude.messages.stream(**asked, tools=[TOOL]) as stream:
        called = stream.get_final_message()
    (use,) = called.content
    assert (use.type, use.name, called.stop_reason) == ("tool_use", "look_up", "tool_use")
    assert set(use.input) == {"city"}
    messages = [
        *asked["messages"],
        {"role": "assistant", "content": [use.to_dict()]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "rain"}]},
    ]
    after = claude.messages.create(**asked | {"messages": messages}, tools=[TOOL])
    assert after.content[0].type == "text"


def test_thinking_comes_first_and_only_when_asked_for(claude):
    asked = {**ASKED, "model": "shows-thoughts", "max_tokens": 2000}
    plain = claude.messages.create(**asked)
    assert [block.type for block in plain.content] == ["text"]
    with claude.messages.stream(**asked, thinking={"type": "enabled", "budget_tokens": 1024}) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert len(message.content[0].thinking.split()) == 6
    assert message.content[0].signature
    assert message.usage.output_tokens == 10


def test_a_stop_sequence_ends_the_answer(claude):
    messages = [{"role": "user", "content": "[[simulate answer: one two three four]]"}]
    cut = claude.messages.create(**ASKED | {"stop_sequences": ["three"], "messages": messages})
    assert (cut.stop_reason, cut.stop_sequence, cut.content[0].text) == ("stop_sequence", "three", "one two ")


def test_cached_tokens_are_told_apart(claude):
    long = ASKED | {"messages": [{"role": "user", "content": "same " * 1500}]}
    first, second = claude.messages.create(**long), claude.messages.create(**long)
    assert first.usage.cache_read_input_tokens == 0
    assert second.usage.cache_read_input_tokens == 1408
    assert second.usage.input_tokens == first.usage.input_tokens - 1408


def test_an_image_costs_its_area(claude):
    source = {"type": "base64", "media_type": "image/png", "data": png(750, 100)}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "how are you"}]
    message = claude.messages.create(**ASKED | {"messages": [{"role": "user", "content": content}]})
    assert message.usage.input_tokens == 110


def test_errors_are_in_its_own_words(simulator, claude):
    stranger = anthropic.Anthropic(base_url=simulator.chat_url, api_key="wrong", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError), stranger:
        stranger.messages.create(**ASKED)
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(**ASKED | {"model": "nobody"})
    with pytest.raises(anthropic.BadRequestError, match="maximum allowed"):
        claude.messages.create(**ASKED | {"max_tokens": 5000})
    simulator.admin("POST", "/admin/reset")
    with pytest.raises(anthropic.RateLimitError) as raised:
        for _ in range(4):
            claude.messages.create(**ASKED | {"model": "small-quota", "max_tokens": 490})
    assert raised.value.body["error"]["type"] == "rate_limit_error"
    assert raised.value.response.headers["anthropic-ratelimit-tokens-limit"] == "1000"
    assert raised.value.response.headers["anthropic-ratelimit-tokens-reset"].endswith("Z")
    without = httpx2.post(simulator.chat_url + "/v1/messages", json=ASKED, headers={"x-api-key": API_KEY})
    assert (without.status_code, without.json()["type"]) == (400, "error")


def test_models_are_listed_in_its_own_shape(claude):
    assert [model.id for model in claude.models.list()][:2] == ["plain", "thinker"]


def test_an_error_event_under_200(claude):
    headers = {"x-simulate-fault": "error_event"}
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        list(claude.messages.create(**ASKED, stream=True, extra_headers=headers))
