"""The start of a run from the web UI: what a form would set, what is wrong with it, and the scenarios that fill it.

No socket; the only files read are scenarios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from configargparse import ConfigFileParserException, DefaultConfigFileParser  # type: ignore[import-untyped]

from tokenswarm.config.given_options import blank_options
from tokenswarm.config.options import OPTIONS, Option
from tokenswarm.installation import parts
from tokenswarm.userinput import BadInput, decode_text, parse_duration, read_file

GROUPS = {
    "target": "Target",
    "app": "Application",
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

MOST_USERS = 1_000_000

MAX_VALUE_LENGTH = 100_000
"""Of a form's field: longer than any that a person would fill in."""

DATA_SUFFIXES = (".csv", ".jsonl", ".json")

LOCUST_FIELDS = {"users": "user_count", "spawn-rate": "spawn_rate", "run-time": "run_time", "host": "host"}
"""Locust's own options that a scenario sets, and their names in Locust's form."""

LOCUST_FORM_FIELDS = frozenset({"host", "spawn_rate", "run_time", "user_classes", "profile"})
"""Options of Locust that its own form sets under their names."""

_BY_ATTRIBUTE = {option.attribute: option for option in OPTIONS}
_FIELDS = {
    **{option.name: option.attribute for option in OPTIONS if option.in_form},
    **LOCUST_FIELDS,
    "failure-criterion": "failure_criteria",
    "orchestrator": "host",
}
"""What a problem begins with, with hyphens for blanks, and the field it is about."""

_LOCUST_CONVERTERS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "user_count": ("num_users", int, "a whole number"),
    "spawn_rate": ("spawn_rate", float, "a number"),
    "run_time": ("run_time", lambda text: int(parse_duration(text)), "20, 20s, 3m, 1h20m"),
}


