"""The report as one HTML page: it opens offline, in light and dark, on a phone, and prints.

The page holds its data and one copy of plotly.js. Its content security policy lets nothing else run and nothing be
fetched. Texts of a run are escaped in HTML, in plots and in the data.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

from analysis.figures.metrics import METRICS
from analysis.findings.summary import Summary
from analysis.report import plots, request_tables, tables
from analysis.report.html_tables import render_groups, render_table
from analysis.report.plots import Plot
from analysis.report.server_plots import server_plots
from analysis.report.tables import format_duration, format_figure, format_time
from analysis.sources.run import Run
from tokenswarm.redaction import escape

VERDICTS = {
    "passed": "Passed",
    "failed": "Failed",
    "untrusted": "Not to be trusted",
    "interrupted": "Interrupted",
    "none": "No criteria",
}
RATES_ELSEWHERE = frozenset({"error_pct", "throttled_pct", "dropped_pct", "tpm_max_minute", "tpm_estimated_max_minute"})
"""Shares that the page gives below their counts, and clock minutes, which it plots."""
SELDOM_LATENCIES = frozenset({"read_lag_ms"})
SINGLE_RUN_LATENCIES = frozenset({"response_time_ms", "latency", "gap_max_ms", "lag_ms", "first_attempt_e2e_ms"})
"""Left out where several runs stand side by side, to keep the table short."""
WIDE_COLUMNS = frozenset({"ok", "rpm"})
"""Left out of names and turns, so that these tables fit a printed page."""
SERVER_NOTE = "What the server said about itself while the run was on, from server_metrics.csv."
TIME_NOTE = (
    "Time since the start. Rates are those of the 60 s before each point. Shaded: warm-up and "
    "cool-down, left out of the figures. Drag to zoom, double-click to go back."
)
PERCENTILE_NOTE = (
    "In the percentile plots each step to the right is a rarer request; a line ends at the last percentile that its "
    "number of requests carries."
)
SOURCES = {"tokenswarm": "Tokenswarm's own record of every request (requests.csv)"}


def render(runs: Sequence[Run], summaries: Sequence[Summary]) -> str:
    """The page for one run, or for several side by side."""
    labels = plots.short_labels([summary.label for summary in summaries])
    drawn = plots.drawable(runs, summaries)
    shown: list[Plot] = []
    parts = [
        _header(summaries),
        *(_verdict(summary, label, len(summaries) > 1) for summary, label in zip(summaries, labels, strict=True)),
        _tiles(summaries[0]) if len(summaries) == 1 else "",
        _criteria(summaries, labels),
        _doubts(summaries, labels),
        _figures(summaries, labels),
        _plots("Over time", TIME_NOTE, plots.over_time(drawn), shown),
        _plots("At the server", SERVER_NOTE, server_plots(drawn), shown),
        _plots("Distributions", PERCENTILE_NOTE, plots.distributions(drawn), shown),
        _stages(summaries, labels, plots.stages(drawn), shown),
        *(_breakdowns(summary, label, len(summaries) > 1) for summary, label in zip(summaries, labels, strict=True)),
        *(_quota(summary, label, len(summaries) > 1) for summary, label in zip(summaries, labels, strict=True)),
        *(_requests(run, one, label) for run, one, label in zip(runs, summaries, _said(labels), strict=True)),
        *(_configured(run, one, label) for run, one, label in zip(runs, summaries, _said(labels), strict=True)),
        _sources(summaries),
    ]
    title = (
        f"{VERDICTS.get(summaries[0].judgement.state, '')}: {summaries[0].label}" if len(summaries) == 1 else "Report"
    )
    return page(title, "\n".join(part for part in parts if part), shown)


def page(title: str, body: str, shown: Iterable[Plot]) -> str:
    """A complete page around a body (HTML) and the plots that it has places for."""
    data = json.dumps({place_of(plot): plot.spec for plot in shown}, separators=(",", ":"), allow_nan=False)
    # "<" could end the script element from within a string; in JSON it can be written as an escape.
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    parts = {
        "title": escape(title),
        "body": body,
        "plots": data,
        "plotly": get_plotlyjs(),
        "nonce": hashlib.sha256((body + data).encode()).hexdigest()[:24],
    }
    template = resources.files("analysis.report").joinpath("report.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def place_of(plot: Plot) -> str:
    """The id of a plot's element."""
    return "plot-" + re.sub(r"[^A-Za-z0-9]+", "-", plot.key)


