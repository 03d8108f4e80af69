"""The report as one HTML page: the answer first, then sections of figures with a way to each.

One run: its sentence, tiles, criteria and one plot. Several: their verdicts, their figures side by side, their trend.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.figures.formats import format_duration, format_figure, format_time, short_labels
from analysis.figures.metrics import METRICS
from analysis.findings.answer import RunAnswer, Tile, answer_of
from analysis.findings.summary import Summary
from analysis.plots import plots
from analysis.plots.answer_plot import answer_plot
from analysis.plots.curve_plot import trade_plot
from analysis.plots.plots import Drawn, Plot
from analysis.plots.server_plots import server_plots
from analysis.report import load_tables, request_tables, tables
from analysis.report.html_page import figure, listed, page, section
from analysis.report.html_tables import render_groups, render_table
from analysis.report.table import Table
from analysis.sources.run import Run
from tokenswarm.redaction import escape

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
INTERVAL_NOTE = (
    '<p class="note">Small print is the 95 % interval of the figure above it. A dash instead of a percentile means '
    "that there are too few requests to carry it.</p>"
)
CHANGE_NOTE = '<p class="note">Small print is the change from the first run; `compare` says which are chance.</p>'
SOURCES = {"tokenswarm": "Tokenswarm's own record of every request (requests.csv)"}


def render(runs: Sequence[Run], summaries: Sequence[Summary]) -> str:
    """The page for one run, or for several side by side."""
    labels = short_labels([summary.label for summary in summaries])
    drawn = plots.drawable(runs, summaries)
    shown: list[Plot] = []
    answers = [answer_of(summary) for summary in summaries]
    first = answer_plot(drawn)
    sections = {
        "Latency": _latency(summaries, labels, drawn, shown),
        "Quota": _quota(summaries, labels, drawn, shown),
        "Requests": _requests(runs, summaries, labels, drawn, shown),
        "Trust": _trust(summaries, labels),
        "Configuration": _configuration(runs, summaries, labels),
    }
    sections = {title: body for title, body in sections.items() if body}
    parts = [
        _header(summaries),
        *(_verdict(*each, len(summaries) > 1) for each in zip(answers, summaries, labels, strict=True)),
        _tiles(answers[0].tiles) if len(answers) == 1 else "",
        render_table(_criteria(summaries, labels)),
        f'<div class="plots">{figure(first)}</div>' if first else "",
        *(_curve(summary, label, shown) for summary, label in zip(summaries, _said(labels), strict=True)),
        _navigation(sections),
        *(section(title, body, place=_place(title)) for title, body in sections.items()),
    ]
    shown += [first] if first else []
    title = f"{answers[0].word}: {summaries[0].label}" if len(summaries) == 1 else "Report"
    return page(title, "\n".join(part for part in parts if part), shown)


def _curve(summary: Summary, label: str, shown: list[Plot]) -> str:
    """The levels of a run's load: a table, and what users get against what the system gives."""
    if summary.curve is None:
        return ""
    trade = trade_plot(summary.curve)
    if trade is not None:
        trade = replace(trade, key=f"trade-{len(shown)}")
        shown.append(trade)
    drawn = f'<div class="plots">{figure(trade)}</div>' if trade else ""
    return _noted(load_tables.levels(summary), label) + drawn


def _place(title: str) -> str:
    return title.lower()


def _navigation(titles: Iterable[str]) -> str:
    links = "".join(f'<a href="#{_place(title)}">{escape(title)}</a>' for title in titles)
    return f"<nav>{links}</nav>" if links else ""


def _said(labels: Sequence[str]) -> list[str]:
    """Labels where there are several runs to tell apart, else empty."""
    return list(labels) if len(labels) > 1 else [""]


def _part(title: str, body: str, label: str = "") -> str:
    """A part of a section under its own title; empty without a body."""
    return f"<h3>{escape(f'{title}: {label}' if label else title)}</h3>\n{body}" if body else ""


def _tabled(table: Table | None, label: str = "") -> str:
    return "" if table is None else _part(table.title, render_table(table), label)


def _noted(table: Table | None, label: str) -> str:
    """A table under its title, with its notes below it."""
    notes = table.notes if table is not None else ()
    return _tabled(table, label) + "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


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


