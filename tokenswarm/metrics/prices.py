"""Prices per MILLION tokens, by model: one dated table for forecast, budget, report and sizing.

The table is `prices.toml`, a person's own (`price-table`), or either with single prices in place of its own
(`price-prompt`, ...). A price that is not known is `None`, and so is what it would be part of: never 0.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from tokenswarm.record import RequestRecord
from tokenswarm.userinput import BadInput, read_file

MILLION = 1e6
HOUR_S = 3600.0
FORMAT = "tokenswarm prices 1"
MAX_BYTES = 1_000_000
BUILT_IN = "the table of Tokenswarm"
LEAST = 0.02
"""A price option below it is taken for one per 1000 tokens, as earlier versions had it."""

_EDITION = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|latest)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices of one model: per million tokens, and per provisioned unit and hour; `None` where not known."""

    prompt: float | None = None
    cached: float | None = None
    """Of prompt tokens from the cache; `None`: as any other prompt token."""
    completion: float | None = None
    ptu_hour: float | None = None
    currency: str = "USD"

    def cost(self, prompt: float, cached: float, completion: float) -> float | None:
        """What tokens cost (`cached` is a part of `prompt`); `None` when a price that is needed is not known."""
        if self.prompt is None or (completion and self.completion is None):
            return None
        of_cache = self.prompt if self.cached is None else self.cached
        return ((prompt - cached) * self.prompt + cached * of_cache + completion * (self.completion or 0.0)) / MILLION


def model_of(edition: str) -> str:
    """`gpt-4o` of `gpt-4o-2024-11-20`; a name without a date is its own."""
    return _EDITION.sub("", edition)


PRICES = tuple(item.name for item in fields(Prices) if item.name != "currency")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """`as_of`: when the prices were read, empty when it is not known; `source`: whose table it is. `given` are single
    prices that stand in place of the table's, for every model."""

    as_of: str = ""
    currency: str = "USD"
    source: str = BUILT_IN
    ptu_hour: float | None = None
    models: Mapping[str, Prices] = field(default_factory=dict)
    given: Mapping[str, float] = field(default_factory=dict)

    def of(self, model: str) -> Prices:
        """The prices of a model; of an edition (`gpt-4o-2024-11-20`) those of its model where it has none itself."""
        found = self.models.get(model) or self.models.get(model_of(model)) or Prices()
        made = replace(found, currency=self.currency, ptu_hour=found.ptu_hour or self.ptu_hour)
        return replace(made, **dict[str, Any](self.given))

    def facts(self) -> dict[str, Any]:
        """For run.json: all that is needed to have the same prices again."""
        models = {
            name: {key: value for key in PRICES if (value := getattr(prices, key)) is not None}
            for name, prices in self.models.items()
        }
        return {
            "format": FORMAT, "as_of": self.as_of, "currency": self.currency, "source": self.source,
            "ptu_hour": self.ptu_hour, "models": models, "given": dict(self.given),
        }  # fmt: skip

    def with_given(self, given: Mapping[str, float | None]) -> PriceTable:
        """With single prices in place of its own; those that are `None` are not given."""
        return replace(self, given={name: value for name, value in given.items() if value is not None})


def built_in() -> PriceTable:
    """The table that comes with Tokenswarm."""
    text = resources.files("tokenswarm.metrics").joinpath("prices.toml").read_text(encoding="utf-8")
    return parse_table(tomllib.loads(text), BUILT_IN)


def read_table(path: str | Path) -> PriceTable:
    """A price table in TOML. Raises `BadInput` with every problem of a file that is none."""
    try:
        data = tomllib.loads(read_file(path, "price-table", MAX_BYTES).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput([f"price-table {path}: expected TOML with format = {FORMAT!r}, got: {error}"]) from error
    return parse_table(data, str(path))


def parse_table(data: Any, source: str) -> PriceTable:
    """A table from plain data (TOML, or run.json's). Raises `BadInput` with every problem."""
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, Mapping) else data
        raise BadInput([f"price-table {source}: expected format = {FORMAT!r}, got {found!r:.80}"])
    problems = [*_unknown(data, {"format", "as_of", "currency", "source", "ptu_hour", "models", "given"}, source)]
    models = data.get("models", {})
    if not isinstance(models, Mapping):
        problems.append(f"price-table {source}: expected models as a table, got {models!r:.80}")
        models = {}
    made = {str(name): _prices(entry, f"{source}: {name}", problems) for name, entry in models.items()}
    for name in ("as_of", "currency"):
        if not isinstance(data.get(name, ""), str):
            problems.append(f"price-table {source}: expected {name} as text, got {data[name]!r:.80}")
    table = PriceTable(
        as_of=str(data.get("as_of", "")),
        currency=str(data.get("currency", "USD")),
        source=str(data.get("source", source)),
        ptu_hour=_number(data.get("ptu_hour"), f"{source}: ptu_hour", problems),
        models=made,
        given=_given(data.get("given"), source, problems),
    )
    if problems:
        raise BadInput(problems)
    return table


