"""The report of a sweep: its sentences, a table for each curve, and its plots; as a page, Markdown and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.findings.sweep import SweepCurve
from analysis.plots.curve_plot import CURVE_NOTE, curve_spec, trade_plot
from analysis.plots.plots import Plot
from analysis.report import markdown
from analysis.report.html_page import figure, listed, page, section
from analysis.report.html_tables import render_table
from analysis.report.load_tables import curve_table
from analysis.report.table import Table
from tokenswarm.redaction import escape


def sweep_tables(curves: Sequence[SweepCurve]) -> list[Table]:
    """A table for each curve, with what was varied beside the load in its title."""
    made = [(each.label, curve_table(each.curve)) for each in curves]
    return [
        dataclasses.replace(table, title=f"{table.title}: {label}" if label else table.title) for label, table in made
    ]


def render_page(name: str, told: Sequence[str], curves: Sequence[SweepCurve]) -> str:
    """The page; `told`: what needs saying first, one line each."""
    shown: list[Plot] = []
    parts = []
    for number, (each, table) in enumerate(zip(curves, sweep_tables(curves), strict=True)):
        plots = _plots(each, number)
        shown += plots
        notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
        places = "".join(figure(plot) for plot in plots)
        parts.append(section(table.title, f'<div class="plots">{places}</div>', render_table(table), notes))
    head = f'<header><div class="product">Tokenswarm sweep</div><h1>{escape(name)}</h1></header>'
    return page(f"Sweep: {name}", "\n".join([head, listed(told), *parts]), shown)


def _plots(each: SweepCurve, number: int) -> list[Plot]:
    data, layout = curve_spec(each.curve)
    layout["height"] = 320
    title = f"Latency and throughput over load{': ' + each.label if each.label else ''}"
    curve = Plot(f"curve-{number}", title, CURVE_NOTE, {"data": data, "layout": layout}, wide=True)
    trade = trade_plot(each.curve)
    return [curve, *([dataclasses.replace(trade, key=f"trade-{number}")] if trade else [])]


def render_markdown(name: str, told: Sequence[str], curves: Sequence[SweepCurve]) -> str:
    """The same as Markdown."""
    lines = [f"# Sweep: {markdown.escape(name)}", "", *(f"- {markdown.escape(line)}" for line in told), ""]
    for table in sweep_tables(curves):
        lines += markdown.table(table)
    return "\n".join(lines) + "\n"


def render_json(facts: Mapping[str, Any], told: Sequence[str], curves: Sequence[SweepCurve]) -> str:
    """`facts` of the sweep with its sentences and curves, as plain data."""
    plain = [{"label": each.label, "carried": each.curve.carried, **dataclasses.asdict(each.curve)} for each in curves]
    return json.dumps({**facts, "answer": list(told), "curves": plain}, indent=2, ensure_ascii=False) + "\n"