def _verdict(answer: RunAnswer, summary: Summary, label: str, several: bool) -> str:
    run = f'<span class="run">{escape(label)}</span>' if several else ""
    told = f'<p class="sentence">{escape(answer.sentence)}</p>' if summary.accounting.sent else ""
    reasons = "" if told else listed(map(str, summary.judgement.reasons))
    return (
        f'<div class="verdict {escape(answer.state)}"><span class="word {escape(answer.state)}">{escape(answer.word)}'
        f"</span>{run}{told}{reasons}</div>"
    )


def _tiles(tiles: Sequence[Tile]) -> str:
    return f'<div class="tiles">{"".join(map(_tile, tiles))}</div>' if tiles else ""


def _tile(tile: Tile) -> str:
    style = {"good": " good", "bad": " bad"}.get(tile.state, "")
    more = "<br>".join(escape(line) for line in (tile.limit, tile.headroom) if line) or escape(tile.note)
    return (
        f'<div class="tile{style}"><div class="name">{escape(tile.name)}</div>'
        f'<div class="value">{escape(tile.value)}</div><div class="more">{more}</div></div>'
    )


def _criteria(summaries: Sequence[Summary], labels: Sequence[str]) -> Table | None:
    return tables.criteria_of_several(summaries, labels) if len(summaries) > 1 else tables.criteria(summaries[0])


def _plots(title: str, note: str, found: Sequence[Plot], shown: list[Plot]) -> str:
    if not found:
        return ""
    shown.extend(found)
    places = "".join(figure(plot) for plot in found)
    return _part(title, f'<p class="note">{escape(note)}</p><div class="plots">{places}</div>')


def _latency(summaries: Sequence[Summary], labels: Sequence[str], drawn: Sequence[Drawn], shown: list[Plot]) -> str:
    hidden = SELDOM_LATENCIES if len(summaries) == 1 else SELDOM_LATENCIES | SINGLE_RUN_LATENCIES
    found = tables.latencies(summaries, labels, hidden)
    parts = [
        (INTERVAL_NOTE if len(summaries) == 1 else CHANGE_NOTE) + render_table(found) if found.rows else "",
        _plots("Over time", TIME_NOTE, plots.latencies_over_time(drawn), shown),
        _plots("Distributions", PERCENTILE_NOTE, plots.distributions(drawn), shown),
        _stages(summaries, labels, plots.stages(drawn), shown),
    ]
    for summary, label in zip(summaries, _said(labels), strict=True):
        parts += [
            _tabled(make(summary, WIDE_COLUMNS), label) for make in (tables.by_name, tables.by_turn, tables.sessions)
        ]
        parts.append(_tabled(load_tables.by_load(summary), label))
    return "\n".join(part for part in parts if part)


def _stages(summaries: Sequence[Summary], labels: Sequence[str], plot: Plot | None, shown: list[Plot]) -> str:
    if plot is None:
        return ""
    shown.append(plot)
    found = [_tabled(tables.by_stage(summary), label) for summary, label in zip(summaries, _said(labels), strict=True)]
    return _part("Where the time goes", f'<div class="plots">{figure(plot)}</div>' + "".join(found))


def _quota(summaries: Sequence[Summary], labels: Sequence[str], drawn: Sequence[Drawn], shown: list[Plot]) -> str:
    parts = [_quota_of(summary, label) for summary, label in zip(summaries, _said(labels), strict=True)]
    for summary, label in zip(summaries, _said(labels), strict=True):
        routes = tables.by_route(summary, WIDE_COLUMNS)
        parts += [
            _noted(table, label)
            for table in (
                tables.by_target(summary),
                routes,
                load_tables.cost(summary),
                load_tables.ways_to_buy(summary),
            )
        ]
    parts.append(_plots("Load over time", TIME_NOTE, plots.load_over_time(drawn), shown))
    parts.append(_plots("At the server", SERVER_NOTE, server_plots(drawn), shown))
    return "\n".join(part for part in parts if part)


