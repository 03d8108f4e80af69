"""What requests carry besides what Tokenswarm writes itself: headers, query parameters, body fields. Pure."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tokenswarm.userinput import BadInput, is_encodable, parse_json, read_file
from tokenswarm.workload.distributions import Draw, parse_draw

Lookup = Callable[[str], str | None]
"""The value of a name in the environment, resolved from a Key Vault where it refers to one; `None` without."""

MAX_SCHEMA_BYTES = 1_000_000
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
MAX_HEADER_NAME = 100
_SECRET_NAME = re.compile(r"auth|key|token|secret|password|cookie|credential|signature", re.IGNORECASE)
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect", "upgrade"})
_OPTION_FOR = {
    "model": "deployment",
    "messages": "dataset or context-tokens",
    "input": "dataset or context-tokens",
    "prompt": "dataset or context-tokens",
    "stream": "stream",
    "n": "n",
    "max_tokens": "max-tokens",
    "max_completion_tokens": "max-tokens",
    "max_output_tokens": "max-tokens",
    "previous_response_id": "earlier-turns",
}


@dataclass(frozen=True, slots=True)
class Extras:
    """Names and values to add to each request, and which of the values must never be shown."""

    values: Mapping[str, str]
    secrets: tuple[str, ...] = ()


def references(text: str) -> list[str]:
    """The names that a text refers to as `${NAME}`."""
    return REFERENCE.findall(text)


def parse_headers(text: str, lookup: Lookup) -> Extras:
    """`Name: value; Name: value`, or a JSON object of texts; `${NAME}` stands for a value of the environment.

    Raises `BadInput` with every problem: a name that is none, a value with a line end, a header that we write
    ourselves because it frames the request, a reference to what is not set.
    """
    pairs = _object(text, "headers") if text.lstrip().startswith("{") else _pairs(text)
    problems = [problem for name, value in pairs for problem in _header_problems(name, value)]
    problems += _repeated([name.lower() for name, _ in pairs], "headers")
    extras = _resolved(dict(pairs), lookup, "headers", problems)
    if problems:
        raise BadInput(problems)
    return extras


def parse_query(text: str, lookup: Lookup) -> Extras:
    """`name=value&name=value`, as in a URL; `${NAME}` as in headers. Raises `BadInput`."""
    try:
        pairs = parse_qsl(text.strip().lstrip("?"), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        # Not shown: it may be a key without its name.
        raise BadInput(["query: expected name=value&name=value, got a part without ="]) from None
    problems = _repeated([name for name, _ in pairs], "query")
    if any(not name for name, _ in pairs):
        problems.append("query: expected name=value&name=value, got a value without a name")
    extras = _resolved(dict(pairs), lookup, "query", problems)
    if problems:
        raise BadInput(problems)
    return extras


def _repeated(names: list[str], what: str) -> list[str]:
    """Of names that come twice only the last would be sent."""
    twice = dict.fromkeys(name for name in names if names.count(name) > 1)
    return [f"{what}: expected each name once, got {name} {names.count(name)} times" for name in twice]


def _pairs(text: str) -> list[tuple[str, str]]:
    parts = [part.partition(":") for part in text.split(";") if part.strip()]
    wrong = [number for number, (_, colon, _) in enumerate(parts, 1) if not colon]
    if wrong or not parts:  # not shown: it may be a key without its name
        expected = "headers: expected Name: value; Name: value, got"
        raise BadInput([f"{expected} header {number} without a colon" for number in wrong or [1]])
    return [(name.strip(), value.strip()) for name, _, value in parts]


def _object(text: str, what: str) -> list[tuple[str, str]]:
    found = _json_object(text, what)
    wrong = [name for name, value in found.items() if not isinstance(value, str)]
    if wrong:
        raise BadInput([f"{what}: expected a text for {name!r}, got {type(found[name]).__name__}" for name in wrong])
    return list(found.items())


def _json_object(text: str, what: str) -> dict[str, Any]:
    try:
        found = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise BadInput([f"{what}: expected a JSON object, got none ({error})"]) from None
    if not isinstance(found, dict):
        raise BadInput([f"{what}: expected a JSON object, got {type(found).__name__}"])
    return found


def _header_problems(name: str, value: str) -> list[str]:
    if not _HEADER_NAME.fullmatch(name):
        return [f"headers: expected a header name, got {name!r:.40}"]
    if name.lower() in _OURS:
        return [f"headers: expected no {name}: it belongs to the connection and is written with each request"]
    if any(character in value for character in "\r\n\0"):
        return [f"headers: expected one line for {name}, got a line end"]
    if not value.isascii():
        return [f"headers: expected ASCII for {name}, got other characters"]
    return []


def _resolved(pairs: Mapping[str, str], lookup: Lookup, what: str, problems: list[str]) -> Extras:
    secrets: list[str] = []

    def value_of(match: re.Match[str]) -> str:
        value = lookup(match[1])
        if value is None:
            problems.append(f"{what}: refers to {match[1]}, which is not set")
            return ""
        if any(character in value for character in "\r\n\0"):
            problems.append(f"{what}: expected one line in {match[1]}, got a line end")
        secrets.append(value)
        return value

    for name, text in pairs.items():
        if "${" in REFERENCE.sub("", text):
            problems.append(f"{what}: expected ${{NAME}} in {name}, got ${{ without a name and a closing brace")
    values = {name: REFERENCE.sub(value_of, text) for name, text in pairs.items()}
    secrets += [value for name, value in values.items() if value and _SECRET_NAME.search(name)]
    return Extras(values, tuple(dict.fromkeys(secrets)))


@dataclass(frozen=True, slots=True)
class BodyFields:
    """Fields to put into each body, last. Values that are distributions (`uniform(1, 5)`) are drawn anew each time."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    is_drawn: bool = False

    def sample(self, rng: random.Random) -> Mapping[str, Any]:
        """The fields of one request."""
        return _drawn(self.fields, rng) if self.is_drawn else self.fields


