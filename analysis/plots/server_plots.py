"""Plots of what the server said about itself (`server_metrics.csv`), on the time axis of the run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.plots.plotly_parts import Spec, as_times, elapsed_layout, escape_text, rounded
from analysis.plots.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, TEAL, Drawn, Plot
from analysis.server.client_and_server import ServerCurve, curves
from tokenswarm.metrics.server_metrics import FILE_NAME, read_samples

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, TEAL, RED, GREY)
AGGREGATION_DASH = {"maximum": "dot", "minimum": "dash"}


def server_plots(drawn: Sequence[Drawn]) -> list[Plot]:
    """One plot for each resource and unit of each run that has server metrics; none for the others.

    Tokens are drawn apart from other counts, which they would flatten.
    """
    plots = []
    for number, one in enumerate(drawn):
        groups: dict[tuple[str, str], list[ServerCurve]] = {}
        for curve in curves(read_samples(one.run.path / FILE_NAME) if one.run.path.is_dir() else []):
            groups.setdefault((curve.resource, _axis(curve)), []).append(curve)
        plots += [
            _plot(one, f"server-{number}-{place}", resource, axis, group)
            for place, ((resource, axis), group) in enumerate(groups.items())
        ]
    return plots


def _axis(curve: ServerCurve) -> str:
    if curve.unit != "count":
        return curve.unit or "value"
    counted = "tokens" if "token" in curve.metric.lower() else "count"
    return f"{counted} / {curve.interval_s:.0f} s" if curve.aggregation == "total" else counted


def _plot(one: Drawn, key: str, resource: str, axis: str, group: Sequence[ServerCurve]) -> Plot:
    data = [_line(one, curve, COLOURS[place % len(COLOURS)]) for place, curve in enumerate(group)]
    note = "As the service reports it, at the middle of each interval."
    spec = {"data": data, "layout": elapsed_layout(one.clock.length_s, axis)}
    return Plot(key, f"{resource}: {axis}", note, spec)


def _line(one: Drawn, curve: ServerCurve, colour: str) -> Spec:
    """Values at the middle of their interval, which may reach beyond the run: the service counts whole minutes."""
    seconds = np.array([at + curve.interval_s / 2 - one.clock.origin for at, _ in curve.points])
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape_text(f"{curve.metric} ({curve.aggregation})"),
        "x": as_times(np.clip(seconds, 0.0, one.clock.length_s)),
        "y": rounded(np.array([value for _, value in curve.points])),
        "line": {"color": colour, "width": 2, "dash": AGGREGATION_DASH.get(curve.aggregation, "solid")},
        "marker": {"size": 5},
        "hovertemplate": "%{y:,.4~r}",
    }
