"""Latency and throughput over load, and what a user gets against what the system gives: plots of a load curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.figures.levels import LevelFigures
from analysis.findings.load_curve import CurveLevel, LoadCurve
from analysis.plots.plotly_parts import Spec, base_layout, escape_text, right_axis
from analysis.plots.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, TEAL, Plot
from analysis.statistics import Estimate

CURVE_NOTE = "Each point is a level; bars are 95 % intervals. Green: its criteria held; red: one did not."
TRADE_NOTE = "Each point is a level. Green: on the Pareto front, no other level has more on both axes."

LABEL_SIZE = (0.12, 0.08)
"""About what a label takes of the plot's width and height."""
EDGES = (0.4, 0.6)
"""Shares of the plot's width between which a label may stand on both sides of its point; beyond, it stands inwards."""
SIDES = (
    ("top right", "middle right", "bottom right"),
    ("top center", "middle right", "middle left", "bottom center"),
    ("top left", "middle left", "bottom left"),
)
HEADROOM = 1.14
"""The y axis ends so far above the highest point that a label fits between."""


def curve_spec(curve: LoadCurve) -> tuple[list[Spec], Spec]:
    """Answers a minute with p95 of TTFT and E2E (right) over load; a line at the knee and at the load that was
    carried."""
    layout = base_layout(f"load, {curve.unit}", "requests / min answered")
    layout["xaxis"] |= {"rangemode": "tozero"}
    right_axis(layout, "ms")
    levels = curve.levels
    found = [level.figures for level in levels]
    x = [figures.span.load for figures in found]
    marks = {"size": 9, "color": [_colour(level) for level in levels]}
    data = [scatter("answered", x, [shown(each.rpm) for each in found], BLUE) | {"marker": marks}]
    data += _latencies(x, found)
    _mark_loads(layout, curve)
    return data, layout


def trade_plot(curve: LoadCurve) -> Plot | None:
    """Tokens a second for each user against those in all; `None` where fewer than two levels tell both."""
    told = [
        level
        for level in curve.levels
        if level.figures.tokens_per_s is not None and level.figures.per_user.value is not None
    ]
    if len(told) < 2:
        return None
    layout = base_layout("tokens/s in all", "tokens/s per user (median)") | {"showlegend": False}
    layout["xaxis"] |= {"rangemode": "tozero"}
    x = [shown(level.figures.tokens_per_s) for level in told]
    y = [shown(level.figures.per_user.value) for level in told]
    names = [escape_text(level.label) for level in told]
    labels = place_labels(names, x, y)
    lines = max(text.count("<br>") for text, _ in labels)
    layout["yaxis"]["range"] = [0.0, max(each or 0.0 for each in y) * (HEADROOM + LABEL_SIZE[1] * lines)]
    trace = {
        "type": "scatter", "mode": "markers+text", "name": "level", "cliponaxis": False, "x": x, "y": y,
        "customdata": names, "text": [text for text, _ in labels], "textposition": [side for _, side in labels],
        "marker": {"size": 9, "color": [GREEN if level.on_front else GREY for level in told]},
        "textfont": {"size": 11}, "hovertemplate": "%{customdata}: %{x:,.4~r} in all, %{y:,.4~r} per user",
    }  # fmt: skip
    return Plot("trade", "Speed per user against the system's", TRADE_NOTE, {"data": [trace], "layout": layout})


def place_labels(texts: Sequence[str], x: Sequence[float | None], y: Sequence[float | None]) -> list[tuple[str, str]]:
    """Each point's label and at which of its sides it stands: inside the plot, and at another one where points lie
    close to it. Where all sides are taken, blank lines below a label raise it above the one at the top."""
    points = np.array([x, y], dtype=float).T
    size = points.max(axis=0)
    near = (np.abs(points[:, None] - points) <= size * LABEL_SIZE).all(axis=2)
    placed = []
    for number, text in enumerate(texts):
        across, up = points[number] / np.where(size > 0, size, 1.0)
        sides: tuple[str, ...] = SIDES[int(np.searchsorted(EDGES, across))]
        if up < 2 * LABEL_SIZE[1]:
            sides = sides[:-1]  # below are the numbers of the axis
        before = int(near[number, :number].sum())
        lines = max(0, before - len(sides) + 1)
        placed.append((text + "<br> " * lines, sides[0 if lines else before]))
    return placed


def _latencies(x: Sequence[float], found: Sequence[LevelFigures]) -> list[Spec]:
    told = (
        ("TTFT p95, ms (right)", [each.ttft_p95 for each in found], ORANGE),
        ("E2E p95, ms (right)", [each.e2e_p95 for each in found], PURPLE),
    )
    return [
        scatter(name, x, [shown(each.value) for each in estimates], colour) | interval_bars(estimates) | {"yaxis": "y2"}
        for name, estimates, colour in told
        if any(each.value is not None for each in estimates)
    ]


def scatter(name: str, x: Sequence[Any], y: Sequence[float | None], colour: str) -> Spec:
    """Points joined by lines."""
    return {
        "type": "scatter", "mode": "lines+markers", "name": escape_text(name), "x": list(x), "y": list(y),
        "line": {"color": colour, "width": 2}, "marker": {"size": 7, "color": colour}, "hovertemplate": "%{y:,.4~r}",
    }  # fmt: skip


def interval_bars(estimates: Sequence[Estimate]) -> Spec:
    """95 % intervals. A side that the sample does not bound has no bar."""
    up = [shown(abs((each.high or each.value or 0.0) - (each.value or 0.0))) for each in estimates]
    down = [shown(abs((each.value or 0.0) - (each.low or each.value or 0.0))) for each in estimates]
    return {"error_y": {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.2}}


def _colour(level: CurveLevel) -> str:
    if level.holds is None:
        return BLUE
    return GREEN if level.holds else RED


def _mark_loads(layout: Spec, curve: LoadCurve) -> None:
    knee, largest = curve.knee, curve.levels[-1].figures.span.load
    if knee is not None and knee.high is not None:
        _upright(layout, knee.load, largest, f"knee: {curve.load_text(knee.load)}", PURPLE, 0.02)
    if curve.carried is not None:
        _upright(layout, curve.carried, largest, f"criteria held up to {curve.load_text(curve.carried)}", TEAL, 0.12)


def _upright(layout: Spec, at: float, largest: float, label: str, colour: str, height: float) -> None:
    """A line over the whole height, its label on the side where there is more room."""
    layout["shapes"].append({
        "type": "line", "xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1,
        "line": {"color": colour, "width": 1.5, "dash": "dash"},
    })  # fmt: skip
    layout["annotations"].append({
        "xref": "x", "yref": "paper", "x": at, "y": height, "text": escape_text(label), "showarrow": False,
        "xanchor": "left" if at < largest / 2 else "right", "yanchor": "bottom", "font": {"color": colour, "size": 11},
    })  # fmt: skip


def shown(value: float | None) -> float | None:
    """A figure as a plot has it: see `rounded`."""
    return None if value is None else float(f"{value:.4g}")