def _given(data: Any, source: str, problems: list[str]) -> dict[str, float]:
    entries = data if isinstance(data, Mapping) else {}
    found = {name: _number(value, f"{source}: {name}", problems) for name, value in entries.items() if name in PRICES}
    return {name: value for name, value in found.items() if value is not None}


def _prices(entry: Any, where: str, problems: list[str]) -> Prices:
    if not isinstance(entry, Mapping):
        problems.append(f"price-table {where}: expected prices such as {{ prompt = 2.0 }}, got {entry!r:.80}")
        return Prices()
    problems += _unknown(entry, set(PRICES), where)
    found: dict[str, Any] = {name: _number(entry.get(name), f"{where}: {name}", problems) for name in PRICES}
    return Prices(**found)


def _unknown(data: Mapping[str, Any], known: Iterable[str], where: str) -> list[str]:
    return [
        f"price-table {where}: expected {', '.join(sorted(known))}, got {name!r:.80}"
        for name in data
        if name not in set(known)
    ]


def _number(value: Any, where: str, problems: list[str]) -> float | None:
    """A price of 0 or more; `None` when there is none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        problems.append(f"price-table {where}: expected a price of 0 or more per million tokens, got {value!r:.80}")
        return None
    return float(value)


def price_problem(name: str, value: float | None) -> str | None:
    """What is wrong with a price option that seems to be per 1000 tokens; `None` when nothing is."""
    if value is None or value == 0 or value >= LEAST:
        return None
    return (
        f"{name}: expected a price per million tokens ({LEAST:g} or more; a lower one in a price-table), got "
        f"{value:g}: is that per 1000, as earlier versions had it? Then give {value * 1000:g}"
    )


class Spending:
    """What a run has cost so far: used tokens by the prices of the models that answered, provisioned units by the hour.

    `asked`: the model or deployment of the run, by whose price a model counts that the table does not know. `units`
    are paid for by the hour and include every answer that was not passed on; `None`: each token is paid for."""

    def __init__(self, prices: PriceTable, asked: str, units: float | None = None) -> None:
        self._table = prices
        self._asked = prices.of(asked)
        self._units = units
        self._of_tokens: float | None = None
        self._known: dict[tuple[str | None, str | None], Prices] = {}

    def add(self, record: RequestRecord) -> None:
        """Count the used tokens of one request that are paid for; nothing where no price of them is known."""
        if record.prompt_tokens is None and record.completion_tokens is None:
            return
        if self._units is not None and record.spilled_from is None:
            return
        names = record.model, record.deployment
        if names not in self._known:
            self._known[names] = self._prices_of(*names)
        prompt, completion = record.prompt_tokens or 0, record.completion_tokens or 0
        cost = self._known[names].cost(prompt, min(record.cached_tokens or 0, prompt), completion)
        if cost is not None:
            self._of_tokens = (self._of_tokens or 0.0) + cost

    def _prices_of(self, model: str | None, deployment: str | None) -> Prices:
        """Of the model that answered, else of the one of several targets that was asked, else of the run's."""
        found = [self._table.of(name) for name in (model or "", (deployment or "").partition(" @ ")[0])]
        return next((prices for prices in found if prices.cost(1, 0, 1) is not None), self._asked)

    def so_far(self, elapsed_s: float) -> float | None:
        """In the currency of the prices, `elapsed_s` after the start; `None` while nothing of known price was used."""
        if self._units is None:
            return self._of_tokens
        if self._asked.ptu_hour is None:
            return None
        return self._units * self._asked.ptu_hour * elapsed_s / HOUR_S + (self._of_tokens or 0.0)
