"""Pieces of plotly.js specifications: layouts, lines, dots, limits. Texts are escaped here."""

from __future__ import annotations

import html
import math
from typing import Any

from analysis.figures.populations import Values
from analysis.figures.series import Curve

Spec = dict[str, Any]

LEGEND: Spec = {
    "orientation": "h",
    "x": 0,
    "y": 1.02,
    "yanchor": "bottom",
    "bgcolor": "rgba(0,0,0,0)",
    "font": {"size": 12},
}


def base_layout(x_title: str | None, y_title: str | None) -> Spec:
    """Layout of any plot: no frame, no background, a legend above, axis titles as given, y from 0."""
    axis: Spec = {
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 6,
        "tickcolor": "rgba(0,0,0,0)",
        "automargin": True,
        "gridwidth": 1,
        "title": {"standoff": 8},
        "tickformat": ",~f",
    }
    return {
        "height": 270,
        "margin": {"l": 8, "r": 12, "t": 30, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12},
        "xaxis": axis | {"title": {"text": x_title or "", "standoff": 8, "font": {"size": 12}}, "showgrid": False},
        "yaxis": axis | {"title": {"text": y_title or "", "standoff": 8, "font": {"size": 12}}, "rangemode": "tozero"},
        "legend": dict(LEGEND),
        "showlegend": True,
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "#1f2430", "bordercolor": "#1f2430", "font": {"color": "#f2f4f8", "size": 12}},
        "shapes": [],
        "annotations": [],
    }


def elapsed_layout(length_s: float, y_title: str) -> Spec:
    """Layout over the time since the start of something that took `length_s`."""
    layout = base_layout(None, y_title) | {"hovermode": "x unified"}
    layout["xaxis"] |= {
        "type": "date",
        "tickformat": "%M:%S" if length_s < 3600 else "%H:%M",
        "hoverformat": "%H:%M:%S",
        "range": [ORIGIN_MS, ORIGIN_MS + round(length_s * 1000)],
        "nticks": 7,
    }
    return layout


ORIGIN_MS = 86_400_000
"""Midnight, as ms since 1970, that stands for the start of a run: four digits alone would be a year to plotly.js."""


def as_times(seconds: Values) -> list[int]:
    """Seconds since the start as plotly dates, so that ticks fall on whole minutes."""
    return [ORIGIN_MS + round(second * 1000) for second in seconds.tolist()]


def draw_curve(curve: Curve, name: str, colour: str, *, dash: str = "solid", markers: bool = False) -> Spec:
    """A line over numbers."""
    return {
        "type": "scatter", "mode": "lines+markers" if markers else "lines", "name": escape_text(name),
        "x": [round(float(x), 4) for x in curve.x], "y": rounded(curve.y),
        "line": {"color": colour, "width": 2, "dash": dash}, "marker": {"size": 5}, "hovertemplate": "%{y:,.4~r}",
    }  # fmt: skip


def draw_dots(curve: Curve, name: str, colour: str, *, times: bool = False) -> Spec:
    """Small translucent dots over numbers, or over seconds since the start (`times`)."""
    return {
        "type": "scatter", "mode": "markers", "name": escape_text(name),
        "x": as_times(curve.x) if times else [round(float(x), 3) for x in curve.x], "y": rounded(curve.y),
        "marker": {"size": 3.5, "color": colour, "opacity": 0.35, "line": {"width": 0}},
        "hoverinfo": "skip",
    }  # fmt: skip


def rounded(values: Values) -> list[float | None]:
    """Four significant digits are all that a plot shows; gaps are null."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values.tolist()]


def escape_text(text: str) -> str:
    """plotly.js reads a little HTML in texts: what comes from a run stays text."""
    return html.escape(text, quote=False)


def right_axis(layout: Spec, y_title: str, **more: Any) -> None:
    """A second scale on the right, without a grid of its own."""
    layout["yaxis2"] = {
        "overlaying": "y", "side": "right", "showgrid": False, "zeroline": False, "rangemode": "tozero",
        "automargin": True, "tickformat": ",~f", "tickmode": "auto",
        "title": {"text": y_title, "standoff": 8, "font": {"size": 12}},
    } | more  # fmt: skip


def draw_limit(layout: Spec, value: float, label: str, colour: str) -> None:
    """A dashed line across the plot at a value, with its label at the right end."""
    layout["shapes"].append({
        "type": "line", "xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": value, "y1": value,
        "line": {"color": colour, "width": 1.5, "dash": "dash"},
    })  # fmt: skip
    layout["annotations"].append({
        "xref": "paper", "yref": "y", "x": 1, "y": value, "text": escape_text(label), "showarrow": False,
        "xanchor": "right", "yanchor": "bottom", "font": {"color": colour, "size": 11},
    })  # fmt: skip
