"""The plots of a report, as plotly.js specifications (plain dicts). Colours of text, axes and grid come from CSS.

One run: a colour per series. Several runs: a colour per run, fewer series each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.figures import series
from analysis.figures.formats import format_figure, short_labels
from analysis.figures.metrics import METRICS, says_more, values_of
from analysis.figures.series import Clock, Curve
from analysis.findings.summary import Summary
from analysis.findings.verdict import Judged
from analysis.plots.plotly_parts import (
    LEGEND,
    Spec,
    as_times,
    base_layout,
    draw_curve,
    draw_dots,
    draw_limit,
    elapsed_layout,
    escape_text,
    rounded,
)
from analysis.sources.run import Run

BLUE, ORANGE, GREEN, RED, PURPLE, GREY, TEAL = (
    "#3b7fd9", "#e08a1e", "#2f9e6e", "#d94848", "#8a63d2", "#8b909a", "#1d9aa8",
)  # fmt: skip
RUN_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, TEAL, RED, GREY)
OUTCOME_COLOURS = {
    "ok": GREEN, "throttled": ORANGE, "cancelled": GREY, "dropped": PURPLE, "http_error": RED, "timeout": "#a33a3a",
    "aborted": "#9db4c0",
    "connection_error": "#c2607a", "truncated": "#b5651d", "stream_error": "#e06666", "bad_payload": "#7a4b4b",
    "content_filter": TEAL,
}  # fmt: skip
RATE_COLOURS = {"offered": GREY, "started": BLUE, "completed": GREEN, "throttled": ORANGE}
TOKEN_COLOURS = {"used": GREEN, "estimated": BLUE}
PERCENTS = (50.0, 95.0)
NINES = {0: "0", 0.30103: "50", 1: "90", 1.30103: "95", 2: "99", 3: "99.9", 4: "99.99", 5: "99.999"}


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot: its title, a sentence on what is drawn, and the specification."""

    key: str
    title: str
    note: str
    spec: Spec
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """A run that can be drawn, with its figures, its time axis and its colour."""

    run: Run
    summary: Summary
    clock: Clock
    colour: str
    label: str


def drawable(runs: Sequence[Run], summaries: Sequence[Summary]) -> list[Drawn]:
    """Runs with rows; the others have figures only."""
    labels = short_labels([run.label for run in runs])
    found = []
    for number, (run, summary) in enumerate(zip(runs, summaries, strict=True)):
        clock = series.clock_of(run)
        if clock is not None:
            colour = RUN_COLOURS[number % len(RUN_COLOURS)]
            found.append(Drawn(run, summary, clock, colour, labels[number]))
    return found


def latencies_over_time(drawn: Sequence[Drawn]) -> list[Plot]:
    """TTFT, TBT and E2E by the start of the request."""
    plots = [_latency(drawn, metric) for metric in ("ttft_ms", "tbt_ms", "e2e_ms")] if drawn else []
    return [plot for plot in plots if plot is not None]


def load_over_time(drawn: Sequence[Drawn]) -> list[Plot]:
    """Requests and tokens a minute beside the quota, and utilization."""
    plots = [request_rates(drawn), _token_rates(drawn), _utilization(drawn), _spillover(drawn)] if drawn else []
    return [plot for plot in plots if plot is not None]


def requests_over_time(drawn: Sequence[Drawn]) -> list[Plot]:
    """Outcomes, and what is in flight."""
    return [*(_outcomes(one, len(drawn) > 1) for one in drawn), _in_flight(drawn)] if drawn else []


def distributions(drawn: Sequence[Drawn]) -> list[Plot]:
    """Percentile curves, and latency against the tokens that cause it."""
    plots = [_percentiles(drawn, metric) for metric in ("ttft_ms", "tbt_ms", "e2e_ms")]
    plots.append(_against(drawn, "prompt_tokens", "ttft_ms"))
    plots.append(_against(drawn, "completion_tokens", "e2e_ms"))
    return [plot for plot in plots if plot is not None]