def _quota_of(summary: Summary, label: str) -> str:
    truth = summary.quota
    if truth is None or not (truth.tpm or truth.rpm or truth.ptu or truth.throttled or truth.advice):
        return ""
    given = [
        f"{name} {format_figure(value, 'tokens')}"
        for name, value in (("TPM", truth.tpm), ("RPM", truth.rpm), ("PTU", truth.ptu))
        if value
    ]
    note = (
        "The limiter admits by an estimate, prompt + max_tokens, counted when a request arrives, refused ones "
        "included; what is used and billed is prompt + completion. "
        f"Configured quota: {', '.join(given) or 'none given'}."
    )
    bursts = [
        f"{item.most:,} requests in the fullest {item.seconds:g} s"
        + ("" if item.allowed is None else f"; the RPM quota allows {item.allowed:.3g}")
        for item in truth.slices
    ]
    causes = _part(f"Why {truth.throttled:,} requests were refused", listed(truth.explained)) if truth.throttled else ""
    advice = _part("What would help", listed(truth.advice))
    table = render_table(request_tables.minutes_against_quota(summary))
    return causes + advice + _part("Quota truth", f'<p class="note">{escape(note)}</p>{table}{listed(bursts)}', label)


def _requests(
    runs: Sequence[Run], summaries: Sequence[Summary], labels: Sequence[str], drawn: Sequence[Drawn], shown: list[Plot]
) -> str:
    rates = tables.rates(summaries, labels, RATES_ELSEWHERE)
    parts = [render_groups(rates) if len(summaries) == 1 else render_table(rates)]
    for run, summary, label in zip(runs, summaries, _said(labels), strict=True):
        parts += [_tabled(make(run, summary), label) for make in (request_tables.failures, request_tables.slowest)]
    parts.append(_plots("Over time", TIME_NOTE, plots.requests_over_time(drawn), shown))
    return "\n".join(part for part in parts if part)


def _trust(summaries: Sequence[Summary], labels: Sequence[str]) -> str:
    """Whether the figures can be relied on: what was delivered, what is doubtful, what adds up, what is not known."""
    parts = [
        "".join(_load(summary, label) for summary, label in zip(summaries, _said(labels), strict=True)),
        _warnings(summaries, labels),
        _part("Where the numbers come from", _sources(summaries)),
    ]
    return "\n".join(part for part in parts if part)


def _load(summary: Summary, label: str) -> str:
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
    return f'<p class="load">{escape(f"{label}: {text}" if label else text)}</p>'


def _warnings(summaries: Sequence[Summary], labels: Sequence[str]) -> str:
    """Reasons of the verdict that are no criterion's, and what makes the figures doubtful; runs that share a warning
    share its line."""
    whose: dict[str, list[str]] = {}
    for summary, label in zip(summaries, _said(labels), strict=True):
        reasons = [str(reason) for reason in summary.judgement.other_reasons]
        for line in dict.fromkeys((*reasons, *summary.accounting.problems, *summary.warnings, *summary.notes)):
            whose.setdefault(line, []).append(label)
    return listed((f"{', '.join(of)}: {line}" if any(of) else line for line, of in whose.items()), "warnings")


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
        if any(one.overall.values.get(name) is not None or one.overall.distribution(name).n for one in summaries)
    ]
    note = (
        "Percentiles interpolate linearly between order statistics and are taken from single requests, never averaged."
    )
    definitions = render_table(request_tables.definitions(used))
    return f'{listed(lines)}<p class="note">{note}</p><details><summary>Definitions</summary>{definitions}</details>'


def _configuration(runs: Sequence[Run], summaries: Sequence[Summary], labels: Sequence[str]) -> str:
    return "".join(_configured(*each) for each in zip(runs, summaries, _said(labels), strict=True))


def _configured(run: Run, summary: Summary, label: str) -> str:
    settings = render_table(request_tables.settings(summary))
    scenario, path = run.setting("scenario", "text"), run.setting("scenario", "path")
    text = (
        f"<h3>{escape(str(path or 'scenario'))}</h3><pre>{escape(scenario)}</pre>" if isinstance(scenario, str) else ""
    )
    if not settings and not text:
        return ""
    title = f"Everything that was configured{': ' + label if label else ''}"
    return f"<details><summary>{escape(title)}</summary>{text}{settings}</details>"