def figure(plot: Plot) -> str:
    """The place of a plot, with its title and note."""
    wide = ' class="wide"' if plot.wide else ""
    caption = f"<figcaption>{escape(plot.title)}<span>{escape(plot.note)}</span></figcaption>"
    height = plot.spec["layout"]["height"]
    return f'<figure{wide}>{caption}<div class="plot" id="{place_of(plot)}" style="height:{height}px"></div></figure>'


def section(title: str, *parts: str) -> str:
    """A section with an escaped title; empty when all of its parts are."""
    body = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>" if body else ""


def listed(lines: Iterable[str], style: str = "") -> str:
    """An escaped list; empty without lines."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    mark = f' class="{style}"' if style else ""
    return f"<ul{mark}>{items}</ul>" if items else ""


def _said(labels: Sequence[str]) -> list[str]:
    """Labels where there are several runs to tell apart, else empty."""
    return list(labels) if len(labels) > 1 else [""]


def _of(title: str, label: str) -> str:
    return f"{title}: {label}" if label else title


def _header(summaries: Sequence[Summary]) -> str:
    if len(summaries) > 1:
        facts = _facts(summary.label for summary in summaries)
        title = f"{len(summaries)} runs side by side"
        return f'<header><div class="product">Tokenswarm report</div><h1>{title}</h1>{facts}</header>'
    one = summaries[0]
    name = str(one.settings.get("test_name") or one.label)
    target = one.settings.get("target")
    target = target if isinstance(target, Mapping) else {}
    begin = one.window.start - one.window.warm_up_s if one.window is not None else None
    length = format_duration(one.window.length_s) + " measured" if one.window is not None else ""
    said = [target.get("deployment"), target.get("host"), format_time(begin) if begin else "", length]
    return f'<header><div class="product">Tokenswarm report</div><h1>{escape(name)}</h1>{_facts(said)}</header>'


def _facts(said: Iterable[Any]) -> str:
    return f'<p class="facts">{"".join(f"<span>{escape(str(fact))}</span>" for fact in said if fact)}</p>'


def _verdict(summary: Summary, label: str, several: bool) -> str:
    judgement = summary.judgement
    state = judgement.state
    word = VERDICTS.get(state, state) + (", and failed" if state == "untrusted" and judgement.has_failed else "")
    run = f'<span class="run">{escape(label)}</span>' if several else ""
    return (
        f'<div class="verdict {escape(state)}"><span class="word {escape(state)}">{escape(word)}</span>{run}'
        f"{listed(map(str, summary.judgement.reasons))}{_load(summary)}</div>"
    )


def _load(summary: Summary) -> str:
    """Whether the load that was asked for was delivered."""
    values, counts = summary.overall.values, summary.accounting
    delivered = summary.delivery.get("delivered_pct")
    answered = f"{counts.ok:,} of {counts.sent:,} requests answered"
    rates = f"{format_figure(values.get('rpm_started'))} RPM sent while the load was on"
    if not counts.sent:
        text = "Load: nothing was sent."
    elif not isinstance(delivered, int | float):
        text = f"Load: {answered}; {rates}. No rate was asked for, so nothing says whether it was delivered."
    elif (offered := values.get("rpm_offered")) is None:
        text = f"Load delivered: {delivered:.1f} % of what was planned; {answered}."
    else:
        text = f"Load delivered: {delivered:.1f} % of {format_figure(offered)} RPM offered; {answered}; {rates}."
    return f'<p class="load">{escape(text)}</p>'


def _tiles(summary: Summary) -> str:
    group = summary.overall
    tiles = [
        _tile("RPM answered", format_figure(group.values.get("rpm")), "requests, per minute"),
        _tile("TPM", format_figure(group.values.get("tpm")), "used, per minute") if group.values.get("tpm") else "",
        _latency_tile(summary, "ttft_ms"),
        _latency_tile(summary, "e2e_ms"),
        _tile(
            "Throttled",
            format_figure(group.values.get("throttled_pct"), "%"),
            f"{group.counts.throttled or 0:,} answers 429",
        ),
        _tile("Errors", format_figure(group.values.get("error_pct"), "%"), f"{group.counts.failed:,} failed"),
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>' if group.counts.sent else ""


def _tile(name: str, value: str, more: str) -> str:
    return (
        f'<div class="tile"><div class="name">{escape(name)}</div><div class="value">{escape(value)}</div>'
        f'<div class="more">{escape(more)}</div></div>'
    )


def _latency_tile(summary: Summary, metric: str) -> str:
    """p95, or p50 where there are too few answers for it."""
    spread = summary.overall.distribution(metric)
    key = next((key for key in ("p95", "p50") if spread.percentile(key).value is not None), "p95")
    value = spread.percentile(key).value
    median = spread.percentile("p50").value
    more = f"p50 {format_figure(median)} ms, n {spread.n:,}" if median is not None else f"n {spread.n:,}"
    unit = " ms" if value is not None else ""
    return _tile(f"{METRICS[metric].title} {key}", format_figure(value) + unit, more)


def _criteria(summaries: Sequence[Summary], labels: Sequence[str]) -> str:
    several = len(summaries) > 1
    found = tables.criteria_of_several(summaries, labels) if several else tables.criteria(summaries[0])
    return section("Criteria", render_table(found))


def _doubts(summaries: Sequence[Summary], labels: Sequence[str]) -> str:
    """What makes the figures doubtful and is not in a verdict already; runs that share a doubt share its line."""
    whose: dict[str, list[str]] = {}
    for summary, label in zip(summaries, _said(labels), strict=True):
        said = [str(reason) for reason in summary.judgement.reasons]
        for line in (*summary.accounting.problems, *summary.warnings, *summary.notes):
            if line not in said:
                whose.setdefault(line, []).append(label)
    return listed((f"{', '.join(of)}: {line}" if any(of) else line for line, of in whose.items()), "doubts")


def _figures(summaries: Sequence[Summary], labels: Sequence[str]) -> str:
    note = (
        '<p class="note">Small print is the 95 % interval of the figure above it. A dash instead of a percentile means '
        "that there are too few requests to carry it.</p>"
    )
    rates = tables.rates(summaries, labels, RATES_ELSEWHERE)
    hidden = SELDOM_LATENCIES if len(summaries) == 1 else SELDOM_LATENCIES | SINGLE_RUN_LATENCIES
    return section(
        "Figures",
        render_groups(rates) if len(summaries) == 1 else render_table(rates),
        "<h3>Latency and speed</h3>",
        note,
        render_table(tables.latencies(summaries, labels, hidden)),
    )


def _plots(title: str, note: str, found: Sequence[Plot], shown: list[Plot]) -> str:
    if not found:
        return ""
    shown.extend(found)
    places = "".join(figure(plot) for plot in found)
    return section(title, f'<p class="note">{escape(note)}</p><div class="plots">{places}</div>')


def _stages(summaries: Sequence[Summary], labels: Sequence[str], plot: Plot | None, shown: list[Plot]) -> str:
    if plot is None:
        return ""
    shown.append(plot)
    found = [
        (f"<h3>{escape(label)}</h3>" if len(summaries) > 1 else "") + render_table(tables.by_stage(summary))
        for summary, label in zip(summaries, labels, strict=True)
        if summary.by_stage
    ]
    return section("Where the time goes", f'<div class="plots">{figure(plot)}</div>', *found)


def _breakdowns(summary: Summary, label: str, several: bool) -> str:
    label = label if several else ""
    made = [make(summary, WIDE_COLUMNS) for make in (tables.by_name, tables.by_turn)]
    return "".join(section(_of(table.title, label), render_table(table)) for table in made if table is not None)


def _quota(summary: Summary, label: str, several: bool) -> str:
    truth = summary.quota
    if truth is None or not (truth.tpm or truth.rpm or truth.ptu or truth.throttled or truth.advice):
        return ""
    given = [
        f"{name} {format_figure(value, 'tokens')}"
        for name, value in (("TPM", truth.tpm), ("RPM", truth.rpm), ("PTU", truth.ptu))
        if value
    ]
    quotas = ", ".join(given) or "none given"
    note = (
        "The limiter admits by an estimate, prompt + max_tokens, counted when a request arrives, refused ones "
        f"included; what is used and billed is prompt + completion. Configured quota: {quotas}."
    )
    bursts = [
        f"{item.most:,} requests in the fullest {item.seconds:g} s"
        + ("" if item.allowed is None else f"; the RPM quota allows {item.allowed:.3g}")
        for item in truth.slices
    ]
    causes = (
        f"<h3>Why {truth.throttled:,} requests were refused</h3>{listed(truth.explained)}" if truth.throttled else ""
    )
    advice = f"<h3>What would help</h3>{listed(truth.advice)}" if truth.advice else ""
    return section(
        _of("Quota truth", label if several else ""),
        f'<p class="note">{escape(note)}</p>',
        render_table(request_tables.minutes_against_quota(summary)),
        listed(bursts),
        causes,
        advice,
    )


def _requests(run: Run, summary: Summary, label: str) -> str:
    failures = request_tables.failures(run, summary)
    slowest = request_tables.slowest(run, summary)
    ids = '<p class="note">The request ids are what the provider\'s support asks for.</p>'
    return section(
        _of("Single requests", label),
        ids if failures or slowest else "",
        *(f"<h3>{escape(table.title)}</h3>{render_table(table)}" for table in (failures, slowest) if table),
    )


def _configured(run: Run, summary: Summary, label: str) -> str:
    settings = render_table(request_tables.settings(summary))
    scenario = run.setting("scenario", "text")
    path = run.setting("scenario", "path")
    text = (
        f"<h3>{escape(str(path or 'scenario'))}</h3><pre>{escape(scenario)}</pre>" if isinstance(scenario, str) else ""
    )
    if not settings and not text:
        return ""
    body = f"<details><summary>Everything that was configured</summary>{text}{settings}</details>"
    return section(_of("Configuration", label), body)


def _sources(summaries: Sequence[Summary]) -> str:
    lines = []
    for summary in summaries:
        source = SOURCES.get(summary.source, summary.source)
        lines.append(f"{summary.label}: {source}, {summary.path}")
        lines += [f"{summary.label}: {line}" for line in summary.accounting.lines()]
        lines += [f"{summary.label}: {line}" for line in summary.self_check("self_checks")]
        lines += [f"{summary.source} cannot tell: {spot}" for spot in summary.blind_spots]
    used = [
        name
        for name in METRICS
        if any(
            summary.overall.values.get(name) is not None or summary.overall.distribution(name).n
            for summary in summaries
        )
    ]
    note = (
        "Percentiles interpolate linearly between order statistics and are taken from single requests, never averaged."
    )
    return section(
        "Where the numbers come from",
        listed(lines),
        f'<p class="note">{note}</p>',
        f"<details><summary>Definitions</summary>{render_table(request_tables.definitions(used))}</details>",
    )
