"""What a run cost, and what its load would cost: from its rows and a price table, never stored in a row.

Used tokens of every answer are billed, warm-up included: `run` is of the whole run. Rates (an hour, a month) are of the
answers that ended in the window. Prompt tokens from the cache have a price of their own.

Of a provisioned deployment (option `ptu`) the units are paid for by the hour, from the start of the run to its end,
whoever uses them; tokens are billed of what it passed on alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.figures import populations
from analysis.figures.populations import Mask
from analysis.figures.sessions import is_in_session
from analysis.figures.window import Window
from analysis.findings.break_even import BreakEven, break_even, minutes_of
from analysis.findings.routes import is_spilled, targets_of
from analysis.sources.rows import RowTable, part
from analysis.sources.run import Run
from tokenswarm.metrics.prices import LEAST, PRICES, PriceTable, built_in, model_of, parse_table
from tokenswarm.record import TokenSource
from tokenswarm.userinput import BadInput

HOURS_PER_MONTH = 730
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """In `currency`; every figure is `None` where a price of a model that answered is not known (`missing` names it),
    or no answer said what it used. `of_answers`: answers whose tokens the service reported, of `answers`.
    `per_month`: 730 h at this load. `units`: of a provisioned deployment, which cost `of_units` of `run`; `None` where
    every token is billed. `says_provisioned`: answers came from provisioned units that nobody gave. `no_ways`: why the
    ways to buy it are not known.
    """

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
    no_ways: str = ""
    units: float | None = None
    of_units: float | None = None
    by_target: Mapping[str, float | None] = field(default_factory=dict)
    """Of the used tokens of each of several targets in the whole run; empty where there was one."""
    says_provisioned: bool = False
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


@dataclass(frozen=True, slots=True)
class _Reserved:
    """Provisioned units of a run: how many, and what they cost in its whole time; `None` where their price or the
    run's end is not known."""

    units: float
    per_hour: float | None
    of_run: float | None


def cost_of(run: Run, window: Window, sessions: int = 0, table: PriceTable | None = None) -> Cost | None:
    """What `run` cost; `None` when no answer says what it used. `sessions` that were begun; `table`: in place of the
    run's own prices."""
    known = (run.rows["token_source"] == str(TokenSource.USAGE)).to_numpy(bool)
    if not known.any():
        return None
    try:
        prices = table or prices_of(run)
    except BadInput as error:
        return Cost(currency="", as_of="", source="run.json", missing=error.problems)
    ok = populations.is_ok(run.rows)
    reserved = _reserved(run, prices)
    billed = known if reserved is None else known & is_spilled(run.rows)
    whole, missing = _sum(run, billed, prices)
    hourly, _ = _sum(run, billed & window.contains(populations.ended(run.rows)), prices)
    answers, paid = int(ok.sum()), int((ok & known).sum())
    if reserved is not None and reserved.per_hour is None:
        missing = [*missing, "a provisioned unit and hour"]
    ways = _ways(run, window, prices)
    each = _plus(_part(reserved, 1, answers), _over(whole, paid))
    return Cost(
        currency=prices.currency,
        as_of="" if prices.given else prices.as_of,
        source="the prices given" if prices.given else prices.source,
        run=_plus(_part(reserved, 1, 1), whole),
        per_request=each,
        per_1000_answers=None if each is None else 1000 * each,
        per_session=_per_session(run, billed, sessions, prices, reserved),
        per_month=_per_month(hourly, window.length_s, reserved),
        max_cost=_option(run, "max-cost"),
        missing=missing,
        ways=ways if isinstance(ways, BreakEven) else None,
        no_ways=ways if isinstance(ways, str) else "",
        units=None if reserved is None else reserved.units,
        of_units=None if reserved is None else reserved.of_run,
        by_target={
            name: _sum_of(run, billed & of_target, prices, _model_asked(name))[0]
            for name, of_target in targets_of(run.rows)
        },
        says_provisioned=reserved is None and bool((ok & run.rows["utilization_pct"].notna()).any()),
        of_answers=paid,
        answers=answers,
    )


def per_1000_answers_in(run: Run, span: Window, prices: PriceTable) -> float | None:
    """What 1,000 answers cost in a part of a run: their tokens, and of a provisioned deployment the part's hours;
    `None` where a price is not known, or nothing was answered in it."""
    inside = populations.is_ok(run.rows) & span.contains(populations.ended(run.rows))
    known = inside & (run.rows["token_source"] == str(TokenSource.USAGE)).to_numpy(bool)
    reserved = _reserved(run, prices)
    tokens, _ = _sum(run, known if reserved is None else known & is_spilled(run.rows), prices)
    each = _over(tokens, int(known.sum()))
    if reserved is not None:
        hours = None if reserved.per_hour is None else reserved.units * reserved.per_hour * span.length_s / HOUR_S
        each = _plus(_over(tokens, int(inside.sum())), _over(hours, int(inside.sum())))
    return None if each is None else 1000 * each


