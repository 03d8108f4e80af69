"""The body of a question, from a template."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tokenswarm.apis.request import ChatRequest
from tokenswarm.apps.template import PLACEHOLDERS, Template
from tokenswarm.userinput import BadInput

MESSAGES = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": 'Three "quoted"\n?'},
]


def asked(**more: Any) -> ChatRequest:
    return ChatRequest(messages=MESSAGES, **more)


def filled(template: Any, **more: Any) -> Any:
    return Template(json.dumps(template), "gpt-rag").fill(asked(**more))


def test_each_placeholder() -> None:
    found = filled(
        {name: f"{{{{{name}}}}}" for name in PLACEHOLDERS}, session_id="s", conversation_id="c", max_tokens=9
    )
    assert len(found["request_id"]) == 36
    assert {name: value for name, value in found.items() if name != "request_id"} == {
        "question": MESSAGES[-1]["content"],
        "messages": MESSAGES,
        "messages_with_ids": [{"id": f"message-{n}", **each} for n, each in enumerate(MESSAGES, 1)],
        "ui_messages": [
            {"id": f"message-{n}", "role": each["role"], "parts": [{"type": "text", "text": each["content"]}]}
            for n, each in enumerate(MESSAGES, 1)
        ],
        "history": MESSAGES[:-1],
        "turns": [{"inputs": {"question": "One?"}, "outputs": {"answer": "Two."}}],
        "conversation_id": "c",
        "session_id": "s",
        "model": "gpt-rag",
        "max_tokens": 9,
    }


def test_what_has_no_value_is_left_out_and_what_is_null_stays() -> None:
    template = {"q": "{{question}}", "id": "{{conversation_id}}", "kept": None, "list": ["{{max_tokens}}", None, 1]}
    found = filled(template, session_id="s", conversation_id="s")
    assert found == {"q": MESSAGES[-1]["content"], "kept": None, "list": [None, 1]}


def test_a_placeholder_within_a_text_is_written_out() -> None:
    found = filled({"q": "<{{ question }}> id={{conversation_id}}", "own": {"deep": [{"x": True}]}})
    assert found == {"q": f"<{MESSAGES[-1]['content']}> id=", "own": {"deep": [{"x": True}]}}


def test_ids_made_up_here() -> None:
    template = Template('{"q": "{{question}}", "s": "{{session_id}}", "r": "{{request_id}}"}')
    one, other = template.fill(asked(session_id="s")), template.fill(asked(session_id="s"))
    assert one["s"] == other["s"] == "s" and one["r"] != other["r"]
    assert len(template.fill(asked())["s"]) == 36


def test_a_question_in_parts_is_its_texts() -> None:
    parts: Any = [{"type": "text", "text": "What is "}, {"type": "image_url", "image_url": {}}, {"text": "this?"}]
    request = ChatRequest(messages=[{"role": "user", "content": parts}])
    assert Template('["{{question}}"]').fill(request) == ["What is this?"]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("{", ["app-body: expected a JSON template, got '{'"]),
        ('"{{question}}"', ["app-body: expected a JSON object or array"]),
        ("{}", ["app-body: expected {{question}} or {{messages}} in it, got neither"]),
        ('{"{{question}}": 1}', ["app-body: expected {{question}}"]),
        ('{"q": "{{quesiton}}", "x": "{{}}"}', ["got {{quesiton}}", "got {{}}", "got neither"]),
        ("[" * 100_000, ["app-body: expected a JSON template"]),
    ],
)
def test_what_is_wrong_with_a_template(text: str, problems: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        Template(text)
    assert len(caught.value.problems) == len(problems)
    assert all(part in problem for part, problem in zip(problems, caught.value.problems, strict=True))
    assert all(len(problem) < 400 for problem in caught.value.problems)
