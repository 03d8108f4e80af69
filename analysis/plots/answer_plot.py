"""The one plot that stands with a report's answer, by the kind of run.

Search and steps: latency and throughput over load. Constant load: offered, answered, refused over time, with the quota.
Soak: heatmap of latency over time. Several runs: their trend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.figures import series
from analysis.figures.formats import format_figure
from analysis.figures.metrics import METRICS
from analysis.figures.series import Grid, LoadPoints
from analysis.findings.kind import Kind, kind_of
from analysis.findings.summary import Summary
from analysis.findings.verdict import Judged
from analysis.plots.plotly_parts import Spec, as_times, base_layout, escape_text, right_axis, rounded
from analysis.plots.plots import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    Drawn,
    Plot,
    criteria_lines,
    request_rates,
    time_layout,
)
from analysis.statistics import Distribution

HEIGHT = 320
OVER_LOAD = "Latency and throughput over load"
OVER_LOAD = "Latency and throughput over load"
SCALE = [[0, "rgba(59,127,217,0)"], [0.05, "rgba(59,127,217,0.18)"], [1, BLUE]]
SCALE = [[0, "rgba(59,127,217,0)"], [0.05, "rgba(59,127,217,0.18)"], [1, BLUE]]
TRENDS = ("ttft_ms", "e2e_ms")


def answer_plot(drawn: Sequence[Drawn]) -> Plot | None:
    """The plot for one run or several; `None` where there is nothing to draw."""
    if not drawn:
        return None
    if len(drawn) > 1:
        return _trend(drawn)
    one = drawn[0]
    kind = kind_of(one.summary)
    made = {Kind.SEARCH: _search, Kind.STEPS: _over_load, Kind.SOAK: _heatmap}.get(kind, _constant)(one)
    return made or _constant(one)


def _constant(one: Drawn) -> Plot:
    return request_rates([one], "answer", leave_out=("started",), wide=True)


def _plot(title: str, note: str, data: list[Spec], layout: Spec) -> Plot:
    layout["height"] = HEIGHT
    return Plot("answer", title, note, {"data": data, "layout": layout}, wide=True)


def _scatter(name: str, x: Any, y: Any, colour: str, **more: Any) -> Spec:
    return {
        "type": "scatter", "mode": "lines+markers", "name": escape_text(name), "x": x, "y": y,
        "line": {"color": colour, "width": 2}, "marker": {"size": 7, "color": colour}, "hovertemplate": "%{y:,.4~r}",
    } | more  # fmt: skip


def _metric_of(summary: Summary) -> str:
    """The latency that a plot over load shows: that of the criteria, else TTFT, else E2E."""
    for item in summary.judgement.criteria:
        if item.metric in ("ttft_ms", "e2e_ms") and item.name is None:
            return item.metric
    return "ttft_ms" if summary.overall.distribution("ttft_ms").n else "e2e_ms"


def _search(one: Drawn) -> Plot | None:
    """Each level at the rate it was asked for: green where it held, red where it broke."""
    found = one.summary.settings.get("search")
    levels = _levels(found if isinstance(found, Mapping) else {})
    if not levels:
        return None
    layout = base_layout("requests / min asked for", "requests / min answered")
    layout["xaxis"] |= {"rangemode": "tozero"}
    layout["yaxis"] |= {"rangemode": "tozero"}
    data = [_answered(levels)]
    metric = _metric_of(one.summary)
    criterion = next((item for item in one.summary.judgement.criteria if item.metric == metric), None)
    if criterion is not None:
        data.append(_judged_latency(levels, criterion))
        right_axis(layout, "ms")
    answer = _number(found.get("answer_rpm")) if isinstance(found, Mapping) else None
    if answer is not None:
        _upright(layout, answer, f"answer: {answer:,.4g} RPM")
    return _plot(OVER_LOAD, "Levels of the search. Red: a criterion failed there.", data, layout)


def _levels(search: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    levels = search.get("levels")
    known = [level for level in (levels if isinstance(levels, list) else []) if isinstance(level, Mapping)]
    return sorted((level for level in known if _is_number(level.get("rate_rpm"))), key=lambda level: level["rate_rpm"])


def _answered(levels: Sequence[Mapping[str, Any]]) -> Spec:
    colours = [GREEN if level.get("holds") is True else RED for level in levels]
    marks = {"marker": {"size": 9, "color": colours}, "line": {"color": BLUE, "width": 1.5}}
    rates, answered = ([_number(level.get(key)) for level in levels] for key in ("rate_rpm", "completed_rpm"))
    return _scatter("answered (green: level held)", rates, answered, BLUE, **marks)


def _judged_latency(levels: Sequence[Mapping[str, Any]], criterion: Judged) -> Spec:
    rates = [_number(level.get("rate_rpm")) for level in levels]
    values = [_level_value(level, str(criterion.criterion)) for level in levels]
    name = f"{METRICS[criterion.metric].title} {criterion.aggregation}, ms (right)"
    return _scatter(name, rates, values, ORANGE, yaxis="y2", line={"color": ORANGE, "width": 2, "dash": "dot"})


def _level_value(level: Mapping[str, Any], text: str) -> float | None:
    judged = level.get("criteria")
    for item in judged if isinstance(judged, list) else []:
        if isinstance(item, Mapping) and item.get("text") == text:
            return _number(item.get("value"))
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    return float(f"{value:.4g}") if _is_number(value) else None


def _upright(layout: Spec, at: float, label: str) -> None:
    layout["shapes"].append({
        "type": "line", "xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1,
        "line": {"color": PURPLE, "width": 1.5, "dash": "dash"},
    })  # fmt: skip
    layout["annotations"].append({
        "xref": "x", "yref": "paper", "x": at, "y": 0.02, "text": escape_text(label), "showarrow": False,
        "xanchor": "left", "yanchor": "bottom", "font": {"color": PURPLE, "size": 11},
    })  # fmt: skip


def _over_load(one: Drawn) -> Plot | None:
    metric = _metric_of(one.summary)
    points = series.over_load(one.run, one.clock, metric)
    if points is None or len(points.load) < 2:
        return None
    x = "requests / min offered" if points.is_open else "requests in flight"
    layout = base_layout(x, "requests / min answered")
    for axis in ("xaxis", "yaxis"):
        layout[axis] |= {"rangemode": "tozero"}
    right_axis(layout, "ms")
    note = "Each point is a span of the run; latencies on the right, in ms, where enough requests were answered."
    return _plot(OVER_LOAD, note, _load_data(points, metric), layout)


def _load_data(points: LoadPoints, metric: str) -> list[Spec]:
    title = METRICS[metric].title
    x = rounded(points.load)
    data = [_scatter("answered", x, rounded(points.completed), GREEN, mode="markers")]
    for name, values, colour in (("p50", points.median, BLUE), ("p95", points.p95, ORANGE)):
        if np.isfinite(values).any():
            mark = {"size": 7, "color": colour, "symbol": "diamond"}
            data.append(_scatter(f"{title} {name} (right)", x, rounded(values), colour, mode="markers", yaxis="y2",
                                 marker=mark))  # fmt: skip
    return data


def _heatmap(one: Drawn) -> Plot | None:
    """A cell for each span of time and of latency, as stacked bars: the darker, the more of the span's requests."""
    metric = "ttft_ms" if one.summary.overall.distribution("ttft_ms").n else "e2e_ms"
    grid = series.latency_grid(one.run, one.clock, metric)
    if grid is None:
        return None
    layout = time_layout([one], f"{METRICS[metric].title}, ms (log scale)") | {"barmode": "stack", "bargap": 0}
    ticks = range(0, len(grid.latencies), 4)
    layout["yaxis"] |= {"tickvals": list(ticks), "ticktext": [format_figure(float(grid.latencies[at])) for at in ticks]}
    layout["showlegend"], layout["hovermode"] = False, "closest"
    note = "The darker a cell, the larger the share of the requests started then. A band that rises is drift."
    return _plot(f"{METRICS[metric].title} over time", note, _cells(grid), layout)


