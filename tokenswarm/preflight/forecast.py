"""What a run will take, said before it starts: requests or sessions, tokens, and money where prices are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenswarm.config.settings import Settings
from tokenswarm.userinput import counted
from tokenswarm.workload.arrivals import TracePlan


def describe_forecast(settings: Settings, options: Mapping[str, Any]) -> list[str]:
    """Lines for the log; none when the load is closed or has no end, for then nothing can be foretold."""
    duration_s = options.get("run_time") or (settings.plan.duration_s if settings.plan else None)
    if settings.plan is None or not duration_s:
        return []
    arrivals = settings.plan.expected_count(float(duration_s))
    what = "session" if settings.traffic.sessions else "request"
    lines = [f"Forecast: about {counted(round(arrivals), what)} in {float(duration_s):.0f} s"]
    tokens = _tokens(settings, arrivals, float(duration_s))
    if settings.chat is not None and tokens is not None:
        prompt, most = tokens
        lines.append(f"Forecast: at most {prompt + most:.0f} tokens ({prompt:.0f} prompt, {most:.0f} completion)")
        lines += _cost(settings, prompt, most, float(duration_s) / 3600)
    return lines


def _cost(settings: Settings, prompt: float, completion: float, hours: float) -> list[str]:
    prices, table = settings.price_of_run, settings.prices
    if settings.ptu is not None:
        if prices.ptu_hour is None:
            return ["Forecast: no price of a provisioned unit and hour is known (price-table, price-ptu-hour)"]
        of_units = settings.ptu * prices.ptu_hour * hours
        return [f"Forecast: {of_units:.2f} {table.currency} for {settings.ptu:g} PTUs; what spills over comes on top"]
    cost = prices.cost(prompt, 0.0, completion)
    if cost is None:
        return [f"Forecast: no price of {settings.model} is known (price-table, price-prompt, price-completion)"]
    whose = "the prices given" if table.given else f"{table.source}, as of {table.as_of or 'an unknown day'}"
    return [f"Forecast: at most {cost:.2f} {table.currency}, by {whose}"]


def forecast_tokens(settings: Settings, options: Mapping[str, Any]) -> float | None:
    """Tokens of the run at most; `None` when they cannot be foretold."""
    duration_s = options.get("run_time") or (settings.plan.duration_s if settings.plan else None)
    if settings.plan is None or not duration_s:
        return None
    tokens = _tokens(settings, settings.plan.expected_count(float(duration_s)), float(duration_s))
    return None if tokens is None else sum(tokens)


def _tokens(settings: Settings, requests: float, duration_s: float) -> tuple[float, float] | None:
    """Prompt and completion tokens at most; `None` where lengths are not known before (as of datasets, or of sessions,
    whose prompts grow by their answers)."""
    if settings.traffic.sessions:
        return None
    if isinstance(settings.plan, TracePlan):
        return settings.plan.tokens_before(duration_s)
    prompt = settings.context.mean() if settings.traffic.recording is None else None
    if prompt is None or settings.questions is not None or str(settings.turns) != "1":
        return None
    return requests * prompt, requests * ((settings.output.mean() if settings.output else None) or 0.0)
