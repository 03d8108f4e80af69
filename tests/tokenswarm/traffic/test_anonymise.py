from __future__ import annotations

import json
import os
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
    anonymiser = Anonymiser(os.urandom(32))
    one, other = (anonymiser.words("You are the help desk. " * 10 + end).split() for end in ("Anna asks", "Berta asks"))
    shared = next(place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    assert shared == len("You are the help desk. " * 10) // 4


def test_another_key_says_something_else() -> None:
    assert Anonymiser(b"a").words(SECRET) != Anonymiser(b"b").words(SECRET)
    assert Anonymiser(b"a").identity("x") != Anonymiser(b"b").identity("x")
