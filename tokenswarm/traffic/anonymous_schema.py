"""A JSON schema that says nothing: the same members, types and nesting, with other names and texts. Pure.

An empty schema would make a prompt shorter, and the answer of a model that has to follow it as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Words = Callable[[str], str]
_TYPES = frozenset(["object", "array", "string", "number", "integer", "boolean", "null"])
_NAMED = frozenset(["properties", "$defs", "definitions"])
_NESTED = frozenset(["items", "prefixItems", "anyOf", "allOf", "oneOf", "additionalProperties"])
_CHOICES = frozenset(["enum", "required"])
_TEXTS = frozenset(["description", "title"])
_MAX_NAME = 64
"""Characters that a service takes for a member's name."""


def anonymous_schema(schema: Any, words: Words) -> Any:
    """`words` gives those that stand for a text, the same for the same text. Keywords that are not of structure are
    left out: their values may say something."""
    if isinstance(schema, list):
        return [anonymous_schema(each, words) for each in schema]
    if not isinstance(schema, dict):
        return schema if isinstance(schema, bool) else True
    made = {name: _keyword(name, value, words) for name, value in schema.items()}
    return {name: value for name, value in made.items() if value is not None}


def _keyword(name: str, value: Any, words: Words) -> Any:
    """`None` for what is left out."""
    if name in _NAMED and isinstance(value, dict):
        return {_name(each, words): anonymous_schema(of, words) for each, of in value.items()}
    if name in _NESTED:
        return anonymous_schema(value, words)
    if name in _CHOICES and isinstance(value, list):
        return list(dict.fromkeys(_name(each, words) for each in value if isinstance(each, str))) or None
    if name == "const" or name in _TEXTS:
        return words(value) if isinstance(value, str) else None
    if name == "type":
        types = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
        known = [each for each in types if each in _TYPES]
        return known if isinstance(value, list) and known else next(iter(known), None)
    return _reference(value, words) if name == "$ref" and isinstance(value, str) else None


def _reference(text: str, words: Words) -> str | None:
    """To a definition of the same schema, `#/$defs/Person`; `#` is the whole."""
    begin, _, name = text.rpartition("/")
    if text == "#":
        return text
    return f"{begin}/{_name(name, words)}" if begin in ("#/$defs", "#/definitions") else None


def _name(text: str, words: Words) -> str:
    return words(text).replace(" ", "_")[:_MAX_NAME]