def stages(drawn: Sequence[Drawn]) -> Plot | None:
    """Mean time in each server-side stage, one bar a run."""
    with_stages = [one for one in drawn if one.summary.by_stage]
    if not with_stages:
        return None
    names = list(dict.fromkeys(name for one in with_stages for name in one.summary.by_stage if name != "total"))
    data = []
    for number, name in enumerate(names):
        means = [one.summary.by_stage[name].avg.value if name in one.summary.by_stage else None for one in with_stages]
        data.append({
            "type": "bar", "orientation": "h", "name": escape_text(name), "x": means,
            "y": [escape_text(one.label) for one in with_stages],
            "marker": {"color": (*RUN_COLOURS, "#c2607a", "#b5651d")[number % 9]},
            "hovertemplate": "%{x:,.0f} ms",
        })  # fmt: skip
    layout = base_layout("ms, mean of answered requests", None)
    layout |= {"barmode": "stack", "height": 130 + 46 * len(with_stages), "legend": {"traceorder": "normal"} | LEGEND}
    layout["yaxis"] = {"automargin": True, "showticklabels": len(with_stages) > 1, "showgrid": False}
    layout["xaxis"] |= {"rangemode": "tozero"}
    note = "Mean time of each stage as the target reports it; the rest of E2E is network and what no stage covers."
    return Plot("stages", "Mean time by stage", note, {"data": data, "layout": layout}, wide=True)


def request_rates(drawn: Sequence[Drawn], key: str = "rpm", leave_out: Sequence[str] = (), wide: bool = False) -> Plot:
    """Offered, sent, answered and refused requests over time, with the quota and the criteria."""
    data = []
    hidden = (*leave_out, *(("started", "throttled") if len(drawn) > 1 else ()))
    for one in drawn:
        for name, curve in series.request_rates(one.run, one.clock).items():
            if name not in hidden:
                data.append(_line(one, name, curve, RATE_COLOURS, drawn, dash="dot" if name == "offered" else "solid"))
    layout = time_layout(drawn, "requests / min")
    _quota_lines(layout, drawn, "rpm", "RPM quota")
    _admitted_lines(layout, drawn)
    criteria_lines(layout, drawn, "rpm")
    note = "Offered when due, sent, answered, and refused with 429."
    return Plot(key, "Requests per minute", note, {"data": data, "layout": layout}, wide)


def _admitted_lines(layout: Spec, drawn: Sequence[Drawn]) -> None:
    """How many requests a quota of tokens admits, by the estimate of one."""
    for quota in [one.summary.quota for one in drawn][:1]:
        if quota is not None and quota.tpm and quota.estimated_per_request:
            admits = quota.tpm / quota.estimated_per_request
            draw_limit(layout, admits, f"TPM quota admits {format_figure(admits)} RPM", PURPLE)


def _token_rates(drawn: Sequence[Drawn]) -> Plot | None:
    data = []
    for one in drawn:
        for name, curve in series.token_rates(one.run, one.clock).items():
            data.append(_line(one, name, curve, TOKEN_COLOURS, drawn, dash="dot" if name == "estimated" else "solid"))
    if not data:
        return None
    layout = time_layout(drawn, "tokens / min")
    layout["yaxis"] |= {"tickformat": "~s"}
    _quota_lines(layout, drawn, "tpm", "TPM quota")
    criteria_lines(layout, drawn, "tpm")
    note = "Used: prompt + completion. Estimated: prompt + max_tokens, what the limiter counts at admission."
    return Plot("tpm", "Tokens per minute", _note(note, drawn, "estimated"), {"data": data, "layout": layout})


def _latency(drawn: Sequence[Drawn], metric: str) -> Plot | None:
    data: list[Spec] = []
    for one in drawn:
        curves = series.latency_over_time(one.run, one.clock, metric, PERCENTS)
        if len(drawn) == 1 and curves:
            data.append(draw_dots(series.latency_dots(one.run, one.clock, metric), "requests", GREY, times=True))
        for name, curve in curves.items():
            colours = {"p50": BLUE, "p95": ORANGE}
            data.append(_line(one, name, curve, colours, drawn, dash="solid" if name == "p95" else "dot", gaps=True))
    if not data:
        return None
    layout = time_layout(drawn, "ms")
    if len(drawn) == 1:
        _above_outliers(layout, data, drawn, metric)
    criteria_lines(layout, drawn, metric)
    note = _note(METRICS[metric].definition + ", by the start of the request.", drawn, "p50")
    return Plot(f"{metric}-time", f"{METRICS[metric].title} over time", note, {"data": data, "layout": layout})


def _note(note: str, drawn: Sequence[Drawn], dotted: str) -> str:
    """With several runs the legend has one line a run: what the dotted ones are is said in words."""
    return note if len(drawn) == 1 else f"{note} Dotted: {dotted}."