def _cells(grid: Grid) -> list[Spec]:
    """A trace for each row of the grid: the basic bundle of plotly.js has no heatmap."""
    shares = grid.counts / np.maximum(grid.counts.sum(axis=0), 1)
    x = as_times((grid.times[:-1] + grid.times[1:]) / 2)
    common = {"type": "bar", "x": x, "y": [1] * len(x), "width": (np.diff(grid.times) * 1000).tolist(),
              "showlegend": False, "hovertemplate": "%{customdata} requests"}  # fmt: skip
    scale = {"cmin": 0, "cmax": float(np.percentile(shares[shares > 0], 95)), "line": {"width": 0}, "colorscale": SCALE}
    return [
        common
        | {
            "name": f"{format_figure(float(low))}–{format_figure(float(high))} ms",
            "customdata": row.astype(int).tolist(),
            "marker": scale | {"color": [round(float(share), 3) for share in part]},
        }
        for low, high, row, part in zip(grid.latencies, grid.latencies[1:], grid.counts, shares, strict=False)
    ]


def _trend(drawn: Sequence[Drawn]) -> Plot | None:
    """p95 of TTFT and E2E with their intervals, and answers a minute, run by run in the order given."""
    x = [escape_text(one.label) for one in drawn]
    layout = base_layout(None, "ms")
    layout["yaxis"] |= {"rangemode": "tozero"}
    layout["xaxis"] |= {"type": "category"}
    data = []
    for metric, colour in zip(TRENDS, (ORANGE, PURPLE), strict=True):
        found = [one.summary.overall.distribution(metric) for one in drawn]
        if any(each.percentile("p95").value is not None for each in found):
            data.append(_with_interval(f"{METRICS[metric].title} p95", x, found, colour))
    rates = [one.summary.overall.values.get("rpm") for one in drawn]
    data.append(_scatter("answered / min (right)", x, [_number(rate) for rate in rates], GREEN, yaxis="y2"))
    right_axis(layout, "requests / min")
    criteria_lines(layout, drawn, "ttft_ms")
    return _plot("From run to run", "In the order given. Bars: 95 % interval.", data, layout)


def _with_interval(name: str, x: list[str], found: Sequence[Distribution], colour: str) -> Spec:
    estimates = [each.percentile("p95") for each in found]
    values = [each.value for each in estimates]
    up = [(each.high or each.value or 0) - (each.value or 0) for each in estimates]
    down = [(each.value or 0) - (each.low or each.value or 0) for each in estimates]
    error = {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.2}
    return _scatter(name, x, [_number(value) for value in values], colour, error_y=error)
