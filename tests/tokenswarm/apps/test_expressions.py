"""Expressions: what is compiled means what the library's interpreter makes of it."""

from __future__ import annotations

from typing import Any

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jmespath.exceptions import JMESPathError

from tokenswarm.apps.expressions import Expression
from tokenswarm.apps.mapping import preset_names, read_preset
from tokenswarm.userinput import BadInput

COMPILED = [
    "a",
    "a.b.c",
    "a[0].b",
    "[0].a",
    "[-1]",
    "a || b",
    "a && b",
    "!a",
    "a | b",
    "a == 'x' && b",
    "a != 'x'",
    "(a == 'x' || a == 'y') && b",
    "'x' == a",
    '"0"',
    "@",
    "a == 'x' && (b.c || @)",
]
INTERPRETED = ["a == `1`", "a[].b", "contains(a, 'x')", "[?a == 'x'].b", "a > `2`", "starts_with(a, 'x') && b"]
NAMES = st.sampled_from(["a", "b", "c", "0"])
LEAVES = st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["", "x", "y", "text"]) | st.just(0.0)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)


@pytest.mark.parametrize("text", [*COMPILED, *INTERPRETED])
def test_which_are_compiled(text: str) -> None:
    assert Expression(text, "app-text").is_compiled == (text in COMPILED)


@given(text=st.sampled_from([*COMPILED, *INTERPRETED]), value=VALUES)
def test_a_compiled_one_means_what_the_library_says(text: str, value: Any) -> None:
    found = Expression(text, "app-text").evaluate(value)
    try:
        expected = jmespath.search(text, value)
    except (JMESPathError, TypeError):
        expected = None
    assert (type(found), found) == (type(expected), expected)


def test_a_text_beside_a_number_is_not_greater_and_no_traceback() -> None:
    assert Expression("a > `2`", "app-text").evaluate({"a": ""}) is None


@pytest.mark.parametrize("text", ["a.", "a ==", "a b", "[", "a = 'x'", "nonsense(a", ".a", "{{question}}"])
def test_what_is_no_expression_is_said_with_its_option(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        Expression(text, "app-end")
    (problem,) = caught.value.problems
    assert problem.startswith("app-end: expected a JMESPath expression, got ") and "\n" not in problem


def test_texts_in_a_list_are_one_text() -> None:
    parts = Expression("content[].text", "app-text")
    assert parts.text_in({"content": [{"text": "How "}, {"image": 1}, {"text": "so?"}]}) == "How so?"
    assert [parts.text_in(value) for value in ({"content": 3}, {"content": [{"text": 3}]}, [], "x", None)] == [""] * 5


@pytest.mark.parametrize("name", [name for name in preset_names() if not name.startswith("gpt-rag-v")])
def test_presets_of_streams_cost_no_interpreter(name: str) -> None:
    options = read_preset(name)
    fields = ("text", "conversation", "error", "end", "progress", "usage")
    texts = [options[f"app-{field}"] for field in fields if f"app-{field}" in options]
    assert texts and all(Expression(text, "app").is_compiled for text in texts)
