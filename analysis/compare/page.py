"""The comparison as one HTML page: verdict first, every figure with its interval drawn, percentile curves overlaid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from analysis.compare.bootstrap import Sample
from analysis.compare.comparison import BETTER, WORSE, Comparison, Figure, describe_change, format_value
from analysis.compare.conclusion import by_name, chance_note, headline, key_figures
from analysis.compare.gate import GateResult, failed, undecided
from analysis.figures.metrics import METRICS
from analysis.figures.series import Curve
from analysis.plots.plots import BLUE, ORANGE, Plot, percentile_plot
from analysis.report.html_page import figure, listed, page, section
from analysis.report.html_tables import cell, row, table

CURVES = ("ttft_ms", "tbt_ms", "e2e_ms", "e2e_from_due_ms")
WIDEST_PCT = 50.0
"""Change at which a drawn interval is cut off."""


def render_comparison(comparison: Comparison) -> str:
    """The page."""
    shown = _curves(comparison)
    places = "".join(figure(plot) for plot in shown)
    figures = key_figures(comparison)
    others = [found for found in comparison.figures if found not in figures]
    parts = [
        _header(comparison),
        _verdict(comparison),
        listed([*comparison.warnings, *(f"Unlike: {text}" for text in comparison.differences)], "warnings"),
        section("Gates", _gates(comparison.gates)),
        *(section(_title(name), _table(part)) for name, part in by_name(figures)),
        f'<p class="note">{escape(chance_note(comparison))} Drawn: change with its interval, from −{WIDEST_PCT:.0f} % '
        f"to +{WIDEST_PCT:.0f} %.</p>",
        section("Distributions", f'<div class="plots">{places}</div>' if places else ""),
        section("All other figures", _folded(others)),
    ]
    return page("Comparison", "\n".join(part for part in parts if part), shown)


def _header(comparison: Comparison) -> str:
    sides = "".join(
        f"<span>{name} {escape(', '.join(side.runs))}</span>"
        for name, side in (("A", comparison.a), ("B", comparison.b))
    )
    return (
        '<header><div class="product">Tokenswarm comparison</div>'
        f'<h1>B against A</h1><p class="facts">{sides}</p></header>'
    )


def _verdict(comparison: Comparison) -> str:
    worse = any(found.verdict == WORSE for found in key_figures(comparison) if not found.name)
    better = any(found.verdict == BETTER for found in key_figures(comparison) if not found.name)
    if comparison.gates:
        state, word = _of_gates(comparison)
    else:
        state = "failed" if worse else "passed" if better else "none"
        word = "Worse" if worse else "Better" if better else "No difference seen"
    return (
        f'<div class="verdict {state}"><span class="word {state}">{word}</span>'
        f"<p>{escape(headline(comparison))}</p></div>"
    )


def _of_gates(comparison: Comparison) -> tuple[str, str]:
    """Style and word of what the gates come to."""
    if comparison.warnings:
        return "untrusted", "Not to be trusted"
    if failed(comparison.gates):
        return "failed", "Gate failed"
    return ("untrusted", "Inconclusive") if undecided(comparison.gates) else ("passed", "Gates held")


def _gates(results: Sequence[GateResult]) -> str:
    if not results:
        return ""
    rows = []
    for result in results:
        style = {"held": "passed", "inconclusive": "untrusted"}.get(result.state, "failed")
        state = f'<td class="text"><span class="state {style}">{escape(result.state.replace("_", " "))}</span></td>'
        rows.append(row(f"fails if {result.gate.text}", [state, cell(result.note, words=True)]))
    return table(["gate", "state", ""], rows, text_columns=(1, 2))


def _title(name: str) -> str:
    return f"Figures of {name}" if name else "Figures"


def _table(figures: Sequence[Figure]) -> str:
    rows = []
    for found in figures:
        unit = METRICS[found.metric].unit
        n = f"{found.n_a:,}" if found.n_a == found.n_b else f"{found.n_a:,} / {found.n_b:,}"
        style = found.verdict if found.verdict in (WORSE, BETTER) else "none"
        verdict = f'<td class="text"><span class="state {style}">{escape(found.verdict)}</span></td>'
        cells = [cell(format_value(found.a, unit)), cell(format_value(found.b, unit)), cell(describe_change(found))]
        rows.append(row(found.title, [*cells, f'<td class="text {style}">{_drawn(found)}</td>', cell(n), verdict]))
    return table(["", "A", "B", "change", "", "n", "verdict"], rows, text_columns=(4, 6))


def _folded(figures: Sequence[Figure]) -> str:
    parts = [(f"<h3>{escape(name)}</h3>" if name else "") + _table(part) for name, part in by_name(figures)]
    return f"<details><summary>{len(figures)} figures</summary>{''.join(parts)}</details>" if figures else ""


def _drawn(found: Figure) -> str:
    """The interval of the change around no change; points of a percentage are drawn as percent."""
    interval = found.interval
    if interval is None:
        return ""
    if METRICS[found.metric].unit == "%":
        change, low, high = interval.estimate, interval.low, interval.high
    elif found.relative is not None:
        change, low, high = found.relative
    else:
        return ""
    left, right, at = (_place(value) for value in (low, high, change))
    return (
        f'<span class="interval"><s></s><i style="left:{left:.1f}%;width:{right - left:.1f}%"></i>'
        f'<b style="left:{at:.1f}%"></b></span>'
    )


def _place(change: float) -> float:
    """Position in percent of the drawing's width."""
    return 50 + 50 * min(max(change, -WIDEST_PCT), WIDEST_PCT) / WIDEST_PCT


def _curves(comparison: Comparison) -> list[Plot]:
    shown = {found.metric for found in key_figures(comparison)}
    plots = []
    for metric in CURVES:
        sides = [
            (name, side.overall.distributions.get(metric)) for name, side in (("A", comparison.a), ("B", comparison.b))
        ]
        lines = [
            (name, _curve(sample), colour, "solid")
            for (name, sample), colour in zip(sides, (BLUE, ORANGE), strict=True)
            if sample is not None and sample.n >= 2
        ]
        if metric in shown and lines:
            plots.append(percentile_plot(metric, lines))
    return plots


def _curve(sample: Sample) -> Curve:
    nines = np.linspace(0.0, math.log10(sample.n), 200)
    levels = ((1 - 10.0**-nines) * (sample.n - 1) + 0.5) / sample.n
    return Curve(nines, sample.at(levels))
