"""Distributions of token lengths and of pauses.

As text: 500, uniform(200, 800), normal(500, 150), lognormal(6.2, 0.5); lengths also: dataset, trace.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from tokenswarm.userinput import BadInput, format_number, read_duration, read_number

MAX_TOKENS = 2_000_000
"""Largest token length that is taken seriously."""

MAX_PAUSE_S = 86400.0

ELSEWHERE = ("dataset", "trace")
"""Lengths that come with each question or trace row instead of being drawn."""

_CALL = re.compile(r"(?P<kind>[a-z]+)\s*\(\s*(?P<first>[^(),]+),(?P<second>[^(),]+)\)", re.ASCII)
_DRAWN = ("uniform", "normal", "lognormal")


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens, within 1 and `upper`. `kind`: fixed, uniform, normal, lognormal, dataset or trace.

    `first` and `second` are: the length; lowest and highest; mean and standard deviation; mean and standard deviation
    of the natural logarithm.
    """

    kind: str
    first: float = 0.0
    second: float = 0.0
    upper: int = MAX_TOKENS

    def sample(self, rng: random.Random) -> int | None:
        """Draw a length; values outside 1 to `upper` become the nearest of both. `None` for dataset and trace."""
        if self.kind in ELSEWHERE:
            return None
        if self.kind == "uniform":
            # Whole numbers, both ends included, from one random() on every version of Python.
            return int(self.first) + int(rng.random() * (int(self.second) - int(self.first) + 1))
        drawn = _draw(self.kind, self.first, self.second, rng)
        return math.floor(min(max(drawn, 1.0), float(self.upper)) + 0.5)

    @property
    def is_drawn(self) -> bool:
        """Whether it is up to chance."""
        return self.kind in _DRAWN

    def mean(self) -> float | None:
        """Expected length, for a forecast (clamping to 1 and `upper` neglected); `None` for dataset and trace."""
        return None if self.kind in ELSEWHERE else _mean(self.kind, self.first, self.second)

    def __str__(self) -> str:
        return _format(self.kind, self.first, self.second)


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds to wait, 0 or more. `kind`, `first` and `second` as for `Length`, in seconds."""

    kind: str
    first: float = 0.0
    second: float = 0.0

    def sample(self, rng: random.Random) -> float:
        """Draw a pause, s; a draw below 0 is 0."""
        return min(max(_draw(self.kind, self.first, self.second, rng), 0.0), MAX_PAUSE_S)

    def mean(self) -> float:
        """Expected pause, s."""
        return _mean(self.kind, self.first, self.second)

    def __str__(self) -> str:
        return _format(self.kind, self.first, self.second)


@dataclass(frozen=True, slots=True)
class Draw:
    """A number of a request's body, drawn anew each time; whole for a uniform distribution between whole numbers."""

    kind: str
    first: float
    second: float

    def sample(self, rng: random.Random) -> int | float:
        """Draw a number."""
        if self.kind == "uniform" and self.first.is_integer() and self.second.is_integer():
            return int(self.first) + int(rng.random() * (int(self.second) - int(self.first) + 1))
        return round(_draw(self.kind, self.first, self.second, rng), 6)


def parse_draw(text: str) -> Draw | None:
    """The distribution that a text is the name of, as uniform(0, 1); `None` for any other text."""
    kind, first, second = _split(text, read_number) if _CALL.fullmatch(text.strip()) else (None, None, None)
    if kind is None or first is None or second is None or (kind == "uniform" and first > second):
        return None
    return Draw(kind, first, second)


