"""Tools with canned results: what each gives when a model calls it, and after how long. Pure but for reading the file.

A file is one JSON object: a tool's name and its result, as a text, or as `{"result": ..., "time_s": ...}`, where a
result that is no text is sent as its JSON and a time may be a distribution (`uniform(0.1, 0.5)`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenswarm.userinput import BadInput, parse_json, read_file
from tokenswarm.workload.distributions import Pause, parse_pause

MAX_BYTES = 16_000_000
DEFAULT_ROUNDS = 8
MAX_ROUNDS = 1000
_FIELDS = frozenset({"result", "time_s"})


@dataclass(frozen=True, slots=True)
class CannedResult:
    """What a tool gives, and s that it takes; `None` where the file does not say how long."""

    text: str
    time: Pause | None


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools by name. `rounds`: calls in a row that are answered before a session has not come to an end."""

    results: Mapping[str, CannedResult]
    rounds: int = DEFAULT_ROUNDS
    time: Pause | None = None
    """s that a tool takes of which the file does not say it."""

    def time_s(self, names: Iterable[str], rng: random.Random) -> float:
        """s that the calls of one answer take: they run at once."""
        times = [self.results[name].time or self.time for name in names]
        return max((time.sample(rng) for time in times if time is not None), default=0.0)


def parse_tools(path: str) -> Mapping[str, CannedResult]:
    """The tools of a file. Raises `BadInput` with every problem."""
    try:
        found = parse_json(read_file(path, "tool-results", MAX_BYTES))
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput([f"tool-results: expected a JSON object of tools, got none ({error}) ({path})"]) from None
    if not isinstance(found, dict) or not found:
        got = "an empty one" if found == {} else type(found).__name__
        raise BadInput([f"tool-results: expected a JSON object of tools, got {got} ({path})"])
    problems: list[str] = []
    results = {name: _canned(name, value, problems) for name, value in found.items()}
    if problems:
        raise BadInput(f"{problem} ({path})" for problem in problems)
    return results


def _canned(name: str, value: Any, problems: list[str]) -> CannedResult:
    given = value if isinstance(value, dict) and value.keys() & _FIELDS else {"result": value}
    where = f"tool-results: {name!r}"
    if "result" not in given:
        problems.append(f"{where}: expected a result, got none")
    if further := sorted(given.keys() - _FIELDS):
        problems.append(f"{where}: expected result and time_s, got {', '.join(further)}")
    result = given.get("result")
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, separators=(",", ":"))
    return CannedResult(text, _time(given.get("time_s"), f"{where}: time_s", problems))


def _time(value: Any, where: str, problems: list[str]) -> Pause | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        problems.append(f"{where}: expected seconds or a distribution of them, got {type(value).__name__}")
        return None
    try:
        return parse_pause(str(value), where)
    except BadInput as error:
        problems += error.problems
        return None


def tool_names(tools: Any) -> list[str]:
    """Names of the functions in a body's `tools`, as chat completions, responses and messages have them; tools that the
    service runs itself have none here."""
    listed = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    functions = [tool.get("function") if isinstance(tool.get("function"), dict) else tool for tool in listed]
    ours = [
        each for tool, each in zip(listed, functions, strict=True) if tool.get("type") in (None, "function", "custom")
    ]
    return [each["name"] for each in ours if isinstance(each, dict) and isinstance(each.get("name"), str)]