class StartForm:
    """The form of one web UI: what it shows, and what it may set.

    A form may name no file but those of the scenarios' directory and those that the command line names; and of Locust's
    own options only its fields: the others say where files are written and who is listened to.
    """

    def __init__(self, launched: Mapping[str, Any], scenarios: Path) -> None:
        self._launched = dict(launched)
        self._scenarios = scenarios
        self._closed = frozenset(
            {*launched, *_BY_ATTRIBUTE}
            - {option.attribute for option in OPTIONS if option.in_form}
            - LOCUST_FORM_FIELDS
        )

    def would_be_options(
        self, options: Mapping[str, Any], form: Mapping[str, str], further_fields: Collection[str] = ()
    ) -> tuple[dict[str, Any], list[str]]:
        """`options` as Locust would have them after this form, and what is wrong with it: what Locust would refuse,
        counts without sense, files that are not the form's to choose, and options that are not its to set.

        `further_fields`: of a locustfile's own options, those that Locust's form shows.
        """
        changed, problems = dict(options), blank_options({key: value for key, value in form.items() if value})
        for key, value in form.items():
            if key in _LOCUST_CONVERTERS:
                problems += _convert(changed, key, value)
            elif key == "host":
                changed[key] = value.replace("<", "").replace(">", "")
            elif key in self._closed - set(further_fields) and value != str(options.get(key) or ""):
                problems.append(
                    f"{_option_name(key)}: expected on the command line or in the scenario, not from a form"
                )
            elif key in _BY_ATTRIBUTE:
                wrong = self._check_field(_BY_ATTRIBUTE[key], value)
                problems += wrong
                if not wrong:  # no file that a form may not choose is opened, not even to say what is wrong with it
                    changed[key] = value
        return changed, problems + _check_counts(changed)

    def check_change(self, options: Mapping[str, Any], form: Mapping[str, str]) -> list[str]:
        """What a form may not say while a run is on, when only the number of users and the time can change."""
        changed, problems = self.would_be_options(options, form)
        kept = [key for key in form if key not in _LOCUST_CONVERTERS and key in options]
        return problems + [
            f"{_option_name(key)}: expected no change while a test is running, got {changed[key]!r:.80}"
            for key in kept
            if str(changed[key] or "") != str(options[key] or "") and key != "user_classes"
        ]

    def _check_field(self, option: Option, value: str) -> list[str]:
        if len(value) > MAX_VALUE_LENGTH:
            return [f"{option.name}: expected at most {MAX_VALUE_LENGTH} characters, got {len(value)}"]
        if option.choices and value not in ("", *option.choices):
            return [f"{option.name}: expected one of {', '.join(option.choices)}, got {value!r:.80}"]
        if not option.is_file or not value or value in self._files(option):
            return []
        return [f"{option.name}: expected a file of {self._scenarios}/ or of the command line, got {value!r:.80}"]

    def _files(self, option: Option) -> list[str]:
        launched = str(self._launched.get(option.attribute) or "")
        return sorted({*list_files(self._scenarios), *([launched] if launched else [])})

    def describe(self, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Groups with their fields: name, help, choices and present value. Hidden options, hence keys, are not among
        them."""
        groups = []
        for group, title in GROUPS.items():
            fields = [
                {
                    "name": option.attribute,
                    "label": option.name,
                    "help": option.help,
                    "choices": self._files(option) if option.is_file else list(option.choices),
                    "value": str(options.get(option.attribute) or ""),
                }
                for option in OPTIONS
                if option.group == group and option.in_form
            ]
            groups.append({"group": group, "title": title, "fields": fields})
        return groups


def _convert(options: dict[str, Any], key: str, value: str) -> list[str]:
    """Set one of Locust's own fields in `options`; what is wrong with it."""
    name, convert, expected = _LOCUST_CONVERTERS[key]
    if key == "run_time" and not value:
        options[name] = None
        return []
    try:
        options[name] = convert(value)
    except ValueError:
        return [f"{key.replace('_', ' ')}: expected {expected}, got {value!r:.80}"]
    return []


def _option_name(key: str) -> str:
    return _BY_ATTRIBUTE[key].name if key in _BY_ATTRIBUTE else key.replace("_", "-")


def _check_counts(options: Mapping[str, Any]) -> list[str]:
    users, spawn_rate = options.get("num_users"), options.get("spawn_rate")
    problems = []
    if users is not None and users < 1:
        problems.append(f"users: expected 1 or more, got {users}")
    if spawn_rate is not None and not (0 < spawn_rate < math.inf):
        problems.append(f"spawn rate: expected users per second above 0, got {spawn_rate}")
    if users is not None and users > MOST_USERS:
        problems.append(f"users: expected at most {MOST_USERS}, got {users}")
    if options.get("run_time") == 0:
        problems.append("run time: expected more than 0 seconds, got 0")
    return problems


def scenario_folder() -> Path:
    """Where scenarios are chosen from: the working directory's own, else those that came with us."""
    own = Path("scenarios")
    return own if own.is_dir() else parts() / "scenarios"


def list_files(directory: Path) -> list[str]:
    """Datasets and traces below a directory, as a scenario names them; no links that lead out of it."""
    root = directory.resolve()
    return sorted(
        path.as_posix()
        for path in directory.rglob("*")
        if path.suffix in DATA_SUFFIXES and path.is_file() and path.resolve().is_relative_to(root)
    )


def by_field(problems: Sequence[str]) -> dict[str, list[str]]:
    """The problems that are about one field of the form, by that field."""
    found: dict[str, list[str]] = {}
    for problem in problems:
        if (field := _field_of(problem)) is not None:
            found.setdefault(field, []).append(problem)
    return found


def _field_of(problem: str) -> str | None:
    """The field whose name, the longest there is, the problem begins with; `None` for a problem of none."""
    head = problem.partition(":")[0].replace(" ", "-").replace("_", "-") + "-"
    named = [name for name in _FIELDS if head.startswith(f"{name}-")]
    return _FIELDS[max(named, key=len)] if named else None


def list_scenarios(directory: Path) -> list[str]:
    """Names of the scenario files of a directory; none where there is no directory."""
    return sorted(path.name for path in directory.glob("*.conf") if path.is_file())


def check_scenario(directory: Path, name: str) -> list[str]:
    """What is wrong with the scenario that a form was filled from; it may have been filled from none ("")."""
    known = list_scenarios(directory)
    return [] if not name or name in known else [f"scenario: expected one of {', '.join(known)}, got {name!r:.80}"]


def read_scenario(directory: Path, name: str) -> dict[str, Any]:
    """What a scenario sets: `values` by form field, `locustfile`, and `left_out`, which a form cannot set. A run that
    is started from it has its name, unless the scenario gives it another.

    Raises `BadInput` for a name that is none of the directory's, and for a file that cannot be read.
    """
    if problems := check_scenario(directory, name or "none"):
        raise BadInput(problems)
    data = read_file(directory / name, "scenario", MAX_SCENARIO_BYTES)
    scenario = sort_scenario(parse_scenario(decode_text(data, name)))
    scenario["values"].update(_files_beside(directory, scenario["values"]))
    scenario["values"].setdefault("test_name", Path(name).stem)
    return scenario


def _files_beside(directory: Path, values: Mapping[str, str]) -> dict[str, str]:
    """Files that a scenario names, that are not in the working directory, and that stand beside its own folder."""
    return {
        key: str(directory.parent / value)
        for key, value in values.items()
        if key in _BY_ATTRIBUTE and _BY_ATTRIBUTE[key].is_file
        if not Path(value).exists() and (directory.parent / value).is_file()
    }


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
