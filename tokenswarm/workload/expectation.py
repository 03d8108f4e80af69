"""What the answer to a question must be, so that an answer that comes fast and wrong is seen. Pure.

As text (a CSV cell): `contains: Paris`, `regex: \\d+`, `citation`, `refusal`, `tool: NAME`, or plain text, which must
be contained. As an object (JSONL, or a cell that begins with `{`): `{"contains": "Paris", "citation": true}`, all of
which must hold; `schema` takes a JSON Schema that the answer must satisfy, `tool` a name and a schema of the arguments:
`{"tool": {"name": "get_weather", "arguments": {"required": ["city"]}}}`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
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

Calls = Sequence[tuple[str, str]]
"""Name and arguments (JSON) of each tool that an answer calls."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: its text, the tools that it calls, and whether the service says that it is a refusal."""

    text: str
    calls: Calls = ()
    refused: bool = False


Holds = Callable[[Answered], bool]


@dataclass(frozen=True, slots=True)
class Check:
    """One demand of an answer."""

    kind: str
    holds: Holds


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one question's answer must satisfy, all of it."""

    checks: tuple[Check, ...]

    def columns(self, text: str, calls: Calls = (), refused: bool = False) -> dict[str, Any]:
        """Columns of the record: whether the answer is right, or the kinds of check that it missed; and a hash that is
        the same for answers of the same words."""
        given = Answered(text, calls, refused)
        missed = [check.kind for check in self.checks if not check.holds(given)]
        words = " ".join([text, *(part for call in calls for part in call)])
        return {"answer_check": "; ".join(missed) or RIGHT, "answer_hash": answer_hash(words)}

    def judge_of_round(self, is_first: bool) -> Callable[[str, Calls, bool], dict[str, Any]]:
        """The columns of an answer whose calls of tools are answered: what is expected of calls is held against the
        first answer of a turn, all else against the last."""

        def columns(text: str, calls: Calls, refused: bool) -> dict[str, Any]:
            about = [check for check in self.checks if is_first or check.kind != "tool"]
            held = tuple(check for check in about if not calls or check.kind == "tool")
            return Expectation(held).columns(text, calls, refused) if held else {}

        return columns

    @property
    def needs_tools(self) -> bool:
        """Whether it is about calls of tools, which not every API has."""
        return any(check.kind == "tool" for check in self.checks)


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
    if kind == "tool" and found[2].lstrip().startswith("{"):
        return {kind: json.loads(found[2])}
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
    return lambda answer: wanted in answer.text.casefold()


def _lacks(value: Any) -> Holds:
    unwanted = _text(value, "lacks").casefold()
    return lambda answer: unwanted not in answer.text.casefold()


def _equals(value: Any) -> Holds:
    wanted = answer_hash(_text(value, "equals"))
    return lambda answer: answer_hash(answer.text) == wanted


def _regex(value: Any) -> Holds:
    try:
        pattern = re.compile(_text(value, "regex"))
    except re.error as error:
        raise ValueError(f"regex: expected a regular expression, got {value!r:.60}: {error}") from error
    return lambda answer: pattern.search(answer.text) is not None


def _schema(value: Any) -> Holds:
    satisfies = _validator(value, "schema")
    return lambda answer: satisfies(answer.text)


def _tool(value: Any) -> Holds:
    """`no`: calls none; a name: calls that tool; an object: and with such arguments each time."""
    if value == "no" or value is False:
        return lambda answer: not answer.calls
    wanted = value if isinstance(value, dict) else {"name": value}
    if unknown := sorted(set(wanted) - {"name", "arguments"}):
        raise ValueError(f"tool: expected name and arguments, got {unknown[0]!r:.40}")
    name = _text(wanted.get("name"), "tool").strip()
    satisfies = _validator(wanted.get("arguments", {}), "tool")

    def holds(answer: Answered) -> bool:
        found = [arguments for called, arguments in answer.calls if called == name]
        return bool(found) and all(satisfies(arguments or "{}") for arguments in found)

    return holds


def _validator(value: Any, kind: str) -> Callable[[str], bool]:
    """Whether a text is JSON that satisfies a JSON Schema."""
    from jsonschema import Draft202012Validator  # 0.1 s, for datasets that have schemas
    from jsonschema.exceptions import SchemaError, ValidationError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(value)
    except SchemaError as error:
        raise ValueError(f"{kind}: expected a JSON Schema, got one with {error.message:.120}") from error
    validator = Draft202012Validator(value, registry=Registry())  # a schema elsewhere is not fetched

    def satisfies(text: str) -> bool:
        try:
            validator.validate(json.loads(text))
        except (ValueError, RecursionError, ValidationError, Unresolvable):
            return False
        return True

    return satisfies


def _flag(kind: str, pattern: re.Pattern[str]) -> Callable[[Any], Holds]:
    def check(value: Any) -> Holds:
        if not isinstance(value, bool):
            raise ValueError(f"{kind}: expected true or false, got {value!r:.40}")
        return lambda answer: ((answer.refused and kind == "refusal") or _is_in(answer.text, pattern)) == value

    return check


def _is_in(text: str, pattern: re.Pattern[str]) -> bool:
    return pattern.search(text.replace("’", "'")) is not None


_FLAGS = ("citation", "refusal")
_KINDS: dict[str, Callable[[Any], Holds]] = {
    "contains": _contains,
    "lacks": _lacks,
    "equals": _equals,
    "regex": _regex,
    "schema": _schema,
    "tool": _tool,
    "citation": _flag("citation", _CITATION),
    "refusal": _flag("refusal", _REFUSAL),
}