def _above_outliers(layout: Spec, data: Sequence[Spec], drawn: Sequence[Drawn], metric: str) -> None:
    """Let the percentiles fill the plot: an outlier is in the table of the slowest, and shown on zooming out."""
    tops = [value for trace in data[1:] for value in trace["y"] if value is not None]
    limits = [judged.threshold for one in drawn for judged in _criteria_of(one, metric)]
    highest = max(data[0]["y"], default=0)
    ceiling = 2.5 * max([*tops, *(limit for limit in limits if limit < 3 * max(tops, default=0))], default=0)
    if tops and highest > ceiling:
        layout["yaxis"] |= {"range": [0, ceiling], "autorange": False}


def _in_flight(drawn: Sequence[Drawn]) -> Plot:
    data = [_line(one, "in flight", series.in_flight(one.run, one.clock), {"in flight": BLUE}, drawn) for one in drawn]
    layout = time_layout(drawn, "requests")
    return Plot("in-flight", "In flight", "Requests sent and not yet answered.", {"data": data, "layout": layout})


def _utilization(drawn: Sequence[Drawn]) -> Plot | None:
    data = []
    for one in drawn:
        for name, curve in series.utilization(one.run, one.clock).items():
            if len(drawn) == 1 or name == "mean":
                dash = "dot" if name == "highest" else "solid"
                data.append(_line(one, name, curve, {"mean": BLUE, "highest": ORANGE}, drawn, dash=dash, gaps=True))
    if not data:
        return None
    layout = time_layout(drawn, "%")
    draw_limit(layout, 100.0, "full", RED)
    note = "Provisioned utilization that the service reported with its responses."
    return Plot("utilization", "Utilization", note, {"data": data, "layout": layout})


def _spillover(drawn: Sequence[Drawn]) -> Plot | None:
    data = []
    for one in drawn:
        if (curve := series.spilled_share(one.run, one.clock)) is not None:
            data.append(_line(one, "spilled over", curve, {"spilled over": PURPLE}, drawn, gaps=True))
    if not data:
        return None
    note = "Share of the answered requests that a full deployment passed on to another one."
    spec = {"data": data, "layout": time_layout(drawn, "% of answers")}
    return Plot("spillover", "Spillover", note, spec)


def _outcomes(one: Drawn, several: bool) -> Plot:
    edges, counts = series.outcomes_over_time(one.run, one.clock)
    width = float(edges[1] - edges[0])
    data = [
        {
            "type": "bar", "name": outcome, "x": as_times(edges[:-1] + width / 2), "y": values.tolist(),
            "marker": {"color": OUTCOME_COLOURS[outcome], "line": {"width": 0}}, "width": width * 0.92 * 1000,
            "hovertemplate": "%{y}",
        }
        for outcome, values in counts.items()
    ]  # fmt: skip
    layout = time_layout([one], f"requests / {width:g} s") | {"barmode": "stack"}
    title = f"Outcomes, {one.label}" if several else "Outcomes"
    note = "Requests by how they ended, at their start; dropped ones when they were due."
    return Plot(f"outcomes-{one.label}", title, note, {"data": data, "layout": layout})


def _percentiles(drawn: Sequence[Drawn], metric: str) -> Plot | None:
    lines: list[tuple[str, Curve, str, str]] = []
    for one in drawn:
        rows = series.inside_window(one.run, one.clock.window)
        sent = series.percentile_curve(values_of(rows, metric))
        if not len(sent.x):
            continue
        lines.append(("from the start" if len(drawn) == 1 else one.label, sent, one.colour, "solid"))
        due = f"{metric.removesuffix('_ms')}_from_due_ms"
        if due in METRICS and _differs(one, metric, due):
            label = "from the due instant" if len(drawn) == 1 else f"{one.label}, from due"
            lines.append((label, series.percentile_curve(values_of(rows, due)), one.colour, "dot"))
    if not lines:
        return None
    plot = percentile_plot(metric, lines)
    criteria_lines(plot.spec["layout"], drawn, metric)
    return plot


def percentile_plot(metric: str, lines: Sequence[tuple[str, Curve, str, str]]) -> Plot:
    """Percentile curves (see `series.percentile_curve`) over each other: name, curve, colour and dash of each."""
    data = [draw_curve(curve, name, colour, dash=dash) for name, curve, colour, dash in lines]
    layout = base_layout("percentile", METRICS[metric].unit)
    most = max(trace["x"][-1] for trace in data)
    ticks = {at: text for at, text in NINES.items() if at <= most + 0.05}
    layout["xaxis"] |= {"tickvals": list(ticks), "ticktext": list(ticks.values()), "range": [0, most * 1.02]}
    layout["showlegend"] = len(data) > 1
    spec = {"data": data, "layout": layout}
    return Plot(
        f"{metric}-percentiles", f"{METRICS[metric].title} by percentile", METRICS[metric].definition + ".", spec
    )


