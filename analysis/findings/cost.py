"""What a run cost, and what its load would cost: from its rows and a price table, never stored in a row.

Used tokens of every answer are billed, warm-up included: `run` is of the whole run. Rates (an hour, a month) are of the
answers that ended in the window. Prompt tokens from the cache have a price of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.figures import populations
from analysis.figures.populations import Mask
from analysis.figures.sessions import is_in_session
from analysis.figures.window import Window
from analysis.findings.break_even import BreakEven, break_even, minutes_of
from analysis.sources.rows import RowTable, part
from analysis.sources.run import Run
from tokenswarm.metrics.prices import LEAST, PRICES, PriceTable, built_in, model_of, parse_table
from tokenswarm.record import TokenSource
from tokenswarm.userinput import BadInput

HOURS_PER_MONTH = 730


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """In `currency`; every figure is `None` where a price of a model that answered is not known (`missing` names it),
    or no answer said what it used. `of_answers`: answers whose tokens the service reported, of `answers`.
    `per_month`: 730 h at this load."""

    currency: str
    as_of: str
    source: str
    run: float | None = None
    per_request: float | None = None
    per_1000_answers: float | None = None
    per_session: float | None = None
    per_month: float | None = None
    max_cost: float | None = None
    missing: Sequence[str] = ()
    ways: BreakEven | None = None
    of_answers: int = 0
    answers: int = 0


def prices_of(run: Run) -> PriceTable:
    """The prices that a run was started with; of one without them, the table that comes with Tokenswarm.

    Raises `BadInput` for a run.json whose prices are damaged.
    """
    noted = run.setting("prices")
    if noted is not None:
        return parse_table(noted, "run.json")
    given = {name: run.number("options", f"price-{name.replace('_', '-')}") for name in PRICES}
    return built_in().with_given({name: value for name, value in given.items() if value is not None and value >= LEAST})


def cost_of(run: Run, window: Window, sessions: int = 0, table: PriceTable | None = None) -> Cost | None:
    """What the tokens of `run` cost; `None` when no answer says what it used. `sessions` that were begun; `table`: in
    place of the run's own prices."""
    rows = run.rows
    ok = populations.is_ok(rows)
    known = (rows["token_source"] == str(TokenSource.USAGE)).to_numpy(bool)
    if not known.any():
        return None
    try:
        prices = table or prices_of(run)
    except BadInput as error:
        return Cost(currency="", as_of="", source="run.json", missing=error.problems)
    inside = known & window.contains(populations.ended(rows))
    whole, missing = _sum(run, known, prices)
    hourly, _ = _sum(run, inside, prices)
    hours = window.length_s / 3600
    of_sessions = _sum(run, known & is_in_session(rows), prices)[0] if sessions else None
    answers, paid = int(ok.sum()), int((ok & known).sum())
    each = None if whole is None or not paid else whole / paid
    return Cost(
        currency=prices.currency,
        as_of="" if prices.given else prices.as_of,
        source="the prices given" if prices.given else prices.source,
        run=whole,
        per_request=each,
        per_1000_answers=None if each is None else 1000 * each,
        per_session=None if of_sessions is None else of_sessions / sessions,
        per_month=None if hourly is None or hours <= 0 else hourly / hours * HOURS_PER_MONTH,
        max_cost=_option(run, "max-cost"),
        missing=missing,
        ways=_ways(run, window, prices),
        of_answers=paid,
        answers=answers,
    )


def _option(run: Run, name: str) -> float | None:
    try:
        return float(run.setting("options", name))
    except (TypeError, ValueError):
        return None


def _sum(run: Run, chosen: Mask, prices: PriceTable) -> tuple[float | None, list[str]]:
    """Cost of the chosen rows, and the models whose price is missing."""
    total, missing = 0.0, []
    for model, rows in _by_model(run, chosen):
        prompt, cached, completion = (
            float(np.nansum(populations.usage_tokens(rows, name), dtype=np.float64))
            for name in ("prompt_tokens", "cached_tokens", "completion_tokens")
        )
        cost = prices.of(model).cost(prompt, min(cached, prompt), completion)
        if cost is None:
            cost = prices.of(_asked(run)).cost(prompt, min(cached, prompt), completion)
        if cost is None:
            missing.append(model or "the model")
        else:
            total += cost
    return (None if missing else total), missing


def _ways(run: Run, window: Window, prices: PriceTable) -> BreakEven | None:
    """Of a run that one model answered; editions of it count as it."""
    models = {model_of(name) for name, _ in _by_model(run, populations.is_ok(run.rows))}
    if len(models) != 1:
        return None
    [model] = models
    return break_even(minutes_of(run.rows, window), model, prices.of(model))


def _asked(run: Run) -> str:
    """The deployment or model that a run asked; what answered may carry a name that no table knows."""
    name = run.setting("target", "deployment")
    return name if isinstance(name, str) else ""


def _by_model(run: Run, chosen: Mask) -> Iterator[tuple[str, RowTable]]:
    """The chosen rows by the model that answered; all of them under the one asked where rows do not say."""
    rows = run.rows
    if "model" not in rows or not len(rows["model"].cat.categories):
        yield _asked(run), part(rows, chosen)
        return
    column = rows["model"].cat
    codes = column.codes.to_numpy()
    for code, name in [*enumerate(column.categories), (-1, _asked(run))]:
        of_model = chosen & (codes == code)
        if of_model.any():
            yield str(name), part(rows, of_model)