def _reserved(run: Run, prices: PriceTable) -> _Reserved | None:
    """`None` where no provisioned units were given."""
    units = run.number("quota", "ptu")
    if units is None:
        return None
    per_hour = _ptu_hour(run, prices)
    start, end = run.number("started_at"), run.number("ended_at")
    if per_hour is None or start is None or end is None or end < start:
        return _Reserved(units, per_hour, None)
    return _Reserved(units, per_hour, units * per_hour * (end - start) / HOUR_S)


def _ptu_hour(run: Run, prices: PriceTable) -> float | None:
    """Of the model that answered from the units where it is one, else of what was asked."""
    own = [name for name, _ in _by_model(run, populations.is_ok(run.rows) & ~is_spilled(run.rows))]
    return prices.of(own[0] if len(own) == 1 else _asked(run)).ptu_hour


def _part(reserved: _Reserved | None, share: float, among: int) -> float | None:
    """A share of the cost of units, divided; 0 where there are none."""
    if reserved is None:
        return 0.0
    return None if reserved.of_run is None else _over(reserved.of_run * share, among)


def _over(total: float | None, count: int) -> float | None:
    return None if total is None or not count else total / count


def _plus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _per_session(run: Run, billed: Mask, sessions: int, prices: PriceTable, reserved: _Reserved | None) -> float | None:
    """Units are shared out by answers: those of sessions among all."""
    if not sessions:
        return None
    inside, ok = is_in_session(run.rows), populations.is_ok(run.rows)
    share = _over(float((ok & inside).sum()), int(ok.sum()))
    tokens = _over(_sum(run, billed & inside, prices)[0], sessions)
    return None if share is None else _plus(_part(reserved, share, sessions), tokens)


def _per_month(of_window: float | None, window_s: float, reserved: _Reserved | None) -> float | None:
    if of_window is None or window_s <= 0:
        return None
    per_hour = of_window / (window_s / HOUR_S)
    if reserved is not None:
        if reserved.per_hour is None:
            return None
        per_hour += reserved.units * reserved.per_hour
    return per_hour * HOURS_PER_MONTH


def _option(run: Run, name: str) -> float | None:
    try:
        return float(run.setting("options", name))
    except (TypeError, ValueError):
        return None


def _sum(run: Run, chosen: Mask, prices: PriceTable) -> tuple[float | None, list[str]]:
    """Cost of the chosen rows, and the models whose price is missing."""
    targets = list(targets_of(run.rows))
    if not targets:
        return _sum_of(run, chosen, prices, _asked(run))
    parts = [_sum_of(run, chosen & of_target, prices, _model_asked(name)) for name, of_target in targets]
    missing = [name for _, names in parts for name in names]
    return (None if missing else sum(cost or 0.0 for cost, _ in parts)), list(dict.fromkeys(missing))


def _model_asked(target: str) -> str:
    """The deployment of one of several targets, without its host."""
    return target.partition(" @ ")[0]


def _sum_of(run: Run, chosen: Mask, prices: PriceTable, asked: str) -> tuple[float | None, list[str]]:
    """Cost of the chosen rows of a target, by the price of what was asked where that of what answered is not known."""
    total, missing = 0.0, []
    for model, rows in _by_model(run, chosen):
        prompt, cached, completion = (
            float(np.nansum(populations.usage_tokens(rows, name), dtype=np.float64))
            for name in ("prompt_tokens", "cached_tokens", "completion_tokens")
        )
        cost = prices.of(model).cost(prompt, min(cached, prompt), completion)
        if cost is None:
            cost = prices.of(asked).cost(prompt, min(cached, prompt), completion)
        if cost is None:
            missing.append(model or "the model")
        else:
            total += cost
    return (None if missing else total), missing


def _ways(run: Run, window: Window, prices: PriceTable) -> BreakEven | str:
    """Of a run that one model answered; editions of it count as it. Else why they are not known."""
    models = {model_of(name) for name, _ in _by_model(run, populations.is_ok(run.rows))}
    if len(models) != 1:
        return f"{len(models)} models answered"
    [model] = models
    return break_even(minutes_of(run.rows, window), model, prices.of(model))


def _asked(run: Run) -> str:
    """The deployment or model that a run asked; what answered may carry a name that no table knows."""
    name = run.setting("target", "deployment")
    return name if isinstance(name, str) else ""


def _by_model(run: Run, chosen: Mask) -> Iterator[tuple[str, RowTable]]:
    """The chosen rows by the model that answered; all of them under the one asked where rows do not say."""
    rows = run.rows
    if not chosen.any():
        return
    if "model" not in rows or not len(rows["model"].cat.categories):
        yield _asked(run), part(rows, chosen)
        return
    column = rows["model"].cat
    codes = column.codes.to_numpy()
    for code, name in [*enumerate(column.categories), (-1, _asked(run))]:
        of_model = chosen & (codes == code)
        if of_model.any():
            yield str(name), part(rows, of_model)
