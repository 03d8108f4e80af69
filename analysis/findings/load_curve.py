"""Latency, throughput and cost over load: a run whose load changed level by level, or the runs of a sweep.

Levels are those that run.json tells: a search's, or the plan's of `stages`, `step`, `rate-stages` and of rates set by
hand. All figures are from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.figures import populations
from analysis.figures.formats import format_figure
from analysis.figures.knee import Knee, find_knee, pareto_front
from analysis.figures.levels import LevelFigures, LevelSpan, level_blocks, level_figures
from analysis.figures.row_samples import RowSamples
from analysis.figures.sessions import run_end
from analysis.figures.window import Window
from analysis.findings.cost import per_1000_answers_in, prices_of
from analysis.findings.verdict import own_criteria
from analysis.sources.run import Run
from tokenswarm.metrics.criteria import evaluate, parse_criteria
from tokenswarm.metrics.criterion_words import sentence
from tokenswarm.metrics.prices import PriceTable
from tokenswarm.metrics.samples import SETTLE_SHARE
from tokenswarm.userinput import BadInput
from tokenswarm.workload.levels import levels_of
from tokenswarm.workload.stages import Stages, parse_shape, parse_stages

MAX_LEVELS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveLevel:
    """One level. `holds`: whether the criteria held on it, `None` without criteria; `breaks`: why not, in words.
    `cost_per_1000`: of 1,000 answers, `None` where a price is missing. `on_front`: no other level has both more tokens
    a second in all (without token counts: more answers) and more for each user (lower p95 of E2E)."""

    label: str
    figures: LevelFigures
    holds: bool | None = None
    breaks: Sequence[str] = ()
    cost_per_1000: float | None = None
    on_front: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCurve:
    """Levels, the lowest load first. `unit`: what a load is of; `settled`: whether the beginning of each level was left
    out."""

    unit: str
    levels: Sequence[CurveLevel]
    knee: Knee | None = None
    currency: str = ""
    settled: bool = False
    answer: float | None = None
    """The load that a search has confirmed; `None` without a search, or an answer."""
    is_search: bool = False

    @property
    def knee_sentence(self) -> str:
        """Where the knee is, how sure it is, and by which method; empty where it cannot be told."""
        knee = self.knee
        if knee is None:
            return ""
        at, how = self.load_text(knee.load), f"{knee.method}; {knee.share_pct:.0f} % of 1,000 resamples agree"
        if knee.high is None:
            return f"no knee is seen up to {self.load_text(self.levels[-1].figures.span.load)} ({how})"
        if knee.low is None:
            return f"the knee is at or below {self.load_text(knee.high)}, the best level is {at} ({how})"
        return f"the knee is at {at}, between {format_figure(knee.low)} and {self.load_text(knee.high)} ({how})"

    @property
    def short_knee(self) -> str:
        """The same without how it was found."""
        return self.knee_sentence.partition(" (")[0]

    @property
    def carried_sentence(self) -> str:
        """Up to which load the criteria held; empty without criteria."""
        if all(level.holds is None for level in self.levels):
            return ""
        held = self.carried
        return "the criteria held at no level" if held is None else f"the criteria held up to {self.load_text(held)}"

    @property
    def carried(self) -> float | None:
        """The highest load up to which the criteria held at every level: a search's answer, or a level's load; `None`
        where none held, or none was given."""
        if self.is_search:
            return self.answer
        broken = min((level.figures.span.load for level in self.levels if level.holds is False), default=None)
        held = [level for level in self.levels if level.holds and (broken is None or level.figures.span.load < broken)]
        return held[-1].figures.span.load if held else None

    def load_text(self, load: float) -> str:
        return load_text(load, self.unit)


def load_text(load: float, unit: str) -> str:
    """`8 users`, `240 RPM`."""
    return f"{load:,.4g} {unit if load != 1 or unit != 'users' else 'user'}"


def load_curve(run: Run, table: PriceTable | None = None) -> LoadCurve | None:
    """The curve of one run; `None` where its load had one level, or no level was answered. `table`: in place of the
    run's own prices."""
    if run.given is not None or not len(run.rows):
        return None
    prices = _prices(run, table)
    found = _search_levels(run, prices) or _planned_levels(run, prices)
    if found is None:
        return None
    unit, levels = found
    by_load: dict[float, list[LevelSpan]] = {}
    for level in levels:
        by_load.setdefault(level.figures.span.load, []).append(level.figures.span)
    knee = find_knee([level_blocks(run.rows, spans) for spans in by_load.values()])
    currency = "" if prices is None else prices.currency
    is_search = isinstance(run.setting("search"), Mapping)
    curve = curve_of(unit, levels, knee, currency)
    return replace(curve, settled=not is_search, is_search=is_search, answer=_answer(run))


def curve_of(unit: str, levels: Sequence[CurveLevel], knee: Knee | None, currency: str) -> LoadCurve:
    """Levels in the order of their load, with the Pareto front among them."""
    ordered = sorted(levels, key=lambda level: (level.figures.span.load, level.figures.span.begin))
    front = pareto_front([trade_of(level.figures) for level in ordered])
    marked = [replace(level, on_front=is_front) for level, is_front in zip(ordered, front, strict=True)]
    return LoadCurve(unit=unit, levels=marked, knee=knee, currency=currency)


