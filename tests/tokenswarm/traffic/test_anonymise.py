from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tokenswarm.recordings.test_index import write
from tokenswarm.recordings.scan import scan
from tokenswarm.traffic.__main__ import main
from tokenswarm.traffic.anonymise import Anonymiser
from tokenswarm.workload.prompts import estimate_tokens

SECRET = "Zaphod Beeblebrox of Betelgeuse"


def line_with_names() -> dict[str, Any]:
    """A name wherever a request can hold one."""
    call = {"id": SECRET, "type": "function", "function": {"name": SECRET, "arguments": json.dumps({"who": SECRET})}}
    schema = {"type": "object", "properties": {SECRET: {"type": "string", "description": SECRET}}, "required": [SECRET]}
    body = {
        "model": "m", "user": SECRET, "metadata": {SECRET: SECRET}, "max_tokens": 7, "stop": [SECRET],
        "messages": [
            {"role": "system", "content": SECRET, "name": SECRET},
            {"role": "user", "content": [{"type": "text", "text": SECRET},
                                         {"type": "image_url", "image_url": {"url": SECRET}}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": SECRET, "content": SECRET},
        ],
        "tools": [{"type": "function", "function": {"name": SECRET, "description": SECRET, "parameters": schema}}],
    }  # fmt: skip
    return {"custom_id": SECRET, "session_id": SECRET, "method": "POST", "url": "/v1/chat/completions", "body": body}


WORD = "zaphod"
ODD: list[dict[str, Any]] = [
    {"url": f"https://{WORD}.example/openai/deployments/{WORD}/chat/completions?user={WORD}", WORD: SECRET, "body": {
        "model": f"ft:gpt-4o:{WORD}::1", WORD: 1, "messages": [
            {"role": "assistant", "content": [{"type": "image_url", "image_url": WORD}], "function_call": {
                "name": WORD, "arguments": WORD}},
            {"role": WORD, "content": "x", WORD: {WORD: WORD}, "annotations": [{"url": WORD}], "audio": {"id": WORD}}],
        "web_search_options": {"user_location": {"approximate": {"city": WORD}}}, "tool_choice": SECRET}},
    {"url": "/v1/responses", "body": {"model": WORD, "input": [{"type": "input_file", "file_data": WORD},
        {"role": "user", "content": WORD}], "prompt": {"id": WORD, "variables": {WORD: WORD}}, "conversation": WORD,
        "tools": [{"type": "mcp", "server_url": WORD, "headers": {"Authorization": WORD}}, {"type": "web_search"}]}},
    {"url": "/v1/embeddings", "body": {"model": f"{WORD}-embedding-3", "input": [WORD, SECRET]}},
    {"conversations": [{"from": "human", "value": WORD, WORD: 1}], "system": WORD, "model": f"Model {WORD}"},
    {"steps": [{"id": WORD, "note": WORD, "body": {"messages": [{"role": "user", "content": [
        {"type": "tool_use", "id": WORD, "name": WORD, "input": {WORD: 1, "type": WORD, "url": WORD, "model": WORD}},
        ]}]}}]},
]  # fmt: skip
"""Lower case, and where few would look for it."""


@pytest.mark.parametrize("line", ODD)
def test_a_name_is_left_neither_as_a_key_nor_in_a_url_nor_in_a_model(line: dict[str, Any], tmp_path: Path) -> None:
    source, made = write(tmp_path / "r.jsonl", line), tmp_path / "out.jsonl"
    assert main(["anonymise", str(source), "-o", str(made)]) == 0
    assert WORD in source.read_text() and WORD not in made.read_text().lower()
    assert scan(made, "chat", 0).first_asks == scan(source, "chat", 0).first_asks


def test_what_says_nothing_stays_and_tokens_become_others() -> None:
    body = {"model": "gpt-4.1-mini-2025-04-14", "reasoning_effort": "low", "stream_options": {"include_usage": True},
            "modalities": ["text"], "cache_control": {"type": "ephemeral", "ttl": "1h"},
            "tool_choice": "auto", "n": 2, "stop": None, "timestamp": "2026-01-01T00:00:00Z",
            "text": {"format": {"type": "json_object"}, "verbosity": "low"}}  # fmt: skip
    assert Anonymiser(b"k").line(body) == body
    one, other = Anonymiser(b"k").line({"input": [[5, 6, 7], [5, 6, 8]]})["input"]
    assert (one[:2], len(one)) == (other[:2], 3) and one[2] != other[2] and one != [5, 6, 7]
    assert Anonymiser(b"k").line({"timestamp": "of Zaphod"}) == {"timestamp": None}


def test_no_planted_name_is_left(tmp_path: Path) -> None:
    source, made = write(tmp_path / "r.jsonl", line_with_names()), tmp_path / "out.jsonl"
    assert main(["anonymise", str(source), "-o", str(made)]) == 0
    text = made.read_text()
    assert not [word for word in SECRET.split() if len(word) > 2 and word.lower() in text.lower()]
    assert len(scan(made, "chat", 0)) == 1
    body = json.loads(text)["body"]
    assert (body["model"], body["max_tokens"], body["messages"][0]["role"]) == ("m", 7, "system")
    assert body["messages"][3]["tool_call_id"] == body["messages"][2]["tool_calls"][0]["id"]
    assert [part["type"] for part in body["messages"][1]["content"]] == [
        "text"
    ]  # no service takes an image without one
    json.loads(body["messages"][2]["tool_calls"][0]["function"]["arguments"])


def test_what_a_tool_said_still_belongs_to_its_call() -> None:
    """In the messages API."""
    call, said = {"type": "tool_use", "id": SECRET}, {"type": "tool_result", "tool_use_id": SECRET, "content": SECRET}
    content = Anonymiser(b"k").line({"content": [call, said]})["content"]
    assert content[0]["id"] == content[1]["tool_use_id"] != SECRET


@pytest.mark.parametrize("text", ["", "a", "Hello, world!", "é" * 50, SECRET * 20])
def test_as_many_words_as_tokens(text: str) -> None:
    assert len(Anonymiser(b"k").words(text).split()) == estimate_tokens(text)


def test_texts_share_the_beginnings_that_they_shared() -> None:
    anonymiser = Anonymiser(b"k")  # by another key the first words that differ may be the same by chance
    one, other = (anonymiser.words("You are the help desk. " * 10 + end).split() for end in ("Anna asks", "Berta asks"))
    shared = next(place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    assert shared == len("You are the help desk. " * 10) // 4


def test_another_key_says_something_else() -> None:
    assert Anonymiser(b"a").words(SECRET) != Anonymiser(b"b").words(SECRET)
    assert Anonymiser(b"a").identity("x") != Anonymiser(b"b").identity("x")
