"""What is given of the verdict's options, in a command or a scenario file, and would be lost by Locust's parser.

Locust lets a blank environment variable win over the scenario, takes the last of two equal options, and begins a
comment at a `;` or `#` behind a blank. A criterion that is lost in one of these ways fails no run. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

ONCE = ("failure-criteria", "server-failure-criteria", "auto-stop", "goodput")
"""Options that say when a run has failed: none of them may be lost."""

_KEY = re.compile(r"(?:--)?(?P<key>[^:=;#\s\[]+)\s*(?:[:=\s]\s*(?P<value>.*))?")
_COMMENT = re.compile(r"\s[;#]")


def blank_options(options: Mapping[str, Any]) -> list[str]:
    """A problem for each option that was given without a value; `options` by attribute, `None` where not given."""
    blank = [name for name in ONCE if _is_blank(options.get(name.replace("-", "_")))]
    return [f"{name}: expected a value, got a blank one (leave the option out to run without it)" for name in blank]


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def repeated_options(arguments: Sequence[str]) -> list[str]:
    """A problem for each option that a command line has more than once."""
    names = [argument.partition("=")[0] for argument in arguments]
    return [
        f"--{name}: expected it once, got it {names.count(f'--{name}')} times (separate criteria by ;)"
        for name in ONCE
        if names.count(f"--{name}") > 1
    ]


def scenario_problems(text: str, path: str) -> list[str]:
    """What is wrong with a scenario file in Locust's `.conf` format: keys given twice, and values cut as a comment."""
    problems: list[str] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        key, value = _split(line)
        if key is None:
            continue
        if key in lines:
            problems.append(f"{key}: expected it once, got it in line {lines[key]} and again ({path}, line {number})")
        lines.setdefault(key, number)
        if key in ONCE:
            problems += _cut(key, value, f"{path}, line {number}")
    return problems


def _split(line: str) -> tuple[str | None, str]:
    stripped = line.strip()
    if not stripped or stripped[0] in "#;[" or stripped.startswith("---"):
        return None, ""
    match = _KEY.fullmatch(stripped)
    return (match["key"].replace("_", "-"), match["value"] or "") if match else (None, "")


def _cut(key: str, value: str, where: str) -> list[str]:
    """A comment behind the value is one when it holds no criterion."""
    found = _COMMENT.search(value)
    if found is None or not re.search(r"[<>%=]", value[found.end() :]):
        return []
    return [
        f"{key}: expected no blank before {found[0].strip()!r}, where Locust begins a comment, got {value!r} ({where})"
    ]
