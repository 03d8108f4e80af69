"""What is made for a schema satisfies it: jsonschema judges."""

from __future__ import annotations

import random

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.service.latency import WORDS
from simulator.service.schema import FORMATS, Unsatisfiable, satisfy

TREE = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/node"}},
    "required": ["root"],
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value", "children"],
            "additionalProperties": False,
        }
    },
}
LIST = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["next"],
}
LIST_THE_OTHER_WAY = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "more": {"$ref": "#"}},
    "required": ["next"],
}
SCHEMAS = [
    {},
    {"const": {"a": [1]}},
    {"enum": ["x", 2, None]},
    {"type": ["null", "integer"]},
    {"type": "string", "minLength": 40, "maxLength": 41},
    {"type": "string", "maxLength": 3},
    {"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6},
    {"type": "integer", "minimum": -10, "maximum": 10, "multipleOf": 7},
    {"type": "number", "maximum": -3},
    {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 5},
    {"type": "array", "items": {"type": "string"}, "maxItems": 1},
    {"properties": {"a": {"type": "string"}}, "required": ["a", "b"]},
    {"allOf": [{"properties": {"a": {"type": "null"}}, "required": ["a"]}, {"required": ["b"]}], "type": "object"},
    {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    TREE,
    LIST,
    LIST_THE_OTHER_WAY,
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_values_satisfy_their_schema(schema):
    for seed in range(20):
        value = satisfy(schema, random.Random(seed), WORDS)
        jsonschema.Draft202012Validator(schema).validate(value)


@pytest.mark.parametrize("form", FORMATS)
def test_formats(form):
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    value = satisfy({"type": "string", "format": form}, random.Random(1), WORDS)
    jsonschema.Draft202012Validator({"format": form}, format_checker=checker).validate(value)


LEAVES = st.sampled_from(
    [{"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}, {"enum": ["a", "b"]}]
)
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(lambda one, low: {"type": "array", "items": one, "minItems": low}, inner, st.integers(0, 4))
        | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3).map(
            lambda fields: {
                "type": "object",
                "properties": fields,
                "required": list(fields),
                "additionalProperties": False,
            }
        )
        | st.lists(inner, min_size=1, max_size=2).map(lambda options: {"anyOf": options})
    ),
    max_leaves=8,
)


@given(NESTED, st.integers(0, 1000))
def test_any_nested_schema_is_satisfied(schema, seed):
    jsonschema.Draft202012Validator(schema).validate(satisfy(schema, random.Random(seed), WORDS))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^a"},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"$ref": "#/nowhere"},
        {"enum": []},
        {"type": "thing"},
    ],
    ids=str,
)
def test_what_cannot_be_made_is_said(schema):
    with pytest.raises(Unsatisfiable):
        satisfy(schema, random.Random(1), WORDS)
