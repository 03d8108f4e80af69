"""How an application is asked and read, in the words of the options `app-...`; presets are files of the same words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files

from tokenswarm.userinput import BadInput

PRESETS = files("tokenswarm.apps") / "presets"
"""Read as a resource: on Azure Load Testing the package is one file."""
STREAMS = ("sse", "jsonl", "text", "json", "websocket")
DEFAULT_ERROR = "error"
HEADER = "header:"
"""Begins an `app-conversation` that is a header's name."""

Get = Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppMapping:
    """The options `app-...` after the preset's were put in for what was not given; empty where neither says anything.

    `text`, `conversation`, `error`, `end`, `progress`, `usage`: where these are in an event, JMESPath expressions; of a
    text stream, regular expressions. `given`: names of the options that somebody wrote, without their `app-`.
    """

    path: str
    body: str
    stream: str
    text: str
    conversation: str
    error: str
    end: str
    progress: str
    usage: str
    given: frozenset[str] = field(default=frozenset(), compare=False)


FIELDS = tuple(name for name in AppMapping.__slots__ if name != "given")
_NOT_OF_TEXT = ("text", "progress", "usage")
_NOT_OF_JSON = ("end", "progress")


def preset_names() -> tuple[str, ...]:
    return tuple(sorted(each.name.removesuffix(".conf") for each in PRESETS.iterdir() if each.name.endswith(".conf")))


def read_preset(name: str) -> dict[str, str]:
    """The options of a preset."""
    lines = (PRESETS / f"{name}.conf").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {option.strip(): value.strip() for option, _, value in pairs}


def read_mapping(get: Get) -> AppMapping:
    """What the options say. Raises `BadInput` with every problem that can be told without parsing their values."""
    name = get("app-preset")
    if name is not None and name not in preset_names():
        raise BadInput([f"app-preset: expected one of {', '.join(preset_names())}, got {name!r}"])
    preset = read_preset(name) if name is not None else {}
    given = {field: text for field in FIELDS if (text := get(f"app-{field}")) is not None}
    found = {field: given.get(field) or preset.get(f"app-{field}", "") for field in FIELDS}
    found["stream"] = found["stream"] or "sse"
    if found["stream"] == "text" and "stream" in given:  # expressions of a preset are none for a text
        found |= {field: "" for field in FIELDS[3:] if field not in given}
    if found["stream"] != "text":
        found["error"] = found["error"] or DEFAULT_ERROR
    problems = _problems(found, given)
    if problems:
        raise BadInput(problems)
    return AppMapping(**found, given=frozenset(given))


def _problems(found: dict[str, str], given: dict[str, str]) -> list[str]:
    stream, problems = found["stream"], []
    if stream not in STREAMS:
        return [f"app-stream: expected {' or '.join(STREAMS)}, got {stream!r}"]
    if not found["body"]:
        problems.append("app-body: expected a JSON template of the question (or an app-preset), got none")
    if not found["text"] and stream != "text":
        problems.append("app-text: expected an expression for the answer's text (or an app-preset), got none")
    if any(character in found["path"] for character in "\r\n\0 "):
        problems.append(f"app-path: expected a path without blanks and line ends, got {found['path']!r}")
    without = _NOT_OF_TEXT if stream == "text" else _NOT_OF_JSON if stream == "json" else ()
    return problems + [
        f"app-{field}: expected none, as app-stream = {stream} has no events, got {given[field]!r}"
        for field in without
        if field in given
    ]
