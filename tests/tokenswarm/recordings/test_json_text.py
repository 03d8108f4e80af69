from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tokenswarm.recordings.json_text import edited, read_object

BODY = '{ "model" : "gpt-4o",\t"messages":[{"role":"user","content":"a\\u00e9 \\"} x"}] , "n":1e0 }'


def made(text: str, **changes: str | None) -> str:
    return edited(text, read_object(text), changes)


def test_nothing_changed_is_the_same_text() -> None:
    assert made(BODY) == BODY


def test_a_value_is_put_in_its_place_and_nothing_else_moves() -> None:
    assert made(BODY, model='"other"') == BODY.replace('"gpt-4o"', '"other"')


def test_a_missing_member_comes_first() -> None:
    assert made(BODY, stream="true") == '{"stream":true, ' + BODY[2:]
    assert made(" {} ", stream="true") == '{"stream":true}'


@pytest.mark.parametrize(
    ("gone", "left"), [("model", '{"b":2,"c":3}'), ("b", '{"model":1,"c":3}'), ("c", '{"model":1,"b":2}')]
)
def test_a_member_is_cut_with_its_comma(gone: str, left: str) -> None:
    assert made('{"model":1,"b":2,"c":3}', **{gone: None}) == left


def test_all_members_may_be_cut() -> None:
    assert made('{"a":1,"b":2}', a=None, b=None) == "{}"
    assert made('{"a":1}', a=None, b="2") == '{"b":2}'


def test_a_name_that_comes_twice_is_changed_twice() -> None:
    assert made('{"model":1,"model":2}', model="3") == '{"model":3,"model":3}'


def test_a_name_may_be_written_with_escapes() -> None:
    assert json.loads(made('{"mod\\u0065l":1}', model="3")) == {"model": 3}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a"}', '{"a":}', '{"a":1,}', '{"a":1 "b":2}', "{1:2}", '{"a":tru}'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|Unterminated"):
        read_object(text)


def test_an_object_within_is_read_as_text_too() -> None:
    found = read_object('{"id":"x","body": {"model":"m"} }', within="body").value("body")
    assert (found.begin, found.value("model")) == (18, "m")


def some_value(rng: random.Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.4:
        return rng.choice([None, True, -1.5e3, 7, "", 'a"b\\c}', "é\u2028😀", "x" * 30])
    if rng.random() < 0.5:
        return [some_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice("abcde"): some_value(rng, depth - 1) for _ in range(rng.randrange(5))}


def test_whatever_is_changed_the_rest_means_what_it_meant() -> None:
    """Against the standard library, on a thousand random objects."""
    rng = random.Random(5)
    for _ in range(1000):
        value = {key: some_value(rng, 3) for key in rng.sample("abcdef", rng.randrange(6))}
        text = json.dumps(value, indent=rng.choice([None, 1]), ensure_ascii=rng.random() < 0.5)
        gone, put = rng.sample("abcdefg", 2)
        expected = {**{key: each for key, each in value.items() if key != gone}, put: [0]}
        assert json.loads(made(text, **{gone: None, put: "[0]"})) == expected
