from __future__ import annotations

import json
import random
from typing import Any

import openai
import pytest

from tests.scripted_server import scripted_server
from tokenswarm.apis.chat_completions import ChatCompletions, chat_body
from tokenswarm.apis.request import ChatRequest
from tokenswarm.config.request_extras import (
    BodyFields,
    parse_extra_body,
    parse_headers,
    parse_query,
    references,
)
from tokenswarm.userinput import BadInput

ENVIRONMENT = {"APIM_KEY": "s3cret-apim-key", "TWO_LINES": "a\r\nX-Injected: b"}


def problems(parse: Any, text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        parse(text)
    return caught.value.problems


def headers(text: str) -> Any:
    return parse_headers(text, ENVIRONMENT.get)


def query(text: str) -> Any:
    return parse_query(text, ENVIRONMENT.get)


def test_headers_as_pairs() -> None:
    found = headers("X-Tenant: blue; Ocp-Apim-Subscription-Key: ${APIM_KEY}")
    assert found.values == {"X-Tenant": "blue", "Ocp-Apim-Subscription-Key": "s3cret-apim-key"}
    assert found.secrets == ("s3cret-apim-key",)


def test_headers_as_json_may_have_semicolons() -> None:
    found = headers('{"X-Route": "a; b", "Authorization": "Bearer ${APIM_KEY}"}')
    assert found.values == {"X-Route": "a; b", "Authorization": "Bearer s3cret-apim-key"}
    assert set(found.secrets) == {"s3cret-apim-key", "Bearer s3cret-apim-key"}


def test_a_literal_key_is_a_secret_too() -> None:
    assert headers("Ocp-Apim-Subscription-Key: typed-in-here").secrets == ("typed-in-here",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("X-Tenant blue", "headers: expected Name: value; Name: value, got header 1 without a colon"),
        (";", "headers: expected Name: value; Name: value, got header 1 without a colon"),
        ("X Y: 1", "headers: expected a header name, got 'X Y'"),
        ("Content-Length: 3", "headers: expected no Content-Length: it belongs to the connection"),
        ("host: elsewhere", "headers: expected no host: it belongs to the connection"),
        ('{"A": "b\\r\\nC: d"}', "headers: expected one line for A, got a line end"),
        ("A: ${NOT_SET}", "headers: refers to NOT_SET, which is not set"),
        ("A: ${TWO_LINES}", "headers: expected one line in TWO_LINES, got a line end"),
        ("A: grün", "headers: expected ASCII for A, got other characters"),
        ('{"A": 1}', "headers: expected a text for 'A', got int"),
        ('{"A": ', "headers: expected a JSON object, got none"),
    ],
)
def test_headers_that_cannot_be(text: str, problem: str) -> None:
    (found,) = problems(headers, text)
    assert found.startswith(problem)


def test_all_problems_at_once() -> None:
    assert len(problems(headers, "X Y: 1; Content-Length: 3; A: ${NOT_SET}")) == 3


def test_query() -> None:
    found = query("?api-version=2025-01-01&key=${APIM_KEY}&empty=")
    assert found.values == {"api-version": "2025-01-01", "key": "s3cret-apim-key", "empty": ""}
    assert found.secrets == ("s3cret-apim-key",)
    assert problems(query, "no pairs here") == ["query: expected name=value&name=value, got a part without ="]


def test_references() -> None:
    assert references("${A} and ${B_2}, $C, {D}") == ["A", "B_2"]


def test_extra_body_nested_with_draws() -> None:
    fields = parse_extra_body(
        '{"reasoning_effort": "low", "min_tokens": "uniform(3, 5)", "x": {"t": "uniform(0, 0.5)"}}'
    )
    drawn = [fields.sample(random.Random(seed)) for seed in range(200)]
    assert {each["min_tokens"] for each in drawn} == {3, 4, 5}
    assert all(0 <= each["x"]["t"] <= 0.5 for each in drawn) and len({each["x"]["t"] for each in drawn}) > 100
    assert {each["reasoning_effort"] for each in drawn} == {"low"}
    assert fields.sample(random.Random(7)) == fields.sample(random.Random(7))


def test_extra_body_without_draws_is_what_was_given() -> None:
    given = {"tools": [{"type": "function", "function": {"name": "f"}}], "service_tier": "flex", "note": "uniform"}
    assert parse_extra_body(json.dumps(given)).sample(random.Random(1)) == given


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1]", "extra-body: expected a JSON object, got list"),
        ("{", "extra-body: expected a JSON object, got none"),
        ('{"stream": false}', "extra-body: expected no 'stream': the option stream decides it"),
        ('{"n": 2}', "extra-body: expected no 'n': the option n decides it"),
        ('{"max_completion_tokens": 2}', "extra-body: expected no 'max_completion_tokens': the option max-tokens"),
        ('{"stream_options": {"include_usage": false}}', "extra-body: expected stream_options with include_usage"),
    ],
)
def test_extra_body_that_contradicts_the_measurement(text: str, problem: str) -> None:
    (found,) = problems(parse_extra_body, text)
    assert found.startswith(problem)


def test_the_sdk_sends_the_same_bytes() -> None:
    fields = {"reasoning_effort": "low", "vendor": {"a": [1, {"b": None}]}, "tools": [{"type": "function"}]}
    messages = [{"role": "user", "content": "ü"}]
    answer = b'{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[]}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
    with scripted_server([head + answer]) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0)
        client.chat.completions.create(model="m", messages=messages, extra_body=fields)  # type: ignore[arg-type]
    sent = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
    request = ChatRequest(messages=messages, stream=False, body=parse_extra_body(json.dumps(fields)).fields)
    assert sent == json.loads(ChatCompletions("m").encode(request).body)


def test_stream_options_keep_include_usage() -> None:
    request = ChatRequest(messages=[], body={"stream_options": {"include_obfuscation": False}})
    assert chat_body(request, "m")["stream_options"] == {"include_usage": True, "include_obfuscation": False}


def test_a_text_that_only_looks_like_a_distribution_stays_a_text() -> None:
    fields = parse_extra_body('{"a": "uniform(5, 1)", "b": "normal", "c": "f(1, 2)"}')
    assert fields == BodyFields({"a": "uniform(5, 1)", "b": "normal", "c": "f(1, 2)"}, False)
