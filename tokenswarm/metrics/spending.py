"""What a run has cost so far: used tokens by the prices of the models that answered, provisioned units by the hour."""

from __future__ import annotations

from tokenswarm.metrics.prices import Prices, PriceTable
from tokenswarm.record import RequestRecord

HOUR_S = 3600.0


class Spending:
    """`asked`: the model or deployment of the run, by whose price a model counts that the table does not know. `units`
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
