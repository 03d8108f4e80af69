"""The start of a run from the web UI: what a form would set, what is wrong with it, and the scenarios that fill it.

No socket; the only files read are scenarios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from configargparse import ConfigFileParserException, DefaultConfigFileParser  # type: ignore[import-untyped]

from tokenswarm.config.options import OPTIONS
from tokenswarm.userinput import BadInput, decode_text, parse_duration, read_file

GROUPS = {
    "target": "Target",
    "request": "Request",
    "load": "Load",
    "call": "Call",
    "quota": "Quota",
    "search": "Capacity search",
    "verdict": "Verdict and budget",
    "results": "Results",
}
"""Groups of options, in the order of the form, with their titles."""

MAX_SCENARIO_BYTES = 1_000_000

LOCUST_FIELDS = {"users": "user_count", "spawn-rate": "spawn_rate", "run-time": "run_time", "host": "host"}
"""Locust's own options that a scenario sets, and their names in Locust's form."""

_BY_ATTRIBUTE = {option.attribute: option for option in OPTIONS}
_LOCUST_CONVERTERS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "user_count": ("num_users", int, "a whole number"),
    "spawn_rate": ("spawn_rate", float, "a number"),
    "run_time": ("run_time", lambda text: int(parse_duration(text)), "20, 20s, 3m, 1h20m"),
}


def would_be_options(options: Mapping[str, Any], form: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """`options` as Locust would have them after this form, and what is wrong with it: what Locust would refuse,
    counts without sense, and options that are not the form's to set."""
    changed, problems = dict(options), []
    for key, value in form.items():
        if key in _LOCUST_CONVERTERS:
            name, convert, expected = _LOCUST_CONVERTERS[key]
            if key == "run_time" and not value:
                continue
            try:
                changed[name] = convert(value)
            except ValueError:
                problems.append(f"{key.replace('_', ' ')}: expected {expected}, got {value!r}")
        elif key == "host":
            changed[key] = value.replace("<", "").replace(">", "")
        elif key in _BY_ATTRIBUTE:
            option = _BY_ATTRIBUTE[key]
            if not option.in_form and value != str(options.get(key) or ""):
                problems.append(f"{option.name}: expected on the command line or in the scenario, not from a form")
            changed[key] = value
    return changed, problems + _check_counts(changed)


def _check_counts(options: Mapping[str, Any]) -> list[str]:
    users, spawn_rate = options.get("num_users"), options.get("spawn_rate")
    problems = []
    if users is not None and users < 1:
        problems.append(f"users: expected 1 or more, got {users}")
    if spawn_rate is not None and not (0 < spawn_rate < math.inf):
        problems.append(f"spawn rate: expected users per second above 0, got {spawn_rate}")
    return problems


def describe_form(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Groups with their fields: name, help, choices and present value. Hidden options, hence keys, are not among
    them."""
    groups = []
    for group, title in GROUPS.items():
        fields = [
            {
                "name": option.attribute,
                "label": option.name,
                "help": option.help,
                "choices": list(option.choices),
                "value": str(options.get(option.attribute) or ""),
            }
            for option in OPTIONS
            if option.group == group and option.in_form
        ]
        groups.append({"title": title, "fields": fields})
    return groups


def list_scenarios(directory: Path) -> list[str]:
    """Names of the scenario files of a directory; none where there is no directory."""
    return sorted(path.name for path in directory.glob("*.conf") if path.is_file())


def read_scenario(directory: Path, name: str) -> dict[str, Any]:
    """What a scenario sets: `values` by form field, `locustfile`, and `left_out`, which a form cannot set.

    Raises `BadInput` for a name that is none of the directory's, and for a file that cannot be read.
    """
    if name not in list_scenarios(directory):
        raise BadInput([f"scenario: expected one of {', '.join(list_scenarios(directory))}, got {name!r}"])
    data = read_file(directory / name, "scenario", MAX_SCENARIO_BYTES)
    return sort_scenario(parse_scenario(decode_text(data, name)))


def parse_scenario(text: str) -> dict[str, str]:
    """Keys and values of a Locust configuration file, by Locust's own reader. Raises `BadInput`."""
    try:
        items = DefaultConfigFileParser().parse(text.splitlines())
    except ConfigFileParserException as error:
        raise BadInput([f"scenario: expected lines as key = value, got: {error}"]) from error
    return {
        key.removeprefix("--"): value if isinstance(value, str) else ",".join(value) for key, value in items.items()
    }


def sort_scenario(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Scenario keys as form fields, and those that are not the form's."""
    options = {option.name: option for option in OPTIONS}
    values: dict[str, str] = {}
    left_out = []
    for key, value in pairs.items():
        if key in LOCUST_FIELDS:
            values[LOCUST_FIELDS[key]] = value
        elif key in options and options[key].in_form:
            values[options[key].attribute] = value
        elif key not in ("locustfile", "headless"):
            left_out.append(key)
    return {"values": values, "locustfile": pairs.get("locustfile"), "left_out": left_out}
