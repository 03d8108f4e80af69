"""Options looked up and parsed, one by one; what is wrong with them is collected. No clock, no socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tokenswarm.config.environment import Environment, option_defaults, option_source
from tokenswarm.config.options import OPTIONS
from tokenswarm.config.request_extras import (
    Extras,
    Lookup,
)
from tokenswarm.redaction import secret_query_values
from tokenswarm.userinput import BadInput, is_encodable, parse_duration, read_number

T = TypeVar("T")


class CheckedOptions:
    """Looks options up, parses them, and collects what is wrong with them."""

    def __init__(self, options: Mapping[str, Any], environment: Environment) -> None:
        self._options = options
        self._environment = environment
        self._asks = str(options.get("endpoint") or "") or None
        self._defaults = option_defaults(environment, self._asks)
        self.problems: list[str] = []
        self.secrets = environment.secrets()
        self.carries_keys = False
        """Whether headers or query parameters hold something secret: it belongs to the endpoint it came with."""
        for name in ("rag-path", "query", "host", "rag-host"):
            self.secrets += secret_query_values("?" + (self.get(name) or ""))

    def get(self, name: str) -> str | None:
        """The option's text, or what the environment says for it; `None` when neither is given."""
        value = self._options.get(name.replace("-", "_"))
        text = ("" if value is None else str(value).strip()) or self._defaults.get(name)
        if text is not None and "\0" in text:
            self.problems.append(f"{self.where(name)}: expected text, got a NUL character in it")
            return None
        if text is not None and not is_encodable(text, "surrogateescape"):
            self.problems.append(f"{self.where(name)}: expected text, got half of a surrogate pair in it")
            return None
        return text

    def where(self, name: str) -> str:
        given = self._options.get(name.replace("-", "_"))
        source = None if given not in (None, "") else option_source(self._environment, name, self._asks)
        return f"{name}, {source}" if source else name

    def read(self, name: str, parse: Callable[[str], T], default: T) -> T:
        text = self.get(name)
        if text is None:
            return default
        try:
            return parse(text)
        except BadInput as error:
            named = [problem if name in problem else f"{name}: {problem}" for problem in error.problems]
            self.problems += named
        return default

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float | None:
        def parse(text: str) -> float | None:
            value = read_number(text)
            if value is None or not low <= value <= high:
                raise BadInput([f"{self.where(name)}: expected a number from {low:g} to {high:g}, got {text!r}"])
            return value

        return self.read(name, parse, default)

    def whole(self, name: str, low: int, high: int, default: int) -> int:
        value = self.number(name, low, high, float(default))
        if value is None or not value.is_integer():
            self.problems.append(f"{self.where(name)}: expected a whole number, got {self.get(name)!r}")
            return default
        return int(value)

    def choice(self, name: str, default: str) -> str:
        choices = next(option.choices for option in OPTIONS if option.name == name)
        text = self.get(name) or default
        if text not in choices:
            self.problems.append(f"{self.where(name)}: expected {' or '.join(choices)}, got {text!r}")
            return default
        return text

    def extras(self, name: str, parse: Callable[[str, Lookup], Extras]) -> Mapping[str, str]:
        """Headers or query parameters; what is secret in them joins the secrets."""
        found = self.read(name, lambda text: parse(text, self._environment.get), Extras({}))
        self.secrets += found.secrets
        self.carries_keys |= bool(found.secrets)
        return found.values

    def duration(self, name: str, default: float) -> float:
        return self.read(name, lambda text: parse_duration(text, self.where(name)), default)
