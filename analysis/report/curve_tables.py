"""The table of a load curve: a line for each level of a run, or for each run of a sweep."""

from __future__ import annotations

from analysis.figures.formats import ABSENT, format_figure, money
from analysis.figures.levels import LevelFigures
from analysis.findings.load_curve import CurveLevel, LoadCurve
from analysis.findings.summary import Summary
from analysis.report.table import BAD, GOOD, Cell, Column, Row, Table, format_estimate

TITLE = "By level of load"
FRONT_NOTE = (
    "not beaten: no other level has both more tokens/s in all (or answers) and more for each user (or a lower E2E p95)."
)
SETTLED_NOTE = "The first tenth of each level is left out; a ramp is cut into five levels of its mean loads."
COLUMNS = (
    "requests", "RPM", "tokens/s", "per user", "TTFT p95 ms", "TBT p95 ms", "E2E p95 ms",
    "not ok",
)  # fmt: skip


def levels(summary: Summary) -> Table | None:
    """The levels of a run's load; `None` where one load was offered."""
    return None if summary.curve is None else curve_table(summary.curve)


def curve_table(curve: LoadCurve) -> Table:
    """A line a level: figures with their 95 % intervals, cost, and whether its criteria held. What broke is said below:
    beside the figures there is no room for it."""
    has_cost = any(level.cost_per_1000 is not None for level in curve.levels)
    has_verdict = any(level.holds is not None for level in curve.levels)
    columns = [Column("load"), *([Column("holds")] if has_verdict else [])]
    columns += [*(Column(title, brief=title in ("requests", "not ok")) for title in COLUMNS)]
    columns += [Column(f"{curve.currency} a 1,000")] if has_cost else []
    rows = [_row(level, curve, has_cost, has_verdict) for level in curve.levels]
    notes = [curve.knee_sentence[:1].upper() + curve.knee_sentence[1:] + "."] if curve.knee_sentence else []
    notes += [SETTLED_NOTE] if curve.settled else []
    notes += [f"{level.label}: {'; '.join(level.breaks)}." for level in curve.levels if level.breaks]
    notes += [f"{curve.currency} a 1,000: what 1,000 answers cost."] if has_cost else []
    notes += [FRONT_NOTE] if any(level.on_front for level in curve.levels) else []
    return Table(TITLE, columns, rows, notes)


def _row(level: CurveLevel, curve: LoadCurve, has_cost: bool, has_verdict: bool) -> Row:
    cost = [Cell(money(level.cost_per_1000, "").strip())] if has_cost else []
    verdict = [_verdict(level.holds)] if has_verdict else []
    knee = curve.knee
    is_knee = knee is not None and knee.high is not None and knee.load == level.figures.span.load
    tags = [*(["knee"] if is_knee else []), *(["not beaten"] if level.on_front else [])]
    label = f"{level.label} ({', '.join(tags)})" if tags else level.label
    return Row(label, [*verdict, *_figures(level.figures), *cost], is_strong=is_knee)


def _figures(found: LevelFigures) -> list[Cell]:
    bad = found.sent + found.dropped - found.ok
    p95 = [format_estimate(each) for each in (found.ttft_p95, found.tbt_p95, found.e2e_p95)]
    return [
        Cell(f"{found.sent:,}"),
        Cell(format_figure(found.rpm)),
        Cell(format_figure(found.tokens_per_s)),
        Cell(format_figure(found.per_user.value)),
        *p95,
        Cell(f"{bad:,}"),
    ]


def _verdict(holds: bool | None) -> Cell:
    if holds is None:
        return Cell(ABSENT)
    return Cell("yes" if holds else "no", state=GOOD if holds else BAD)
