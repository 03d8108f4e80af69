"""What the answer to a question must be, so that an answer that comes fast and wrong is seen. Pure.

As text (a CSV cell): `contains: Paris`, `regex: \\b42\\b`, `citation`, `refusal`, or plain text, which must be
contained. As an object (JSONL, or a cell that begins with `{`): `{"contains": "Paris", "citation": true}`, all of which
must hold; `schema` takes a JSON Schema that the answer must satisfy.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

RIGHT = "right"
"""As in `tokenswarm.record`, which this room does not know."""
_CITATION = re.compile(r"\[[^\[\]]*(?:\.\w{2,5}|\bdoc ?\d+|\b\d+)[^\[\]]*\]|【[^【】]+】|https?://\S+")
_REFUSAL = re.compile(
    r"\b(?:i'?m sorry|i am sorry|i can(?:no|')t|i can not|i'?m (?:unable|not able)|i am (?:unable|not able)"
    r"|i (?:do not|don't) know|(?:can't|cannot) (?:help|assist|answer))\b",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"(\w+)\s*(?::\s*(.*))?", re.DOTALL)

Holds = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Check:
    """One demand of an answer's text."""

    kind: str
    holds: Holds


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one question's answer must satisfy, all of it."""

    checks: tuple[Check, ...]

    def columns(self, answer: str) -> dict[str, Any]:
        """Columns of the record: whether the answer is right, or the kinds of check that it missed; and a hash that is
        the same for answers of the same words."""
        missed = [check.kind for check in self.checks if not check.holds(answer)]
        return {"answer_check": "; ".join(missed) or RIGHT, "answer_hash": answer_hash(answer)}


def answer_hash(answer: str) -> str:
    """16 hex digits of the words of an answer; white space and capitals do not count."""
    words = " ".join(answer.casefold().split())
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:16]


def parse_expectation(value: Any) -> Expectation:
    """What a dataset says of an answer. Raises `ValueError` with "expected ..., got ..."."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"expected a JSON object, got {error}") from error
    demands = _of_text(value) if isinstance(value, str) else value
    if not isinstance(demands, dict) or not demands:
        raise ValueError(f"expected text or an object of {', '.join(_KINDS)}, got {type(value).__name__}")
    return Expectation(tuple(_checks(demands)))


def _of_text(text: str) -> dict[str, Any]:
    """`kind: value`, or what must be contained."""
    found = _PREFIX.fullmatch(text.strip())
    kind = found[1].lower() if found else ""
    if found is None or kind not in _KINDS or (found[2] is None and kind not in _FLAGS):
        return {"contains": text.strip()}
    if kind in _FLAGS:
        return {kind: {None: True, "yes": True, "no": False}.get(found[2], found[2])}
    return {kind: json.loads(found[2]) if kind == "schema" else found[2]}


def _checks(demands: dict[str, Any]) -> Iterator[Check]:
    for kind, value in demands.items():
        if kind not in _KINDS:
            raise ValueError(f"expected {', '.join(_KINDS)}, got {kind!r:.40}")
        yield Check(kind, _KINDS[kind](value))


def _text(value: Any, kind: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{kind}: expected text, got {value!r:.40}")
    return value


def _contains(value: Any) -> Holds:
    wanted = _text(value, "contains").casefold()
    return lambda answer: wanted in answer.casefold()


def _lacks(value: Any) -> Holds:
    unwanted = _text(value, "lacks").casefold()
    return lambda answer: unwanted not in answer.casefold()


def _equals(value: Any) -> Holds:
    wanted = answer_hash(_text(value, "equals"))
    return lambda answer: answer_hash(answer) == wanted


def _regex(value: Any) -> Holds:
    try:
        pattern = re.compile(_text(value, "regex"))
    except re.error as error:
        raise ValueError(f"regex: expected a regular expression, got {value!r:.60}: {error}") from error
    return lambda answer: pattern.search(answer) is not None


def _schema(value: Any) -> Holds:
    from jsonschema import Draft202012Validator  # 0.1 s, for datasets that have schemas
    from jsonschema.exceptions import SchemaError, ValidationError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(value)
    except SchemaError as error:
        raise ValueError(f"schema: expected a JSON Schema, got one with {error.message:.120}") from error
    validator = Draft202012Validator(value, registry=Registry())  # a schema elsewhere is not fetched

    def holds(answer: str) -> bool:
        try:
            validator.validate(json.loads(answer))
        except (ValueError, RecursionError, ValidationError, Unresolvable):
            return False
        return True

    return holds


def _flag(kind: str, pattern: re.Pattern[str]) -> Callable[[Any], Holds]:
    def check(value: Any) -> Holds:
        if not isinstance(value, bool):
            raise ValueError(f"{kind}: expected true or false, got {value!r:.40}")
        return lambda answer: (pattern.search(answer.replace("’", "'")) is not None) == value

    return check


_FLAGS = ("citation", "refusal")
_KINDS: dict[str, Callable[[Any], Holds]] = {
    "contains": _contains,
    "lacks": _lacks,
    "equals": _equals,
    "regex": _regex,
    "schema": _schema,
    "citation": _flag("citation", _CITATION),
    "refusal": _flag("refusal", _REFUSAL),
}
