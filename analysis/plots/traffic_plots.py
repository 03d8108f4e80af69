"""The plots of recorded requests, from what `python -m tokenswarm.traffic describe --json` says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.plots.plotly_parts import Spec, base_layout, escape_text
from analysis.plots.plots import BLUE, GREEN, Plot

TITLES = {
    "prompt_tokens": ("Prompt length", "tokens, by estimate"),
    "max_tokens": ("Completion limit", "tokens"),
    "requests_per_session": ("Requests of a session", "requests"),
    "shared_pct_of_prompt": ("Prefix sharing", "% of a prompt that began an earlier one"),
}


def traffic_plots(found: Mapping[str, Any]) -> list[Plot]:
    """Arrivals, lengths, sharing, APIs and tools. Raises what a description that is none raises."""
    return [*_arrivals(found), *_lengths(found), _kinds(found)]


def _arrivals(found: Mapping[str, Any]) -> Iterator[Plot]:
    arrivals = found.get("arrivals")
    if not arrivals:
        return
    bin_s, counts = float(arrivals["bin_s"]), arrivals["per_bin"]
    minutes = [round(number * bin_s / 60, 4) for number in range(len(counts))]
    rates = [round(count / bin_s * 60, 3) for count in counts]
    spec = _bars(minutes, rates, "minutes since the first request", f"{arrivals['of']} per minute", BLUE)
    yield Plot("arrivals", "Arrivals over time", f"Counted in {bin_s:.4g} s each.", spec, wide=True)


def _lengths(found: Mapping[str, Any]) -> Iterator[Plot]:
    for name, (title, unit) in TITLES.items():
        bins = found.get("histograms", {}).get(name)
        if bins:
            labels = [f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high, _ in bins]
            what = "sessions" if name == "requests_per_session" else "requests"
            spec = _bars(labels, [count for _, _, count in bins], unit, what, GREEN)
            yield Plot(name, title, "", spec)


def _kinds(found: Mapping[str, Any]) -> Plot:
    """Which APIs are asked, and how many requests have tools."""
    whole, tools = found["requests"], found.get("with_tools_pct")
    counts = {str(name): int(count) for name, count in found["apis"].items()}
    if tools is not None:
        counts |= {"with tools": round(whole * tools / 100), "without tools": whole - round(whole * tools / 100)}
    spec = _bars([escape_text(name) for name in counts], list(counts.values()), "", "requests", BLUE)
    return Plot("kinds", "APIs and tools", "", spec)


def _bars(x: Sequence[Any], y: Sequence[float], x_title: str, y_title: str, colour: str) -> Spec:
    layout = base_layout(x_title, y_title) | {"showlegend": False, "bargap": 0.08}
    layout["xaxis"]["type"] = "linear" if x and not isinstance(x[0], str) else "category"
    return {"data": [{"type": "bar", "x": list(x), "y": list(y), "marker": {"color": colour}}], "layout": layout}
