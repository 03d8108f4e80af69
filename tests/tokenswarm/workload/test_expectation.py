from __future__ import annotations

import json
from typing import Any

import pytest

from tokenswarm.record import RIGHT as RIGHT_IN_RECORDS
from tokenswarm.userinput import BadInput
from tokenswarm.workload.dataset import parse_dataset
from tokenswarm.workload.expectation import RIGHT, answer_hash, parse_expectation

SCHEMA = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}


@pytest.mark.parametrize(
    ("expect", "right", "wrong"),
    [
        ("Paris", "It is paris.", "It is Rome."),
        ("contains: Paris", "Paris!", "Rome"),
        ("lacks: Rome", "Paris", "ROME"),
        ("equals: forty two", "Forty  two\n", "forty-two"),
        (r"regex: ^\d+ %$", "12 %", "about 12 %"),
        ("note: the capital is Paris", "A note: the capital is Paris, yes", "Paris"),  # no kind of check: plain text
        ("citation", "See [handbook.pdf].", "See the handbook."),
        ("citation", "As stated [doc1]", "It is [sic] so"),
        ("citation: no", "No source", "See https://example.com/a"),
        ("refusal", "I’m sorry, I cannot help with that.", "Sure: here it is."),
        ("refusal: no", "Sure: here it is.", "I don't know."),
        (f"schema: {json.dumps(SCHEMA)}", '{"total": 3}', '{"total": "3"}'),
        (json.dumps({"schema": SCHEMA}), ' {"total": 3.5} ', "total: 3"),
        ({"contains": "Paris", "citation": True}, "Paris [a.pdf]", "Paris"),
        ({"schema": {"$ref": "http://127.0.0.1:9/none"}}, None, "{}"),  # not fetched, and never right
    ],
)
def test_each_kind_tells_right_from_wrong(expect: Any, right: str | None, wrong: str) -> None:
    expectation = parse_expectation(expect)
    if right is not None:
        assert expectation.columns(right)["answer_check"] == RIGHT == RIGHT_IN_RECORDS
    assert expectation.columns(wrong)["answer_check"] != RIGHT


WEATHER = {"tool": {"name": "weather", "arguments": {"required": ["city"], "properties": {"city": {"type": "string"}}}}}


@pytest.mark.parametrize(
    ("expect", "calls", "is_right"),
    [
        ("tool: weather", [("weather", "{}")], True),
        ("tool: weather", [("weather", "")], True),  # no arguments at all
        ("tool: weather", [("time", "{}")], False),
        ("tool: weather", [], False),
        ("tool: no", [], True),
        ("tool: no", [("weather", "{}")], False),
        (WEATHER, [("weather", '{"city": "Oslo"}')], True),
        (f"tool: {json.dumps(WEATHER['tool'])}", [("weather", '{"city": "Oslo"}')], True),
        (WEATHER, [("weather", '{"city": 7}')], False),
        (WEATHER, [("weather", '{"city": "Os')], False),  # cut
        (WEATHER, [("weather", '{"city": "Oslo"}'), ("weather", "{}")], False),  # each time
        (WEATHER, [("time", "{}"), ("weather", '{"city": "Oslo"}')], True),
    ],
)
def test_tools_are_judged_by_name_and_arguments(expect: Any, calls: list[tuple[str, str]], is_right: bool) -> None:
    expectation = parse_expectation(expect)
    assert expectation.needs_tools
    assert (expectation.columns("", calls)["answer_check"] == RIGHT) == is_right


def test_a_refusal_that_the_service_marks_is_one_in_any_language() -> None:
    assert parse_expectation("refusal").columns("Das geht nicht.", (), True)["answer_check"] == RIGHT
    assert parse_expectation("refusal: no").columns("Das geht nicht.", (), True)["answer_check"] == "refusal"
    assert parse_expectation("citation").columns("Das geht nicht.", (), True)["answer_check"] == "citation"


def test_answers_of_other_arguments_are_other_answers() -> None:
    expectation = parse_expectation("tool: weather")
    hashes = {
        expectation.columns("", [("weather", text)])["answer_hash"] for text in ('{"city":"Oslo"}', '{"city":"Rome"}')
    }
    assert len(hashes) == 2


def test_what_was_missed_is_named() -> None:
    expectation = parse_expectation({"contains": "Paris", "citation": True, "lacks": "Rome"})
    assert expectation.columns("Rome")["answer_check"] == "contains; citation; lacks"


def test_the_hash_is_of_the_words() -> None:
    assert answer_hash("Forty  TWO\n") == answer_hash("forty two") != answer_hash("forty three")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"contain": "x"}, "expected contains, lacks, equals, regex, schema, tool, citation, refusal, got 'contain'"),
        ({"contains": ""}, "contains: expected text"),
        ({"regex": "("}, "regex: expected a regular expression"),
        ({"schema": {"type": "text"}}, "schema: expected a JSON Schema"),
        ({"tool": {"arguments": {}}}, "tool: expected text"),
        ({"tool": {"name": "f", "arguments": {"type": "text"}}}, "tool: expected a JSON Schema"),
        ({"tool": {"name": "f", "args": {}}}, "tool: expected name and arguments, got 'args'"),
        ({"citation": "maybe"}, "citation: expected true or false"),
        ("refusal: maybe", "refusal: expected true or false"),
        ("{not json", "expected a JSON object"),
        ("schema: {", "Expecting"),
        ([], "expected text or an object"),
        ({}, "expected text or an object"),
        (7, "expected text or an object"),
    ],
)
def test_mistakes_are_named(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace("{", r"\{")):
        parse_expectation(value)


def test_a_dataset_says_it_for_each_question_in_both_forms() -> None:
    csv = parse_dataset(b'question,expect\nCapital of France?,Paris\n"Sum, please?",\n', "csv")
    jsonl = parse_dataset(b'{"turns": ["a", "b"], "expect": {"contains": "Paris"}}\n', "jsonl")
    assert [question.expected_at(1) is not None for question in csv] == [True, False]
    assert [jsonl[0].expected_at(turn) is not None for turn in (1, 2, 3)] == [False, True, False]


def test_a_dataset_with_a_wrong_expectation_is_refused_with_its_line() -> None:
    with pytest.raises(BadInput, match="dataset:3: expect: regex: expected a regular expression"):
        parse_dataset(b"question,expect\na,b\nc,regex: (\n", "csv")


def test_where_tools_are_answered_their_calls_are_judged_first_and_the_text_last() -> None:
    expect = parse_expectation({"tool": "get_weather", "contains": "18"})
    call = [("get_weather", "{}")]
    first, later = expect.judge_of_round(True), expect.judge_of_round(False)
    assert first("", call, False)["answer_check"] == "right"
    assert first("", [("other", "{}")], False)["answer_check"] == "tool"
    assert first("It is 18.", (), False)["answer_check"] == "tool", "it should have called"
    assert later("", call, False) == {}
    assert later("It is 18.", (), False)["answer_check"] == "right"
    assert later("No.", (), False)["answer_check"] == "contains"
