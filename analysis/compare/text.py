"""A comparison for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.compare.comparison import Comparison, Figure, describe_change, format_value
from analysis.compare.conclusion import by_name, chance_note, headline
from analysis.figures.metrics import METRICS
from analysis.report.markdown import escape

STATES = {"held": "held", "failed": "FAILED", "no_data": "FAILED", "inconclusive": "INCONCLUSIVE"}
MARKS = {"held": "✅", "inconclusive": "⚠️"}


def to_text(comparison: Comparison, figures: Sequence[Figure]) -> str:
    """Some figures of the comparison for a terminal."""
    lines = [f"A  {', '.join(comparison.a.runs)}", f"B  {', '.join(comparison.b.runs)}", ""]
    lines += [headline(comparison)]
    lines += [f"  ! {warning}" for warning in comparison.warnings]
    lines += [f"  ! unlike: {difference}" for difference in comparison.differences]
    for name, of_name in by_name(figures):
        lines += ["", name or "all requests", *_aligned(_table(of_name))]
    lines += ["", chance_note(comparison)]
    if comparison.gates:
        lines += ["", "Gates", *(f"  {STATES[gate.state]:6}  {gate}" for gate in comparison.gates)]
    return "\n".join(lines)


def to_markdown(comparison: Comparison, figures: Sequence[Figure]) -> str:
    """Some figures of the comparison for a pull request."""
    lines = [f"### {escape(headline(comparison))}", ""]
    lines += [f"**A** {_named(comparison.a.runs)} · **B** {_named(comparison.b.runs)}", ""]
    lines += [f"- ⚠️ {escape(text)}" for text in (*comparison.warnings, *comparison.differences)]
    if comparison.gates:
        lines += ["| gate | result |", "|---|---|"]
        lines += [
            f"| {escape(gate.gate.text)} | {MARKS.get(gate.state, '❌')} {escape(gate.state)} {escape(gate.note)} |"
            for gate in comparison.gates
        ]
    for name, of_name in by_name(figures):
        lines += ["", f"**{escape(name) or 'All requests'}**", ""]
        head, *rows = _table(of_name)
        lines += ["| " + " | ".join(head) + " |", "|---|--:|--:|--:|--:|---|"]
        lines += ["| " + " | ".join(escape(cell) for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", chance_note(comparison)])


def _table(figures: Sequence[Figure]) -> list[list[str]]:
    rows = [["figure", "A", "B", "change", "n", "verdict"]]
    for figure in figures:
        unit = METRICS[figure.metric].unit
        n = f"{figure.n_a:,}" if figure.n_a == figure.n_b else f"{figure.n_a:,} / {figure.n_b:,}"
        values = [format_value(figure.a, unit), format_value(figure.b, unit)]
        rows.append([figure.title, *values, describe_change(figure), n, figure.verdict])
    return rows


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *middle, last = row
        cells = [cell.rjust(width) for cell, width in zip(middle, widths[1:-1], strict=True)]
        lines.append(f"  {first.ljust(widths[0])}  {'  '.join(cells)}  {last}".rstrip())
    return lines


def _named(runs: Sequence[str]) -> str:
    return ", ".join(escape(run) for run in runs)
