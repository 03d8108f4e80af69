"""Where something is in an event: JMESPath expressions, of which the plain ones are turned into Python closures.

JMESPath, because dotted paths are a part of it and conditions on an event's type are, too; its grammar and its meaning
are the library's. Its interpreter takes 10 microseconds for what a closure does in a quarter of one, and each event of
each answer is looked at, so fields, indexes, comparisons with a text, `&&`, `||`, `!` and `|` are compiled here from
the library's syntax tree. An expression with more in it (functions, filters, projections) is evaluated by the library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from tokenswarm.userinput import BadInput

Evaluate = Callable[[Any], Any]

_WORD = re.compile(r"\w+")
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'")


class Expression:
    """A parsed expression. `words`: the names in it, repeated as they are; `is_compiled`: the library is not asked."""

    __slots__ = ("evaluate", "is_compiled", "text", "words")

    def __init__(self, text: str, option: str) -> None:
        """Raises `BadInput` naming the option when `text` is no expression."""
        try:
            parsed = jmespath.compile(text)
        except JMESPathError as error:
            said = str(error).splitlines()[0].rstrip(": ")
            raise BadInput([f"{option}: expected a JMESPath expression, got {text!r} ({said})"]) from None
        compiled = _compiled(parsed.parsed)
        self.text = text
        self.words = _WORD.findall(_TEXT.sub("", text))
        self.is_compiled = compiled is not None
        self.evaluate: Evaluate = compiled if compiled is not None else _interpreted(parsed)

    def text_in(self, event: Any) -> str:
        """The text it finds, a list of texts joined; empty when it finds none."""
        found = self.evaluate(event)
        if type(found) is str:
            return found
        if isinstance(found, list) and all(isinstance(each, str) for each in found):
            return "".join(found)
        return ""

    def finds(self, event: Any) -> Any:
        """What it finds; `None` for nothing, false, 0 and what is empty."""
        return self.evaluate(event) or None


def _interpreted(parsed: Any) -> Evaluate:
    def evaluate(value: Any) -> Any:
        try:
            return parsed.search(value)
        except (JMESPathError, TypeError):  # a function on what it does not take, a text > a number: nothing is found
            return None

    return evaluate


def _is_absent(value: Any) -> bool:
    """What JMESPath counts as false: 0 is true."""
    return value is None or value is False or (type(value) in (str, list, dict) and not value)


def _compiled(node: Mapping[str, Any]) -> Evaluate | None:
    """A closure of a node, `None` where the library has to evaluate it."""
    children = [_compiled(child) for child in node["children"]]
    parts = [child for child in children if child is not None]
    make = _MAKERS.get(node["type"])
    return make(node, parts) if make is not None and len(parts) == len(children) else None


def _field(node: Mapping[str, Any], _: list[Evaluate]) -> Evaluate:
    name = node["value"]
    return lambda value: value.get(name) if isinstance(value, dict) else None


def _index(node: Mapping[str, Any], _: list[Evaluate]) -> Evaluate:
    at = node["value"]
    return lambda value: value[at] if isinstance(value, list) and -len(value) <= at < len(value) else None


def _literal(node: Mapping[str, Any], _: list[Evaluate]) -> Evaluate:
    constant = node["value"]
    return lambda value: constant


def _same(node: Mapping[str, Any], _: list[Evaluate]) -> Evaluate:
    return lambda value: value


def _chain(node: Mapping[str, Any], parts: list[Evaluate]) -> Evaluate:
    if len(parts) == 2:
        first, second = parts
        return lambda value: second(first(value))

    def evaluate(value: Any) -> Any:
        for part in parts:
            value = part(value)
        return value

    return evaluate


def _comparison(node: Mapping[str, Any], parts: list[Evaluate]) -> Evaluate | None:
    texts = [child for child in node["children"] if child["type"] == "literal" and isinstance(child["value"], str)]
    if not texts or node["value"] not in ("eq", "ne"):
        return None
    left, right = parts
    if node["value"] == "ne":
        return lambda value: left(value) != right(value)
    return lambda value: left(value) == right(value)


def _junction(node: Mapping[str, Any], parts: list[Evaluate]) -> Evaluate:
    left, right = parts
    is_or = node["type"] == "or_expression"

    def evaluate(value: Any) -> Any:
        found = left(value)
        return right(value) if _is_absent(found) == is_or else found

    return evaluate


def _not(node: Mapping[str, Any], parts: list[Evaluate]) -> Evaluate:
    (part,) = parts
    return lambda value: _is_absent(part(value))


_MAKERS: dict[str, Callable[[Mapping[str, Any], list[Evaluate]], Evaluate | None]] = {
    "field": _field,
    "index": _index,
    "literal": _literal,
    "current": _same,
    "identity": _same,
    "subexpression": _chain,
    "index_expression": _chain,
    "pipe": _chain,
    "comparator": _comparison,
    "and_expression": _junction,
    "or_expression": _junction,
    "not_expression": _not,
}
