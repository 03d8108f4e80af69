"""`sweep.json`: what a sweep varies, and how far it is. Written by `tokenswarm sweep`, read by it and by its report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenswarm.userinput import BadInput, parse_json, read_file

FILE_NAME = "sweep.json"
FORMAT = "tokenswarm sweep 1"
MAX_BYTES = 5_000_000
FINISHED, UNFINISHED = "finished", "unfinished"


@dataclass(slots=True)
class SweepLevel:
    """One combination of the axes' values. `directory` (of the run, below the sweep's) and `exit_code` are of the last
    attempt; `files`: SHA-256 of the files of a finished one, by name."""

    values: Mapping[str, str]
    state: str = UNFINISHED
    directory: str = ""
    exit_code: int | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`users=8, max-tokens=100`."""
        return ", ".join(f"{axis}={value}" for axis, value in self.values.items())


@dataclass(slots=True)
class SweepFile:
    """`axes`: the values of each option that is varied; `version`: of Tokenswarm; `scenario`: its path; `fingerprint`:
    SHA-256 of the scenario's text and of all other options."""

    version: str
    scenario: str
    fingerprint: str
    axes: Mapping[str, Sequence[str]]
    levels: list[SweepLevel]

    def write(self, directory: Path) -> None:
        """As a whole or not at all. Raises `OSError`."""
        facts = {
            "format": FORMAT,
            "tokenswarm_version": self.version,
            "scenario": self.scenario,
            "fingerprint": self.fingerprint,
            "axes": {name: list(values) for name, values in self.axes.items()},
            "levels": [_facts(level) for level in self.levels],
        }
        temporary = directory / f"{FILE_NAME}.part"
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, directory / FILE_NAME)


def read_sweep(directory: Path) -> SweepFile:
    """The sweep in a directory. Raises `BadInput` that says what is wrong with a file that is none."""
    path = directory / FILE_NAME
    try:
        data = parse_json(read_file(path, "sweep", MAX_BYTES).decode("utf-8"))
    except ValueError as error:  # a UnicodeDecodeError is one; so is BadInput, which is right as it is
        if isinstance(error, BadInput):
            raise
        raise BadInput([f"sweep {path}: expected JSON with format = {FORMAT!r}, got: {error}"]) from error
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, Mapping) else data
        raise BadInput([f"sweep {path}: expected format = {FORMAT!r}, got {found!r:.80}"])
    try:
        return _parse(data)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput([f"sweep {path}: expected a whole sweep file, got a damaged one ({error!r:.120})"]) from error


def _parse(data: Mapping[str, Any]) -> SweepFile:
    axes = {_text(name): [_text(value) for value in values] for name, values in data["axes"].items()}
    levels = [_parse_level(item, set(axes)) for item in data["levels"]]
    if not axes or not levels:
        raise ValueError("no axes or no levels")
    version, scenario, fingerprint = (_text(data[key]) for key in ("tokenswarm_version", "scenario", "fingerprint"))
    return SweepFile(version, scenario, fingerprint, axes, levels)


def _parse_level(item: Mapping[str, Any], axes: set[str]) -> SweepLevel:
    values = {_text(name): _text(value) for name, value in item["values"].items()}
    state, directory, code = item["state"], _text(item["directory"]), item["exit_code"]
    if set(values) != axes or state not in (FINISHED, UNFINISHED):
        raise ValueError(f"level {values}, {state}")
    if Path(directory).is_absolute() or ".." in Path(directory).parts:
        raise ValueError(f"directory {directory!r} outside the sweep")
    if code is not None and (isinstance(code, bool) or not isinstance(code, int)):
        raise ValueError(f"exit_code {code!r}")
    files = {_text(name): _text(digest) for name, digest in item["files"].items()}
    return SweepLevel(values, state, directory, code, files)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r:.60}")
    return value


def _facts(level: SweepLevel) -> dict[str, Any]:
    return {
        "values": dict(level.values),
        "state": level.state,
        "directory": level.directory,
        "exit_code": level.exit_code,
        "files": dict(level.files),
    }
