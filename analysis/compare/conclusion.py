"""What a comparison comes to: its key figures, a sentence on them, and all of it as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.compare.comparison import BETTER, DIFFERENT, SAME, WORSE, Comparison, Figure
from analysis.figures.metrics import METRICS, says_more
from analysis.statistics import finite

KEY_METRICS = (
    "error_pct", "throttled_pct", "dropped_pct", "goodput_pct", "wrong_pct", "calls_ok_pct", "rpm_started", "rpm",
    "tpm", "tpm_estimated", "ttft_ms", "tbt_ms", "e2e_ms", "e2e_from_due_ms", "call_e2e_ms", "tokens_per_s_per_user",
)  # fmt: skip
"""What a decision rests on; the other figures explain it."""


def key_figures(comparison: Comparison) -> list[Figure]:
    """The figures of `KEY_METRICS`; latency from the due instant only where it tells more than from the start."""
    return [
        figure
        for figure in comparison.figures
        if figure.metric in KEY_METRICS and (figure.metric != "e2e_from_due_ms" or _lags(comparison, figure.name))
    ]


def _lags(comparison: Comparison, name: str) -> bool:
    """Whether the wait before the start shows in the mean E2E, on either side."""
    means = {
        figure.metric: figure for figure in comparison.figures if figure.name == name and figure.aggregation == "avg"
    }
    sent, due = means.get("e2e_ms"), means.get("e2e_from_due_ms")
    return sent is not None and due is not None and (says_more(due.a, sent.a) or says_more(due.b, sent.b))


def by_name(figures: Sequence[Figure]) -> list[tuple[str, list[Figure]]]:
    """Figures by the request name that they are of."""
    names = dict.fromkeys(figure.name for figure in figures)
    return [(name, [figure for figure in figures if figure.name == name]) for name in names]


def headline(comparison: Comparison) -> str:
    """One sentence on the key figures: what got worse, what better."""
    overall = [figure for figure in key_figures(comparison) if not figure.name]
    judged = [figure for figure in overall if figure.verdict in (WORSE, BETTER, SAME, DIFFERENT)]
    worse = [figure for figure in overall if figure.verdict == WORSE]
    better = [figure for figure in overall if figure.verdict == BETTER]
    if not judged:
        return "Nothing could be compared: no figure has enough data on both sides."
    if not worse and not better:
        return f"No difference can be told from chance in {len(judged)} key figures."
    told = [f"{word} in {len(found)}" for word, found in (("worse", worse), ("better", better)) if found]
    return f"B is {' and '.join(told)} of {len(judged)} key figures."


def chance_note(comparison: Comparison) -> str:
    """How many figures differ by chance alone when nothing changed."""
    judged = sum(figure.verdict in (WORSE, BETTER, SAME, DIFFERENT) for figure in comparison.figures)
    expected = judged * (1 - comparison.confidence)
    return (
        f"Intervals hold the true difference with {100 * comparison.confidence:g} % confidence, each by itself: of "
        f"{judged} figures, up to about {math.ceil(expected)} may differ by chance alone. One borderline verdict "
        "proves little."
    )


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values. Absent is null; infinite bounds are null too."""
    return {
        "schema_version": 1,
        "a": {"label": comparison.a.label, "runs": list(comparison.a.runs)},
        "b": {"label": comparison.b.label, "runs": list(comparison.b.runs)},
        "confidence": comparison.confidence,
        "headline": headline(comparison),
        "settings_that_differ": list(comparison.differences),
        "doubts": comparison.warnings,
        "figures": [_figure_to_json(figure) for figure in comparison.figures],
        "gates": [{"text": gate.gate.text, "state": gate.state, "note": gate.note} for gate in comparison.gates],
        "exit_code": int(comparison.exit_code),
    }


def _figure_to_json(figure: Figure) -> Mapping[str, Any]:
    interval, relative = figure.interval, figure.relative
    return {
        "name": figure.name or None,
        "metric": figure.metric,
        "aggregation": figure.aggregation or None,
        "unit": METRICS[figure.metric].unit,
        "better": METRICS[figure.metric].better,
        "a": finite(figure.a),
        "b": finite(figure.b),
        "n_a": figure.n_a,
        "n_b": figure.n_b,
        "difference": finite(interval.estimate) if interval else None,
        "low": finite(interval.low) if interval else None,
        "high": finite(interval.high) if interval else None,
        "change_pct": finite(relative[0]) if relative else None,
        "change_low_pct": finite(relative[1]) if relative else None,
        "change_high_pct": finite(relative[2]) if relative else None,
        "verdict": figure.verdict,
    }