def parse_length(text: str, upper: int = MAX_TOKENS, where: str = "length") -> Length:
    """Parse a token length (see the module). Raises `BadInput`, which names `where`."""
    kind, first, second = _split(text, read_number)
    if kind in ELSEWHERE:
        return Length(kind, upper=upper)
    problems = []
    if kind is None or first is None or second is None:
        problems.append("expected 500, uniform(200, 800), normal(500, 150), lognormal(6.2, 0.5), dataset or trace")
    elif kind in ("fixed", "uniform") and not (first.is_integer() and second.is_integer()):
        problems.append("expected whole numbers of tokens")
    elif kind == "uniform" and not 1 <= first <= second <= upper:
        problems.append(f"expected lowest and highest from 1 to {upper}, in this order")
    elif kind == "lognormal" and not (0 <= first <= math.log(upper) and 0 <= second <= 5):
        problems.append(f"expected the logarithm's mean from 0 to {math.log(upper):.2f}, its deviation from 0 to 5")
    elif kind in ("fixed", "normal") and not (1 <= first <= upper and 0 <= second <= upper):
        problems.append(f"expected tokens from 1 to {upper}")
    if problems or kind is None or first is None or second is None:
        raise BadInput(f"{where}: {problem}, got {text.strip()!r}" for problem in problems)
    return Length(kind, first, second, upper)


def parse_count(text: str, upper: int, where: str) -> Length:
    """Parse a count of steps or turns: 3, 3..12, or a distribution as of `parse_length`. Raises `BadInput`."""
    low, dots, high = text.partition("..")
    try:
        found = parse_length(f"uniform({low}, {high})" if dots else text, upper, where)
    except BadInput:
        found = None
    if found is None or found.kind in ELSEWHERE:
        expected = f"whole numbers from 1 to {upper} as 3, 3..12, uniform(3, 12), normal(5, 1) or lognormal(1.5, 0.5)"
        raise BadInput([f"{where}: expected {expected}, got {text.strip()!r}"])
    return found


def parse_pause(text: str, where: str = "think-time") -> Pause:
    """Parse a pause in seconds, with or without unit: 1, 1.5s, uniform(1, 2), normal(5s, 1s), lognormal(0.5, 0.3)."""
    stripped = text.strip()
    read = read_number if stripped.startswith("lognormal") else read_duration
    kind, first, second = _split(text, read)
    if kind is None or kind in ELSEWHERE or first is None or second is None:
        raise BadInput([f"{where}: expected 1, uniform(1, 2), normal(5, 1) or lognormal(0.5, 0.3) s, got {stripped!r}"])
    if kind == "uniform" and first > second:
        raise BadInput([f"{where}: expected the lowest first, got {stripped!r}"])
    if kind == "lognormal" and not 0 <= second <= 5:
        raise BadInput([f"{where}: expected the logarithm's deviation from 0 to 5, got {stripped!r}"])
    largest = math.exp(min(first, 100.0)) if kind == "lognormal" else max(first, second)
    if largest > MAX_PAUSE_S:
        raise BadInput([f"{where}: expected at most {format_number(MAX_PAUSE_S)} s, got {stripped!r}"])
    return Pause(kind, first, second)


def _split(text: str, read: Callable[[str], float | None]) -> tuple[str | None, float | None, float | None]:
    """Kind and its two figures; a kind of `None` when the text has another form."""
    stripped = text.strip()
    if stripped in ELSEWHERE:
        return stripped, None, None
    if match := _CALL.fullmatch(stripped):
        kind = match["kind"] if match["kind"] in _DRAWN else None
        return kind, read(match["first"]), read(match["second"])
    value = read(stripped)
    return ("fixed", value, 0.0) if value is not None else (None, None, None)


def _draw(kind: str, first: float, second: float, rng: random.Random) -> float:
    if kind == "fixed":
        return first
    if kind == "uniform":
        return first + rng.random() * (second - first)
    normal = rng.normalvariate(first, second)
    # Beyond e^700 a float overflows; what is that large is cut to the upper end anyway.
    return math.exp(min(normal, 700.0)) if kind == "lognormal" else normal


def _mean(kind: str, first: float, second: float) -> float:
    if kind == "uniform":
        return (first + second) / 2
    return math.exp(first + second * second / 2) if kind == "lognormal" else first


def _format(kind: str, first: float, second: float) -> str:
    if kind in ELSEWHERE:
        return kind
    if kind == "fixed":
        return format_number(first)
    return f"{kind}({format_number(first)}, {format_number(second)})"
