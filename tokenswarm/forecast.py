"""What a run will take, said before it starts: requests, tokens, and money where prices are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenswarm.settings import Settings


def describe_forecast(settings: Settings, options: Mapping[str, Any]) -> list[str]:
    """Lines for the log; none when the load is closed or has no end, for then nothing can be foretold."""
    duration_s = options.get("run_time") or (settings.plan.duration_s if settings.plan else None)
    if settings.plan is None or not duration_s:
        return []
    requests = settings.plan.expected_count(float(duration_s))
    lines = [f"Forecast: about {requests:.0f} requests in {float(duration_s):.0f} s"]
    prompt, completion = settings.context.mean(), settings.output.mean() if settings.output else None
    if settings.chat is not None and prompt is not None:
        most = completion or 0.0
        lines.append(
            f"Forecast: at most {requests * (prompt + most):.0f} tokens "
            f"({requests * prompt:.0f} prompt, {requests * most:.0f} completion)"
        )
        if settings.price_prompt is not None or settings.price_completion is not None:
            cost = requests * (prompt * (settings.price_prompt or 0) + most * (settings.price_completion or 0)) / 1000
            lines.append(f"Forecast: at most {cost:.2f} in the currency of the prices given")
    return lines
