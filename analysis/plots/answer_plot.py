"""The one plot that stands with a report's answer, by the kind of run.

Search and steps: latency and throughput over load. Constant load: offered, answered, refused over time, with the quota.
Soak: heatmap of latency over time. Several runs: their trend.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.figures import series
from analysis.figures.formats import format_figure
from analysis.figures.metrics import METRICS
from analysis.figures.series import Grid, LoadPoints
from analysis.findings.kind import Kind, kind_of
from analysis.findings.summary import Summary
from analysis.plots.curve_plot import CURVE_NOTE, curve_spec, interval_bars, scatter, shown
from analysis.plots.plotly_parts import Spec, as_times, base_layout, escape_text, right_axis, rounded
from analysis.plots.plots import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    Drawn,
    Plot,
    criteria_lines,
    request_rates,
    time_layout,
)

HEIGHT = 320
OVER_LOAD = "Latency and throughput over load"
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
    curve = one.summary.curve
    if curve is not None and kind is not Kind.SOAK:
        data, layout = curve_spec(curve)
        return _plot(OVER_LOAD, CURVE_NOTE, data, layout)
    made = {Kind.STEPS: _over_load, Kind.SOAK: _heatmap}.get(kind, _constant)(one)
    return made or _constant(one)


def _constant(one: Drawn) -> Plot:
    return request_rates([one], "answer", leave_out=("started",), wide=True)


def _plot(title: str, note: str, data: list[Spec], layout: Spec) -> Plot:
    layout["height"] = HEIGHT
    return Plot("answer", title, note, {"data": data, "layout": layout}, wide=True)


def _metric_of(summary: Summary) -> str:
    """The latency that a plot over load shows: that of the criteria, else TTFT, else E2E."""
    for item in summary.judgement.criteria:
        if item.metric in ("ttft_ms", "e2e_ms") and item.name is None:
            return item.metric
    return "ttft_ms" if summary.overall.distribution("ttft_ms").n else "e2e_ms"


def _over_load(one: Drawn) -> Plot | None:
    metric = _metric_of(one.summary)
    points = series.over_load(one.run, one.clock, metric)
    if points is None or len(points.load) < 2:
        return None
    x = "requests / min offered" if points.is_open else "requests in flight"
    layout = base_layout(x, "requests / min answered")
    layout["xaxis"] |= {"rangemode": "tozero"}
    right_axis(layout, "ms")
    note = "Each point is a span of the run; latencies on the right, in ms, where enough requests were answered."
    return _plot(OVER_LOAD, note, _load_data(points, metric), layout)


def _load_data(points: LoadPoints, metric: str) -> list[Spec]:
    title = METRICS[metric].title
    x = rounded(points.load)
    data = [scatter("answered", x, rounded(points.completed), GREEN) | {"mode": "markers"}]
    for name, values, colour in (("p50", points.median, BLUE), ("p95", points.p95, ORANGE)):
        if np.isfinite(values).any():
            marker = {"size": 7, "color": colour, "symbol": "diamond"}
            right = {"mode": "markers", "yaxis": "y2", "marker": marker}
            data.append(scatter(f"{title} {name} (right)", x, rounded(values), colour) | right)
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
    layout["xaxis"] |= {"type": "category"}
    data = []
    for metric, colour in zip(TRENDS, (ORANGE, PURPLE), strict=True):
        found = [one.summary.overall.distribution(metric) for one in drawn]
        if any(each.percentile("p95").value is not None for each in found):
            p95 = [each.percentile("p95") for each in found]
            line = scatter(f"{METRICS[metric].title} p95", x, [shown(each.value) for each in p95], colour)
            data.append(line | interval_bars(p95))
    rates = [one.summary.overall.values.get("rpm") for one in drawn]
    data.append(scatter("answered / min (right)", x, [shown(rate) for rate in rates], GREEN) | {"yaxis": "y2"})
    right_axis(layout, "requests / min")
    criteria_lines(layout, drawn, "ttft_ms")
    return _plot("From run to run", "In the order given. Bars: 95 % interval.", data, layout)
