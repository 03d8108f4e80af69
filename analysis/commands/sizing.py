"""`python -m analysis sizing`: what to ask for, from numbers or from the tokens of a run; as text and JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path

import numpy as np

from analysis.sizing.demand import (
    CORRECTION,
    WORK_DAYS_PER_MONTH,
    Demand,
    Model,
    Sizing,
    Tokens,
    read_models,
    size,
)
from tokenswarm.metrics.prices import PRICES, Prices, built_in, read_table
from tokenswarm.redaction import write_line
from tokenswarm.userinput import BadInput


def tokens_of_run(path: Path) -> Tokens:
    """Mean tokens of the answered requests of a run. Raises `BadInput` when the run holds no token counts."""
    from analysis.sources.loading import load_run  # keeps sizing from numbers alone free of pandas

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


RATIO = "requests per minute for each 1000 TPM of quota (6, as of older models; gpt-4.1 and gpt-5-mini: 1, gpt-5: 10)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m analysis sizing`."""
    parser.description = (
        "RPM, TPM, provisioned units and monthly cost for a number of users. "
        "Example: --users 10000 --active-share 10% --prompt-tokens 2000 --completion-tokens 200"
    )
    parser.epilog = CORRECTION
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
    quota.add_argument("--rpm-per-1000-tpm", type=float, default=6.0, help=RATIO)
    quota.add_argument("--price-prompt", type=float, help="per million prompt tokens")
    quota.add_argument("--price-cached", type=float, help="per million cached prompt tokens (default: --price-prompt)")
    quota.add_argument("--price-completion", type=float, help="per million completion tokens")
    quota.add_argument("--price-ptu-hour", type=float, help="per provisioned unit and hour")
    quota.add_argument("--price-table", type=Path, metavar="FILE", help="TOML of prices by model (with one --model)")
    quota.add_argument("--currency", help="of the prices given (default: the table's)")
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
        prices=_prices(args),
        busy_hours=args.busy_hours or args.peak_hours * WORK_DAYS_PER_MONTH,
        rpm_per_1000_tpm=args.rpm_per_1000_tpm,
        models=_chosen(args.model),
    )
    write_line(to_json(sizing, demand, tokens) if args.format == "json" else to_text(sizing, demand, tokens, margin))
    return 0


def _prices(args: argparse.Namespace) -> Prices:
    """Of the one model that is sized for, by the price table; single prices stand in place of its own."""
    given = {name: getattr(args, f"price_{name}") for name in PRICES}
    table = (built_in() if args.price_table is None else read_table(args.price_table)).with_given(given)
    found = table.of(args.model[0] if args.model and len(args.model) == 1 else "")
    return found if args.currency is None else dataclasses.replace(found, currency=args.currency)


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
    people = "user" if demand.users == 1 else "users"
    formula = (
        f"{demand.users:,g} {people} x {demand.active_share:.0%} active x {demand.sessions:g} sessions x "
        f"{demand.interactions:g} questions x {demand.model_calls:g} model calls / {demand.peak_hours:g} h"
    )
    return [f"  {formula} = {sizing.rpm:,.1f} RPM"]


def _quota_lines(sizing: Sizing, tokens: Tokens, margin: float) -> list[str]:
    ratio = sizing.rpm_of_that_tpm / sizing.tpm_to_ask * 1000 if sizing.tpm_to_ask else 0.0
    lines = [
        f"  RPM    {sizing.rpm_with_margin:>12,.1f}   with {margin:.0%} margin; {sizing.rpm_for_bursts:,} so that "
        "99 % of 10 s slices pass when requests arrive at random",
        f"  TPM    {sizing.tpm_to_ask:>12,}   counted at admission: prompt {tokens.prompt:,.0f} + max_tokens "
        f"{tokens.max_tokens:,.0f}; brings {sizing.rpm_of_that_tpm:,.0f} RPM "
        f"at {ratio:.3g} per 1,000 TPM (--rpm-per-1000-tpm: it differs by model)",
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
    return [
        *lines,
        f"  table of {', '.join(dates)} (analysis/sizing/ptu.csv): check it against the service before you order",
    ]
