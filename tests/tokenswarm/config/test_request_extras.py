from __future__ import annotations

import json
import random
from typing import Any

import openai
import pytest

from tests.scripted_server import scripted_server
from tokenswarm.apis.chat_completions import ChatCompletions
from tokenswarm.apis.request import ChatRequest, chat_body
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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": {"b": [NaN]}}', "expected a number that JSON can say for a.b.0, got nan"),
        ('{"a": 1e999}', "expected a number that JSON can say for a, got inf"),
        ('{"a": "\\ud800"}', "expected text for a, got half of a surrogate pair"),
        ('{"stream_options": "x"}', "expected an object for stream_options, got str"),
        ('{"previous_response_id": "resp_1"}', "the option earlier-turns decides it"),
    ],
)
def test_values_that_no_body_can_have(text: str, problem: str) -> None:
    (found,) = problems(parse_extra_body, text)
    assert found.startswith("extra-body: ") and problem in found


@pytest.mark.parametrize(
    "text", ['{"stream_options": null}', '{"a": "it is uniform(1, 5)"}', '{"a": "\\ud83d\\ude00"}']
)
def test_values_that_a_body_can_have(text: str) -> None:
    body = parse_extra_body(text)
    asked = ChatRequest(messages=[], body=body.sample(random.Random(1)))
    assert ChatCompletions("m").encode(asked).body


def test_what_comes_twice_is_told_and_not_dropped() -> None:
    assert problems(headers, "X-A: 1; x-a: 2") == ["headers: expected each name once, got x-a 2 times"]
    assert problems(query, "a=1&b=2&a=3&a=4") == ["query: expected each name once, got a 3 times"]
    assert problems(query, "=1") == ["query: expected name=value&name=value, got a value without a name"]


@pytest.mark.parametrize("value", ["${APIM_KEY", "x${}", "${1A}"])
def test_a_reference_that_is_not_closed_is_told(value: str) -> None:
    said = "headers: expected ${NAME} in X-Key, got ${ without a name and a closing brace"
    assert problems(headers, f"X-Key: {value}") == [said]