def _answer(run: Run) -> float | None:
    answer = run.number("search", "answer")
    return answer if answer is not None else run.number("search", "answer_rpm")


def level_of_run(run: Run, span: LevelSpan, label: str, prices: PriceTable | None) -> CurveLevel:
    """One level of a run; criteria are judged on it by the run's own text."""
    holds, breaks = _judged(run, span)
    cost = _cost_per_1000(run, span, prices)
    figures = level_figures(run.rows, span)
    return CurveLevel(label=label, figures=figures, holds=holds, breaks=breaks, cost_per_1000=cost)


def trade_of(figures: LevelFigures) -> tuple[float | None, float | None]:
    """What the system gives, and what it gives each user: tokens/s, or answers a minute and the negative E2E p95."""
    if figures.tokens_per_s is not None and figures.per_user.value is not None:
        return figures.tokens_per_s, figures.per_user.value
    slow = figures.e2e_p95.value
    return figures.rpm, None if slow is None else -slow


def _search_levels(run: Run, prices: PriceTable | None) -> tuple[str, list[CurveLevel]] | None:
    """The levels of a search, with what it found itself: it judged each of them while it was on."""
    listed, unit = run.setting("search", "levels"), str(run.setting("search", "unit") or "RPM")
    found = []
    for item in listed[:MAX_LEVELS] if isinstance(listed, list) else []:
        span = _span(item)
        if span is None:
            continue
        breaks = item.get("breaks")
        found.append(
            CurveLevel(
                label=load_text(span.load, unit),
                figures=level_figures(run.rows, span),
                holds=item.get("holds") is True,
                breaks=[str(each) for each in breaks] if isinstance(breaks, list) else [],
                cost_per_1000=_cost_per_1000(run, span, prices),
            )
        )
    return (unit, found) if found else None


def _planned_levels(run: Run, prices: PriceTable | None) -> tuple[str, list[CurveLevel]] | None:
    listed, unit = run.setting("levels", "spans"), run.setting("levels", "unit")
    found = [span for item in (listed if isinstance(listed, list) else []) if (span := _span(item))]
    if unit is None:
        unit, found = _levels_of_options(run)
    spans = [_settled(span) for span in found]
    if not 1 < len(spans) <= MAX_LEVELS or not isinstance(unit, str):
        return None
    return unit, [level_of_run(run, span, load_text(span.load, unit), prices) for span in spans]


def _levels_of_options(run: Run) -> tuple[str, list[LevelSpan]]:
    """The levels of a run whose run.json does not have them yet, from the plan in its options."""
    shape, stages, rates = (run.setting("options", name) for name in ("shape", "stages", "rate-stages"))
    sessions = run.setting("options", "arrivals-of") == "sessions"
    try:
        plan = parse_stages(rates) if isinstance(rates, str) and rates else parse_shape(str(shape), str(stages))
    except BadInput:
        return "", []
    begins = populations.due(run.rows) if rates else populations.started(run.rows)
    known = begins[np.isfinite(begins)]
    if not isinstance(plan, Stages) or run.setting("rate_changes") or not len(known):
        return "", []
    origin = run.number("started_at") if not rates else None
    origin = float(known.min()) if origin is None else origin
    until = run.number("ended_at") or float(known.max())
    spans = [
        LevelSpan(level.load, origin + level.begin_s, min(origin + level.end_s, until))
        for level in levels_of(plan)
        if origin + level.begin_s < until
    ]
    return ("sessions/min" if sessions else "RPM") if rates else "users", spans


def _settled(span: LevelSpan) -> LevelSpan:
    return replace(span, begin=span.begin + SETTLE_SHARE * span.length_s)


def _span(item: Any) -> LevelSpan | None:
    """A level as run.json has it; `None` for what is none."""
    if not isinstance(item, Mapping):
        return None
    found = [item.get("load", item.get("rate_rpm")), item.get("begin"), item.get("end")]
    numbers = [float(value) for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) != 3 or not numbers[1] < numbers[2]:
        return None
    return LevelSpan(*numbers)


def _judged(run: Run, span: LevelSpan) -> tuple[bool | None, list[str]]:
    try:
        text = own_criteria(run)
        criteria = parse_criteria(text) if text.strip() else []
    except BadInput:
        return None, []
    if not criteria:
        return None, []
    results = evaluate(criteria, RowSamples(run.rows, run_end=run_end(run)), (span.begin, span.end))
    breaks = [sentence(each) for each in results if each.state != "held"]
    return not breaks, breaks


def _prices(run: Run, table: PriceTable | None) -> PriceTable | None:
    try:
        return table or prices_of(run)
    except BadInput:
        return None


def _cost_per_1000(run: Run, span: LevelSpan, prices: PriceTable | None) -> float | None:
    return None if prices is None else per_1000_answers_in(run, Window(span.begin, span.end), prices)