def _differs(one: Drawn, metric: str, due: str) -> bool:
    """Whether waiting before the start shows in the mean."""
    sent, whole = (one.summary.overall.distribution(name).avg.value for name in (metric, due))
    return says_more(whole, sent)


def _against(drawn: Sequence[Drawn], column: str, metric: str) -> Plot | None:
    data: list[Spec] = []
    for one in drawn:
        found = series.against(series.inside_window(one.run, one.clock.window), column, metric)
        if found is None:
            continue
        dots, middle = found
        data.append(
            draw_dots(dots, "requests" if len(drawn) == 1 else one.label, GREY if len(drawn) == 1 else one.colour)
        )
        data.append(
            draw_curve(middle, "median" if len(drawn) == 1 else f"{one.label}, median", one.colour, markers=True)
        )
    if not data:
        return None
    layout = base_layout(METRICS[column].title.lower() + ", tokens", "ms")
    title = f"{METRICS[metric].title} against {METRICS[column].title.lower()}"
    note = "Medians are of groups of equally many requests."
    return Plot(f"{metric}-{column}", title, note, {"data": data, "layout": layout})


def time_layout(drawn: Sequence[Drawn], y_title: str) -> Spec:
    """Layout over the time since the start; of one run with its warm-up and cool-down shaded."""
    layout = elapsed_layout(max(one.clock.length_s for one in drawn), y_title)
    if len(drawn) == 1:
        _shade_outside(layout, drawn[0])
    return layout


def _shade_outside(layout: Spec, one: Drawn) -> None:
    """Warm-up and cool-down: drawn, and not measured."""
    window, origin = one.clock.window, one.clock.origin
    spans = []
    if window.warm_up_s > 0:
        spans.append((0.0, window.start - origin))
    if window.cool_down_s > 0:
        spans.append((window.end - origin, one.clock.length_s))
    for begin, end in spans:
        x0, x1 = as_times(np.array([begin, end]))
        layout["shapes"].append({
            "type": "rect", "xref": "x", "yref": "paper", "x0": x0, "x1": x1, "y0": 0, "y1": 1,
            "fillcolor": "rgba(139,144,154,0.16)", "line": {"width": 0}, "layer": "below",
        })  # fmt: skip


def _line(
    one: Drawn,
    name: str,
    curve: Curve,
    colours: Mapping[str, str],
    drawn: Sequence[Drawn],
    *,
    dash: str = "solid",
    gaps: bool = False,
) -> Spec:
    several = len(drawn) > 1
    colour = one.colour if several else colours[name]
    label = f"{one.label} {name}" if several and len(colours) > 1 else one.label if several else name
    return {
        "type": "scatter", "mode": "lines+markers" if gaps else "lines", "name": escape_text(label),
        "x": as_times(curve.x), "y": rounded(curve.y), "line": {"color": colour, "width": 2, "dash": dash},
        "marker": {"size": 4}, "hovertemplate": "%{y:,.4~r}", "connectgaps": False,
        "legendgroup": escape_text(one.label if several else name), "showlegend": not several or dash == "solid",
    }  # fmt: skip


def _quota_lines(layout: Spec, drawn: Sequence[Drawn], key: str, name: str) -> None:
    quotas = {getattr(one.summary.quota, key) for one in drawn if one.summary.quota is not None}
    for quota in sorted(value for value in quotas if value):
        draw_limit(layout, quota, f"{name} {quota:,.0f}", PURPLE)


def criteria_lines(layout: Spec, drawn: Sequence[Drawn], metric: str) -> None:
    """The limits that criteria set to a metric."""
    limits = {
        (judged.threshold, judged.aggregation, judged.operator) for one in drawn for judged in _criteria_of(one, metric)
    }
    for threshold, aggregation, operator in sorted(limits):
        draw_limit(layout, threshold, f"fails if {aggregation} {operator} {threshold:,.6g}", RED)


def _criteria_of(one: Drawn, metric: str) -> list[Judged]:
    return [judged for judged in one.summary.judgement.criteria if judged.metric == metric and judged.name is None]
