"""Pay-as-you-go, provisioned, or provisioned with spillover: what the measured traffic would cost a month. Pure.

Provisioned units are sized by the documented throughput of the model (`analysis/sizing/ptu.csv`): fresh prompt tokens
plus weighted completion tokens a minute. Each way is for 730 h at the measured load, minute by minute as it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analysis.figures import populations
from analysis.figures.window import Window
from analysis.sizing.demand import HOURS_PER_MONTH, Model, read_models
from analysis.sources.rows import RowTable
from analysis.sources.run import MINUTE_S
from tokenswarm.metrics.prices import Prices


class MinuteTokens(NamedTuple):
    """Tokens of the answers that ended in one minute; `cached` are part of `prompt`."""

    prompt: float
    cached: float
    completion: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """Per month in `currency`. `units` carry the fullest minute; `spill_units` are those whose month, with the rest
    passed on to pay-as-you-go, is the cheapest. `provisioned_from_h`: hours a month at this load from which `units`
    are cheaper than pay-as-you-go; above 730 they never are."""

    model: str
    currency: str
    pay_as_you_go: float
    units: int
    provisioned: float
    spill_units: int
    spilled_pct: float
    with_spillover: float
    provisioned_from_h: float

    @property
    def cheapest(self) -> str:
        """The cheapest of the three ways."""
        ways = {
            "pay-as-you-go": self.pay_as_you_go,
            "provisioned": self.provisioned,
            "provisioned with spillover": self.with_spillover,
        }
        return min(ways, key=ways.__getitem__)


def minutes_of(rows: RowTable, window: Window) -> list[MinuteTokens]:
    """Used tokens in each whole minute of the window, from its start; none of a shorter one."""
    count = int(window.length_s // MINUTE_S)
    at = populations.ended(rows) - window.start
    place = np.floor(at / MINUTE_S)
    inside = (place >= 0) & (place < count)
    columns = []
    for name in ("prompt_tokens", "cached_tokens", "completion_tokens"):
        tokens = populations.usage_tokens(rows, name)
        known = inside & ~np.isnan(tokens)
        columns.append(np.bincount(place[known].astype(np.int64), tokens[known], count) if count else np.empty(0))
    return [MinuteTokens(*(float(value) for value in each)) for each in zip(*columns, strict=True)]


def break_even(minutes: Sequence[MinuteTokens], model_name: str, prices: Prices) -> BreakEven | str:
    """The three ways for these minutes; in words what they lack."""
    model = next((found for found in read_models() if found.name == model_name), None)
    costs = [prices.cost(minute.prompt, minute.cached, minute.completion) for minute in minutes]
    known = [cost for cost in costs if cost is not None]
    if model is None:
        return f"the table of provisioned throughput has no {model_name or 'model'}"
    if prices.ptu_hour is None:
        return "no price of a provisioned unit and hour is known (price-ptu-hour)"
    if len(known) < len(costs):
        return f"a price of {model_name} is not known"
    if not sum(known):
        return "no whole minute of the window has used tokens of a price"
    loads = [minute.prompt - minute.cached + model.output_weight * minute.completion for minute in minutes]
    per_hour = sum(known) / len(known) * 60
    unit_month = prices.ptu_hour * HOURS_PER_MONTH
    pay = per_hour * HOURS_PER_MONTH
    units = _deployable(max(loads), model)
    spilled = {n: _spilled_share(loads, known, n * model.input_tpm_per_ptu) for n in _choices(units, model)}
    best = min(spilled, key=lambda n: n * unit_month + pay * spilled[n])
    return BreakEven(
        model=model.name,
        currency=prices.currency,
        pay_as_you_go=pay,
        units=units,
        provisioned=units * unit_month,
        spill_units=best,
        spilled_pct=100.0 * spilled[best],
        with_spillover=best * unit_month + pay * spilled[best],
        provisioned_from_h=units * unit_month / per_hour,
    )


def _deployable(load: float, model: Model) -> int:
    steps = math.ceil(round(load / model.input_tpm_per_ptu / model.step_global, 9))
    return max(model.min_global, steps * model.step_global)


def _choices(units: int, model: Model) -> range:
    return range(model.min_global, units + 1, model.step_global)


def _spilled_share(loads: Sequence[float], costs: Sequence[float], capacity: float) -> float:
    """Share of the cost of tokens beyond a capacity per minute: the excess is passed on."""
    beyond = [max(0.0, load - capacity) / load if load else 0.0 for load in loads]
    return sum(share * cost for share, cost in zip(beyond, costs, strict=True)) / sum(costs)
