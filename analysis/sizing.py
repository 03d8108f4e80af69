"""From users to quota: requests and tokens per minute to ask for, provisioned units per model, monthly cost.

The demand model is that of the GPT-RAG performance guide: users x active share x sessions x interactions give the
requests of the peak, spread over its length, plus a margin of 10 %. The guide calls two things `n`: its text takes n
as the hours of the peak, its list of parameters as the network calls of one interaction. They are two parameters here
(`peak_hours` divides, `model_calls` multiplies). Its worked example (10 000 users, 10 %, 1 session, 2 interactions,
n = 1) is 33.3 requests a minute; the 17 that it prints is the result for n = 2 hours.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from tokenswarm.problems import BadInput

HOURS_PER_MONTH = 730
WORK_DAYS_PER_MONTH = 22
CORRECTION = (
    "The guide names both the peak's hours and the calls per interaction n; here hours divide and calls multiply. "
    "Its example (10 000 users, 10 %, 1 session, 2 interactions, n = 1) is 33.3 RPM; it prints 17, the value of n = 2."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Requests to expect in the peak. `active_share` is 0-1, `margin` a share on top."""

    users: float
    active_share: float = 1.0
    sessions: float = 1.0
    interactions: float = 1.0
    model_calls: float = 1.0
    peak_hours: float = 1.0
    margin: float = 0.1

    @property
    def rpm(self) -> float:
        """Model requests per minute in the peak, without margin."""
        requests = self.users * self.active_share * self.sessions * self.interactions * self.model_calls
        return requests / (self.peak_hours * 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Mean tokens of one request. `max_tokens` is the limit asked for; `cached_share` (0-1) of the prompt is cached."""

    prompt: float
    completion: float
    max_tokens: float
    cached_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices in one currency: per million tokens, and per provisioned unit and hour; `None` where not given."""

    prompt: float | None = None
    cached: float | None = None
    completion: float | None = None
    ptu_hour: float | None = None
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Units:
    """Provisioned units (PTUs) one model needs: exact, and rounded up to what can be deployed."""

    model: str
    exact: float
    global_units: int
    regional_units: int | None
    output_weight: float
    as_of: str
    global_monthly: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """What to ask for. Rates are per minute; `_with_margin` ones are for the quota, costs are per month."""

    rpm: float
    rpm_with_margin: float
    rpm_for_bursts: int
    tpm_used: float
    tpm_with_margin: float
    tpm_to_ask: int
    rpm_of_that_tpm: float
    requests_per_month: float
    pay_per_token_monthly: float | None
    currency: str
    units: list[Units]


@dataclass(frozen=True, slots=True)
class Model:
    """One row of ptu.csv."""

    name: str
    input_tpm_per_ptu: float
    output_weight: float
    min_global: int
    step_global: int
    min_regional: int | None
    step_regional: int | None
    as_of: str


def read_models() -> list[Model]:
    """The dated table of provisioned throughput per unit, `analysis/ptu.csv`."""
    text = resources.files("analysis").joinpath("ptu.csv").read_text(encoding="utf-8")
    return [_model(row) for row in csv.DictReader(text.splitlines())]


def _model(row: dict[str, str]) -> Model:
    return Model(
        name=row["model"],
        input_tpm_per_ptu=float(row["input_tpm_per_ptu"]),
        output_weight=float(row["output_weight"]),
        min_global=int(row["min_global"]),
        step_global=int(row["step_global"]),
        min_regional=int(row["min_regional"]) if row["min_regional"] else None,
        step_regional=int(row["step_regional"]) if row["step_regional"] else None,
        as_of=row["as_of"],
    )


def size(
    rpm: float,
    tokens: Tokens,
    *,
    margin: float = 0.1,
    prices: Prices | None = None,
    busy_hours: float = WORK_DAYS_PER_MONTH,
    rpm_per_1000_tpm: float = 6.0,
    models: list[Model] | None = None,
) -> Sizing:
    """Size a deployment for `rpm` requests a minute.

    The limiter counts prompt + max_tokens at admission, so that is what the TPM to ask for is made of; what is used
    and billed is prompt + completion. The quota of requests comes with that of tokens (`rpm_per_1000_tpm`): the TPM
    is raised where the requests need it. `busy_hours` a month run at this rate (for the cost of tokens).
    """
    prices = prices or Prices()
    asked = rpm * (1 + margin)
    bursts = burst_rpm(asked)
    estimate = asked * (tokens.prompt + tokens.max_tokens)
    to_ask = math.ceil(round(max(estimate, bursts / rpm_per_1000_tpm * 1000) / 1000, 9)) * 1000
    requests = rpm * 60 * busy_hours
    return Sizing(
        rpm=rpm,
        rpm_with_margin=asked,
        rpm_for_bursts=bursts,
        tpm_used=rpm * (tokens.prompt + tokens.completion),
        tpm_with_margin=estimate,
        tpm_to_ask=to_ask,
        rpm_of_that_tpm=to_ask / 1000 * rpm_per_1000_tpm,
        requests_per_month=requests,
        pay_per_token_monthly=_monthly(requests, tokens, prices),
        currency=prices.currency,
        units=[_units(model, asked, tokens, prices) for model in (read_models() if models is None else models)],
    )


def burst_rpm(rpm: float, slice_s: float = 10.0, risk: float = 0.01) -> int:
    """RPM limit at which at most `risk` of the 10 s slices refuse, when requests arrive at random (Poisson).

    The service checks requests per minute over slices of 1 or 10 s; a limit equal to the mean refuses nearly half of
    the slices.
    """
    mean = rpm * slice_s / 60
    fits = 0
    term = math.exp(-mean) if mean < 700 else 0.0
    if not term:  # normal limit; 2.326 is the 99th percentile
        fits = math.ceil(mean + 2.326 * math.sqrt(mean))
    else:
        total = term
        while total < 1 - risk:
            fits += 1
            term *= mean / fits
            total += term
    return math.ceil(max(fits * 60 / slice_s, rpm))


def _monthly(requests: float, tokens: Tokens, prices: Prices) -> float | None:
    if prices.prompt is None or prices.completion is None:
        return None
    cached_price = prices.prompt if prices.cached is None else prices.cached
    cached = tokens.prompt * tokens.cached_share
    per_request = (
        (tokens.prompt - cached) * prices.prompt + cached * cached_price + tokens.completion * prices.completion
    )
    return requests * per_request / 1e6


def _units(model: Model, rpm: float, tokens: Tokens, prices: Prices) -> Units:
    fresh = rpm * tokens.prompt * (1 - tokens.cached_share)
    exact = (fresh + model.output_weight * rpm * tokens.completion) / model.input_tpm_per_ptu
    in_global = _deployable(exact, model.min_global, model.step_global)
    regional = None
    if model.min_regional is not None and model.step_regional is not None:
        regional = _deployable(exact, model.min_regional, model.step_regional)
    monthly = None if prices.ptu_hour is None else in_global * prices.ptu_hour * HOURS_PER_MONTH
    return Units(model.name, exact, in_global, regional, model.output_weight, model.as_of, monthly)


def _deployable(exact: float, least: int, step: int) -> int:
    return max(least, math.ceil(round(exact / step, 9)) * step)


def tokens_of_run(path: Path) -> Tokens:
    """Mean tokens of the answered requests of a run. Raises `BadInput` when the run holds no token counts."""
    from analysis.run import load_run  # keeps sizing from numbers alone free of pandas

    rows = load_run(path).rows
    ok = rows[rows["outcome"] == "ok"]
    prompt, completion = _mean(ok, "prompt_tokens"), _mean(ok, "completion_tokens")
    if prompt is None or completion is None:
        raise BadInput([f"--from-run: expected a run with token counts of answered requests, got none ({path})"])
    limit = _mean(rows, "max_tokens")
    cached = _mean(ok, "cached_tokens") or 0.0
    return Tokens(
        prompt=prompt,
        completion=completion,
        max_tokens=completion if limit is None else limit,
        cached_share=cached / prompt if prompt else 0.0,
    )


def _mean(rows: object, column: str) -> float | None:
    values = np.asarray(rows[column].to_numpy(np.float64, na_value=np.nan))  # type: ignore[index]
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m analysis sizing`."""
    parser.description = "RPM, TPM, provisioned units and monthly cost for a number of users. " + CORRECTION
    demand = parser.add_argument_group("demand")
    demand.add_argument("--users", type=float, help="people who have access")
    demand.add_argument("--active-share", default="100%", help="share of them active in the peak: 0.1 or 10%%")
    demand.add_argument("--sessions", type=float, default=1.0, help="sessions of an active user in the peak (1)")
    demand.add_argument("--interactions", type=float, default=1.0, help="questions per session (1)")
    demand.add_argument(
        "--model-calls", type=float, default=1.0, help="model requests per question (1; GPT-RAG v1: 4-6)"
    )
    demand.add_argument("--peak-hours", type=float, default=1.0, help="length of the peak in hours (1)")
    demand.add_argument("--rpm", type=float, help="requests per minute in the peak, instead of --users")
    demand.add_argument("--margin", default="10%", help="on top of the demand (10%%)")
    tokens = parser.add_argument_group("tokens of one request")
    tokens.add_argument("--from-run", type=Path, metavar="RUN", help="take the means of a run; the options below win")
    tokens.add_argument("--prompt-tokens", type=float)
    tokens.add_argument("--completion-tokens", type=float)
    tokens.add_argument("--max-tokens", type=float, help="limit asked for (default: the completion tokens)")
    tokens.add_argument("--cached-share", help="share of the prompt served from the cache: 0.5 or 50%%")
    quota = parser.add_argument_group("quota and cost")
    quota.add_argument("--model", action="append", help="only these models of the table (repeatable)")
    quota.add_argument("--rpm-per-1000-tpm", type=float, default=6.0, help="how the model's RPM follows its TPM (6)")
    quota.add_argument("--price-prompt", type=float, help="per million prompt tokens")
    quota.add_argument("--price-cached", type=float, help="per million cached prompt tokens (default: --price-prompt)")
    quota.add_argument("--price-completion", type=float, help="per million completion tokens")
    quota.add_argument("--price-ptu-hour", type=float, help="per provisioned unit and hour")
    quota.add_argument("--currency", default="USD")
    quota.add_argument("--busy-hours", type=float, help="hours a month at this rate (peak hours x 22 days)")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace) -> int:
    """Print the sizing. Raises `BadInput` with all problems of the options."""
    demand, tokens = _inputs(args)
    rpm = args.rpm if demand is None else demand.rpm
    margin = _share(args.margin)
    sizing = size(
        rpm,
        tokens,
        margin=margin,
        prices=Prices(
            prompt=args.price_prompt,
            cached=args.price_cached,
            completion=args.price_completion,
            ptu_hour=args.price_ptu_hour,
            currency=args.currency,
        ),
        busy_hours=args.busy_hours or args.peak_hours * WORK_DAYS_PER_MONTH,
        rpm_per_1000_tpm=args.rpm_per_1000_tpm,
        models=_chosen(args.model),
    )
    print(to_json(sizing, demand, tokens) if args.format == "json" else to_text(sizing, demand, tokens, margin))
    return 0


def _inputs(args: argparse.Namespace) -> tuple[Demand | None, Tokens]:
    problems = _option_problems(args)
    measured = None
    if args.from_run is not None:
        try:
            measured = tokens_of_run(args.from_run)
        except BadInput as error:
            problems += error.problems
    elif args.prompt_tokens is None or args.completion_tokens is None:
        problems.append("tokens: expected --from-run, or --prompt-tokens and --completion-tokens, got neither")
    if problems:
        raise BadInput(problems)
    return _demand(args), _tokens(args, measured)


def _option_problems(args: argparse.Namespace) -> list[str]:
    problems = []
    if (args.users is None) == (args.rpm is None):
        problems.append("demand: expected one of --users and --rpm, got " + ("none" if args.rpm is None else "both"))
    positive = (
        "users",
        "sessions",
        "interactions",
        "model_calls",
        "peak_hours",
        "rpm",
        "prompt_tokens",
        "max_tokens",
        "rpm_per_1000_tpm",
        "busy_hours",
    )
    for name in positive:
        value = getattr(args, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            problems.append(f"--{name.replace('_', '-')}: expected a number above 0, got {value:g}")
    for name in ("completion_tokens", "price_prompt", "price_cached", "price_completion", "price_ptu_hour"):
        value = getattr(args, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            problems.append(f"--{name.replace('_', '-')}: expected a number of at least 0, got {value:g}")
    for name in ("active_share", "margin", "cached_share"):
        text = getattr(args, name)
        if text is not None and not _is_share(text, most=math.inf if name == "margin" else 1.0):
            problems.append(f"--{name.replace('_', '-')}: expected a share such as 0.1 or 10%, got {text!r}")
    known = [model.name for model in read_models()]
    for name in args.model or []:
        if name not in known:
            problems.append(f"--model: expected one of {', '.join(known)}, got {name!r}")
    return problems


def _is_share(text: str, most: float) -> bool:
    try:
        return 0 <= _share(text) <= most
    except ValueError:
        return False


def _share(text: str) -> float:
    text = text.strip()
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def _chosen(names: list[str] | None) -> list[Model]:
    return [model for model in read_models() if not names or model.name in names]


def _demand(args: argparse.Namespace) -> Demand | None:
    if args.users is None:
        return None
    return Demand(
        users=args.users,
        active_share=_share(args.active_share),
        sessions=args.sessions,
        interactions=args.interactions,
        model_calls=args.model_calls,
        peak_hours=args.peak_hours,
        margin=_share(args.margin),
    )


def _tokens(args: argparse.Namespace, measured: Tokens | None) -> Tokens:
    completion = args.completion_tokens
    if completion is None and measured:
        completion = measured.completion
    limit = args.max_tokens
    if limit is None:
        limit = measured.max_tokens if measured else completion
    share = measured.cached_share if measured else 0.0
    prompt = args.prompt_tokens if args.prompt_tokens is not None or not measured else measured.prompt
    return Tokens(
        prompt=prompt,
        completion=completion,
        max_tokens=limit,
        cached_share=share if args.cached_share is None else _share(args.cached_share),
    )


def to_json(sizing: Sizing, demand: Demand | None, tokens: Tokens) -> str:
    """The sizing with what it was computed from."""
    return json.dumps(
        {
            "schema_version": 1,
            "demand": None if demand is None else dataclasses.asdict(demand),
            "tokens": dataclasses.asdict(tokens),
            "sizing": dataclasses.asdict(sizing),
            "note": CORRECTION,
        },
        indent=2,
    )


def to_text(sizing: Sizing, demand: Demand | None, tokens: Tokens, margin: float) -> str:
    """The sizing for a terminal."""
    lines = [
        "Demand",
        *_demand_lines(sizing, demand),
        "",
        "Ask for (pay per token)",
        *_quota_lines(sizing, tokens, margin),
    ]
    lines += ["", f"Provisioned units for {sizing.rpm_with_margin:,.1f} RPM", *_unit_lines(sizing)]
    if demand is not None:
        lines += ["", CORRECTION]
    return "\n".join(lines)


def _demand_lines(sizing: Sizing, demand: Demand | None) -> list[str]:
    if demand is None:
        return [f"  {sizing.rpm:,.1f} RPM, as given"]
    formula = (
        f"{demand.users:,g} users x {demand.active_share:.0%} active x {demand.sessions:g} sessions x "
        f"{demand.interactions:g} questions x {demand.model_calls:g} model calls / {demand.peak_hours:g} h"
    )
    return [f"  {formula} = {sizing.rpm:,.1f} RPM"]


def _quota_lines(sizing: Sizing, tokens: Tokens, margin: float) -> list[str]:
    lines = [
        f"  RPM    {sizing.rpm_with_margin:>12,.1f}   with {margin:.0%} margin; {sizing.rpm_for_bursts:,} so that "
        "99 % of 10 s slices pass when requests arrive at random",
        f"  TPM    {sizing.tpm_to_ask:>12,}   counted at admission: prompt {tokens.prompt:,.0f} + max_tokens "
        f"{tokens.max_tokens:,.0f}; brings {sizing.rpm_of_that_tpm:,.0f} RPM",
        f"  used   {sizing.tpm_used:>12,.0f}   TPM billed: prompt + completion {tokens.completion:,.0f}",
    ]
    if tokens.max_tokens > 1.5 * tokens.completion > 0:
        lower = sizing.rpm_with_margin * (tokens.prompt + 1.5 * tokens.completion)
        lines.append(
            f"  max_tokens {tokens.max_tokens:,.0f} is {tokens.max_tokens / tokens.completion:.1f} times the mean "
            f"answer: at {1.5 * tokens.completion:,.0f} the same load counts for {lower:,.0f} TPM"
        )
    if sizing.pay_per_token_monthly is not None:
        lines.append(
            f"  cost   {sizing.pay_per_token_monthly:>12,.2f}   {sizing.currency} a month for "
            f"{sizing.requests_per_month:,.0f} requests"
        )
    return lines


def _unit_lines(sizing: Sizing) -> list[str]:
    priced = any(unit.global_monthly is not None for unit in sizing.units)
    lines = [
        f"  {'model':<24}{'exact':>9}{'global':>8}{'regional':>10}"
        + (f"{sizing.currency + '/month':>16}" if priced else "")
    ]
    for unit in sizing.units:
        regional = "–" if unit.regional_units is None else str(unit.regional_units)
        line = f"  {unit.model:<24}{unit.exact:>9.1f}{unit.global_units:>8}{regional:>10}"
        lines.append(line + (f"{unit.global_monthly:>16,.0f}" if unit.global_monthly is not None else ""))
    dates = sorted({unit.as_of for unit in sizing.units})
    return [*lines, f"  table of {', '.join(dates)} (analysis/ptu.csv): check it against the service before you order"]