def parse_extra_body(text: str) -> BodyFields:
    """A JSON object. Raises `BadInput` with every problem: no JSON, or fields that an option decides."""
    fields = _json_object(text, "extra-body")
    problems = [
        f"extra-body: expected no {name!r}: the option {option} decides it"
        for name, option in _OPTION_FOR.items()
        if name in fields
    ]
    options = fields.get("stream_options")
    if options is not None and not isinstance(options, dict):
        problems.append(f"extra-body: expected an object for stream_options, got {type(options).__name__}")
    elif options and options.get("include_usage") is False:
        problems.append("extra-body: expected stream_options with include_usage: token figures come from usage")
    problems += _value_problems(fields)
    if problems:
        raise BadInput(problems)
    parsed = {name: _parsed(value) for name, value in fields.items()}
    return BodyFields(parsed, _has_draws(parsed))


def _value_problems(value: Any, where: str = "") -> Iterator[str]:
    """What is no value of a body, as JSON cannot say it."""
    if isinstance(value, dict | list):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _value_problems(each, f"{where}.{name}".lstrip("."))
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"extra-body: expected a number that JSON can say for {where}, got {value}"
    elif isinstance(value, str) and not is_encodable(value):
        yield f"extra-body: expected text for {where}, got half of a surrogate pair in it"


def parse_json_schema(path: str) -> tuple[str, dict[str, Any]]:
    """Name and JSON schema of a file; the name is the file's. Raises `BadInput`."""
    data = read_file(path, "json-schema", MAX_SCHEMA_BYTES)
    schema = _json_object(data.decode("utf-8", "replace"), "json-schema")
    return re.sub(r"[^0-9A-Za-z_-]", "_", Path(path).stem)[:64] or "answer", schema


def schema_field(name: str, schema: Mapping[str, Any], asks: str) -> tuple[str, Any]:
    """The body's field that wants answers of a schema, and its value, as an API has it; "" where it has none."""
    wanted = {"name": name, "schema": schema, "strict": True}
    if asks == "chat":
        return "response_format", {"type": "json_schema", "json_schema": wanted}
    if asks == "responses":
        return "text", {"format": {"type": "json_schema", **wanted}}
    if asks == "messages":
        return "output_config", {"format": {"type": "json_schema", "schema": schema}}
    return "", None


def _parsed(value: Any) -> Any:
    if isinstance(value, str):
        return parse_draw(value) or value
    if isinstance(value, dict):
        return {name: _parsed(each) for name, each in value.items()}
    return [_parsed(each) for each in value] if isinstance(value, list) else value


def _has_draws(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_draws, value.values()))
    return any(map(_has_draws, value)) if isinstance(value, list) else isinstance(value, Draw)


def _drawn(value: Any, rng: random.Random) -> Any:
    if isinstance(value, Draw):
        return value.sample(rng)
    if isinstance(value, Mapping):
        return {name: _drawn(each, rng) for name, each in value.items()}
    return [_drawn(each, rng) for each in value] if isinstance(value, list) else value


def parse_header_name(text: str) -> str:
    """The name of a header, in lower case. Raises `BadInput` for text that is none."""
    name = text.strip()
    if not _HEADER_NAME.fullmatch(name) or len(name) > MAX_HEADER_NAME:
        raise BadInput([f"route-header: expected the name of a response header, got {text!r:.120}"])
    return name.lower()
