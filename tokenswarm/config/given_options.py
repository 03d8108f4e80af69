"""What is given of the verdict's options, in a command or a scenario file, and would be lost.

Locust lets a blank environment variable win over the scenario, takes the last of two equal options, and begins a
comment at a `;` or `#` behind a blank. A criterion that is lost in one of these ways fails no run.

A flag, a variable or a form wins over the scenario file, whose criteria are `Agreed`: those left out are named.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configargparse import ConfigFileParserException, DefaultConfigFileParser  # type: ignore[import-untyped]

from tokenswarm.config.settings import Settings
from tokenswarm.metrics.autostop import parse_auto_stop
from tokenswarm.metrics.criteria import parse_criteria
from tokenswarm.metrics.goodput import Goodput, parse_goodput
from tokenswarm.metrics.verdict import Replacement, replacements
from tokenswarm.userinput import BadInput

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


STATED = ("failure-criteria", "goodput", "auto-stop")
"""Options that say when a run has failed."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What `where` states, as text, by option."""

    where: str
    texts: Mapping[str, str]


def agreed_of_files(paths: Iterable[Path | None]) -> Agreed | None:
    """What the first of these files states that states anything; `None` when none does, or none can be read."""
    for path in paths:
        if path is not None and (texts := _texts(_read(path))):
            return Agreed(str(path), texts)
    return None


def agreed_of_launch(options: Mapping[str, Any]) -> Agreed | None:
    """What a process was started with, whatever a form makes of it later; `options` by attribute."""
    texts = _texts({name: options.get(name.replace("-", "_")) for name in STATED})
    return Agreed("as this process was started", texts) if texts else None


def replaced(agreed: Agreed | None, settings: Settings) -> list[Replacement]:
    """What of it the settings do not hold a run against."""
    if agreed is None:
        return []
    return [*_criteria(agreed, settings), *_goodput(agreed, settings), *_auto_stop(agreed, settings)]


def _criteria(agreed: Agreed, settings: Settings) -> list[Replacement]:
    text = agreed.texts.get("failure-criteria")
    if text is None:
        return []
    try:
        return replacements(parse_criteria(text), settings.criteria, agreed.where)
    except BadInput:  # others were given in its place, or the run would not have come so far
        return [Replacement(text[:200], "; ".join(map(str, settings.criteria)) or None, agreed.where)]


def _goodput(agreed: Agreed, settings: Settings) -> list[Replacement]:
    text, given = agreed.texts.get("goodput"), settings.goodput
    if text is None or (given is not None and _contains(given, text)):
        return []
    return [Replacement(f"goodput {text}", None if given is None else str(given), agreed.where)]


def _contains(given: Goodput, text: str) -> bool:
    """Whether the given limits are those of the text, or stricter."""
    limits = dict(given.limits)
    try:
        return all(limits.get(metric, math.inf) <= limit for metric, limit in parse_goodput(text).limits)
    except BadInput:
        return False


def _auto_stop(agreed: Agreed, settings: Settings) -> list[Replacement]:
    text, given = agreed.texts.get("auto-stop"), settings.auto_stop
    try:
        same = text is None or parse_auto_stop(text) in (None, given)
    except BadInput:
        same = False
    return [] if same else [Replacement(f"auto-stop {text}", None if given is None else str(given), agreed.where)]


def _texts(options: Mapping[str, Any]) -> dict[str, str]:
    return {name: text for name in STATED if (text := _text(options.get(name)))}


def _text(value: Any) -> str:
    return ";".join(map(str, value)) if isinstance(value, list) else str(value or "").strip()


def _read(path: Path) -> dict[str, Any]:
    """Keys and values of a file that Locust reads, with hyphens; empty for one that it cannot read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        is_toml = path.suffix == ".toml"
        found = tomllib.loads(text)["tool"]["locust"] if is_toml else DefaultConfigFileParser().parse(text.splitlines())
    except (OSError, ValueError, KeyError, TypeError, ConfigFileParserException):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(key).removeprefix("--").replace("_", "-"): value for key, value in found.items()}
