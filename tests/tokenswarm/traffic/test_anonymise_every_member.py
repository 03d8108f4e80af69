"""Names, addresses and numbers planted in every member that a request can have."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.traffic.anonymise import Anonymiser
from tokenswarm.traffic.anonymous_schema import anonymous_schema
from tokenswarm.workload.prompts import estimate_tokens

LINES = [json.loads(line) for line in Path(__file__).with_name("every_member.jsonl").read_text().splitlines()]
"""Requests with all that the reference of their API has: chat, responses, messages, embeddings, completions; a
conversation of ShareGPT, and a graph."""
NUMBER = 4915112345678
PLANTED = ["zaphod", "Zaphod Beeblebrox", "zaphod@example.com", "https://zaphod.example/zaphod", "zaphod_beeblebrox.v2",
           "zaphod-1", str(NUMBER), NUMBER, {"zaphod": "zaphod"}, ["zaphod"], [NUMBER, "zaphod"], [{"zaphod": NUMBER}],
           {"value": NUMBER, "text": "zaphod"}, [NUMBER], [[NUMBER + 0.5]]]  # fmt: skip
COUNTS = {"n", "temperature", "top_p", "max_tokens", "max_output_tokens", "budget_tokens", "dimensions",
          "tool_s", "timestamp"}  # fmt: skip
"""Members whose value is a number, which stays."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    names: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for name in names:
        yield (*path, name)
        yield from places(value[name], (*path, name))


def with_planted(line: dict[str, Any], path: tuple[Any, ...], planted: Any) -> dict[str, Any]:
    made = copy.deepcopy(line)
    at: Any = made
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = planted
    return made


@pytest.mark.parametrize("line", LINES, ids=lambda line: str(line.get("url", next(iter(line)))))
def test_nothing_planted_is_left_wherever_it_stood(line: dict[str, Any]) -> None:
    anonymiser = Anonymiser(b"k")
    for path in places(line):
        for planted in PLANTED:
            made = json.dumps(anonymiser.line(with_planted(line, path, planted))).lower()
            if not (planted == NUMBER and path[-1] in COUNTS):
                assert not any(word in made for word in ("zaphod", "beeblebrox", str(NUMBER))), (path, planted)


SCHEMA = {"type": "object", "description": "A person of our customers", "additionalProperties": False,
          "properties": {"first_name": {"type": ["string", "null"], "enum": ["Zaphod", "Ford"], "pattern": "^Z"},
                         "children": {"type": "array", "items": {"$ref": "#/$defs/Person"}, "maxItems": 4},
                         "owner": {"anyOf": [{"$ref": "#"}, {"type": "null"}], "default": "Zaphod"}},
          "required": ["first_name", "children"],
          "$defs": {"Person": {"type": "object", "properties": {"age": {"type": "integer"}}}}}  # fmt: skip


def test_a_schema_keeps_its_form_and_length_and_no_name() -> None:
    anonymiser = Anonymiser(b"k")
    made = anonymous_schema(SCHEMA, anonymiser.words)
    first, children, owner = made["properties"].values()
    assert made["required"] == list(made["properties"])[:2]
    assert (first["type"], len(first["enum"])) == (["string", "null"], 2)
    assert children == {"type": "array", "items": {"$ref": f"#/$defs/{next(iter(made['$defs']))}"}}
    assert owner == {"anyOf": [{"$ref": "#"}, {"type": "null"}]} and made["additionalProperties"] is False
    assert 0.7 < estimate_tokens(json.dumps(made)) / estimate_tokens(json.dumps(SCHEMA)) < 1.5
    assert not any(word in json.dumps(made) for word in ("Zaphod", "Person", "name", "age", "customers", "^Z"))


def test_words_in_place_of_a_stop_sequence_would_end_answers() -> None:
    made = Anonymiser(b"k").line({"stop": ["END", "\n\n"], "stop_sequences": "Human:"})
    assert all(text.startswith("id-") for text in [*made["stop"], made["stop_sequences"]])


def test_tools_of_the_service_are_left_out_with_what_they_said() -> None:
    """Without their members, which would name people and servers, no service takes them."""
    body = {"tools": [{"type": "mcp", "server_url": "u"}, {"type": "computer_use_preview"},
                      {"type": "web_search_20250305", "name": "web_search"}], "tool_choice": "auto",
            "input": [{"type": "web_search_call", "id": "w", "action": {}}, {"type": "message", "role": "user",
                      "content": "Hi"}, {"type": "function_call_output", "call_id": "c", "output": "x"},
                      {"type": "of_zaphod"}]}  # fmt: skip
    made = Anonymiser(b"k").line(body)
    assert [item["type"] for item in made["input"]] == ["message", "function_call_output"]
    assert made.keys() == {"input"}
    custom = {"type": "custom", "custom": {"name": "n", "format": {"type": "grammar", "grammar": {}}}}
    (tool,) = Anonymiser(b"k").line({"tools": [custom]})["tools"]
    assert tool["custom"]["format"] == {"type": "text"} and len(tool["custom"]["name"]) > 4


def test_a_request_for_json_still_has_the_word_that_services_ask_for() -> None:
    """OpenAI refuses `json_object` where no message has it: 'messages' must contain the word 'json' in some form."""
    anonymiser = Anonymiser(b"k")
    asked, other = "Answer Zaphod in JSON, please.", "Answer Zaphod in JSON and so on"
    assert "json" in anonymiser.words(asked).split() and len(anonymiser.words(asked).split()) == estimate_tokens(asked)
    assert anonymiser.words(asked).split()[:5] == anonymiser.words(other).split()[:5]


def test_names_of_tools_are_about_as_long_and_none_is_another_s() -> None:
    names = [f"get_weather_in_town_{number}" for number in range(2000)] + ["a", "b"]
    made = [Anonymiser(b"k").line({"name": name})["name"] for name in names]
    assert len(set(made)) == len(names) and max(map(len, made)) <= 64
    assert Anonymiser(b"k").line({"tools": [{"name": "a"}]})["tools"][0]["name"] == made[-2]
