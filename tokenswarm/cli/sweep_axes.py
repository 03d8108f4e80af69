"""What a sweep varies: `users=1,2,4`, `rate=60..600 by 60`, `max-tokens=50..800x2`. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from tokenswarm.redaction import one_line
from tokenswarm.userinput import BadInput, format_number, read_number
from tokenswarm.workload.arrivals import parse_rate
from tokenswarm.workload.distributions import parse_length

MAX_AXES = 2
MAX_LEVELS = 100
MAX_NAME = 80


def _users(text: str) -> None:
    number = read_number(text)
    if number is None or not number.is_integer() or not 1 <= number <= 1_000_000:
        raise BadInput([f"users: expected a whole number from 1 to 1000000, got {text!r}"])


def _name(text: str) -> None:
    if len(text) > MAX_NAME or one_line(text) != text:
        raise BadInput([f"deployment: expected a name of at most {MAX_NAME} characters, got {text!r:.100}"])


AXES: Mapping[str, Callable[[str], object]] = {
    "users": _users,
    "rate": lambda text: parse_rate(text, "rate"),
    "sessions": lambda text: parse_rate(text, "sessions"),
    "context-tokens": lambda text: parse_length(text, where="context-tokens"),
    "max-tokens": lambda text: parse_length(text, where="max-tokens"),
    "deployment": _name,
}
"""What can be varied, and what checks a value. `sessions` are a rate of sessions per minute."""


def parse_axes(texts: Sequence[str]) -> dict[str, list[str]]:
    """The values of one or two axes, in the order given. Raises `BadInput` with every problem."""
    axes: dict[str, list[str]] = {}
    problems: list[str] = []
    for text in texts:
        name, equals, given = (part.strip() for part in text.partition("="))
        if not equals or name not in AXES:
            problems.append(f"--sweep: expected AXIS=VALUES with one of {', '.join(AXES)}, got {text!r:.120}")
        elif name in axes:
            problems.append(f"--sweep {name}: expected each axis once, got it twice")
        else:
            axes[name] = _values(name, given, problems)
    if not texts or len(axes) > MAX_AXES:
        problems.append(f"--sweep: expected one or two axes, got {len(axes)} (--sweep users=1,2,4)")
    if {"rate", "sessions"} <= set(axes):
        problems.append("--sweep: expected rate or sessions, got both")
    levels = len(levels_of(axes))
    if levels > MAX_LEVELS:
        problems.append(f"--sweep: expected at most {MAX_LEVELS} levels, got {levels}")
    if problems:
        raise BadInput(problems)
    return axes


def levels_of(axes: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Every combination: all values of the first axis for each value of the second."""
    names = list(axes)
    combined = itertools.product(*(axes[name] for name in names[::-1]))
    return [dict(zip(names, values[::-1], strict=True)) for values in combined]


def _values(name: str, given: str, problems: list[str]) -> list[str]:
    """A list, or a range written out; each value checked."""
    values = _range(name, given, problems) if ".." in given else _split(given)
    if not values:
        problems.append(f"--sweep {name}: expected values as 1,2,4, 1..9 by 2 or 1..64x2, got {given!r:.120}")
    if repeated := {value for value in values if values.count(value) > 1}:
        problems.append(f"--sweep {name}: expected each value once, got {', '.join(sorted(repeated))} twice")
    for value in values[: MAX_LEVELS + 1]:
        try:
            AXES[name](value)
        except BadInput as error:
            problems += [f"--sweep {problem}" for problem in error.problems]
    return values


def _split(given: str) -> list[str]:
    """At commas, but not at those of `uniform(1, 5)`."""
    parts, depth = [""], 0
    for character in given:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _range(name: str, given: str, problems: list[str]) -> list[str]:
    """`10..100 by 10`, or `1..64x2`, the end included where it is met."""
    ends, factor, step = given, None, None
    if " by " in given:
        ends, _, text = given.partition(" by ")
        step = read_number(text)
    elif "x" in given:
        ends, _, text = given.partition("x")
        factor = read_number(text)
    low, high = (read_number(text) for text in ends.split("..", 1))
    grows = (step is not None and step > 0) or (factor is not None and factor > 1 and (low or 0) > 0)
    if low is None or high is None or not low <= high or not grows:
        problems.append(f"--sweep {name}: expected a range as 10..100 by 10 or 1..64x2, got {given!r:.120}")
        return []
    values = [low]
    while (after := values[-1] * factor if factor else low + len(values) * (step or 0)) <= high * (1 + 1e-12):
        values.append(after)
        if len(values) > MAX_LEVELS:
            break
    return [format_number(float(f"{value:.10g}")) for value in values]
