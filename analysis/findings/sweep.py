"""What the runs of a sweep come to: a load curve for each value of the axis that is no load. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.figures.knee import find_knee, pareto_front
from analysis.figures.levels import LevelSpan, level_blocks
from analysis.findings.cost import prices_of
from analysis.findings.load_curve import CurveLevel, LoadCurve, curve_of, level_of_run, load_text, trade_of
from analysis.findings.summary import Summary
from analysis.sources.run import Run
from tokenswarm.userinput import BadInput, read_number

UNITS = {"users": "users", "rate": "RPM", "sessions": "sessions/min"}
"""Axes that are a load, and what it is of."""

OTHER_UNITS = {"context-tokens": "context tokens", "max-tokens": "max tokens"}
HOLDS = {"passed": True, "failed": False, "untrusted": False}


@dataclass(frozen=True, slots=True)
class SweptRun:
    """A level of a sweep: its values by axis, its run and what that came to."""

    values: Mapping[str, str]
    run: Run
    summary: Summary


@dataclass(frozen=True, slots=True)
class SweepCurve:
    """The curve of one value of the other axis, `label`, which is empty where one axis was varied."""

    label: str
    curve: LoadCurve

    @property
    def sentence(self) -> str:
        """Up to where the criteria held, and where the knee is."""
        said = "; ".join(filter(None, (self.curve.carried_sentence, self.curve.short_knee)))
        said = said or f"{len(self.curve.levels)} levels, without criteria or knee"
        return f"{self.label}: {said}" if self.label else said


def curves_of(axes: Mapping[str, Sequence[str]], runs: Sequence[SweptRun]) -> list[SweepCurve]:
    """A curve over the load for each value of the other axis. The Pareto front is that of all levels together."""
    over = next((axis for axis in axes if axis in UNITS), next(iter(axes)))
    by_label: dict[str, list[SweptRun]] = {}
    for one in runs:
        label = ", ".join(f"{axis}={value}" for axis, value in one.values.items() if axis != over)
        by_label.setdefault(label, []).append(one)
    curves = [SweepCurve(label, _curve(over, axes[over], of)) for label, of in by_label.items()]
    return _with_one_front([each for each in curves if each.curve.levels])


def _curve(axis: str, values: Sequence[str], runs: Sequence[SweptRun]) -> LoadCurve:
    unit = UNITS.get(axis) or OTHER_UNITS.get(axis, axis)
    loads = [_load(value) for value in values]
    known = [load for load in loads if load is not None]
    places = known if len(known) == len(values) else [float(at) for at in range(1, len(values) + 1)]
    by_value = dict(zip(values, places, strict=True))
    is_number = len(known) == len(values)
    levels, blocks = [], []
    for one in runs:
        value = one.values[axis]
        span = _span(one, by_value[value])
        if span is not None:
            label = load_text(span.load, unit) if is_number else f"{axis}={value}"
            levels.append(_level(one, span, label))
            blocks.append(level_blocks(one.run.rows, [span]))
    knee = find_knee(blocks) if axis in UNITS else None
    currency = next((one.summary.cost.currency for one in runs if one.summary.cost is not None), "")
    return curve_of(unit, levels, knee, currency)


def _load(value: str) -> float | None:
    """A rate per second counts for a minute."""
    per_s = value.endswith("/s")
    number = read_number(value.removesuffix("/s").removesuffix("/min"))
    return number if number is None or not per_s else 60.0 * number


def _span(one: SweptRun, load: float) -> LevelSpan | None:
    """The measured part of a run; `None` where nothing can be measured."""
    window = one.summary.window
    if window is None or not window.length_s or not len(one.run.rows):
        return None
    return LevelSpan(load, window.start, window.end)


def _level(one: SweptRun, span: LevelSpan, label: str) -> CurveLevel:
    """The level holds as its run's verdict says; reasons that are no criterion's are told, too."""
    try:
        prices = prices_of(one.run)
    except BadInput:
        prices = None
    level = level_of_run(one.run, span, label, prices)
    judgement = one.summary.judgement
    others = [str(reason) for reason in judgement.other_reasons]
    return replace(level, holds=HOLDS.get(judgement.state), breaks=[*level.breaks, *others])


def _with_one_front(curves: Sequence[SweepCurve]) -> list[SweepCurve]:
    front = iter(pareto_front([trade_of(level.figures) for each in curves for level in each.curve.levels]))
    return [
        SweepCurve(
            each.label,
            replace(each.curve, levels=[replace(level, on_front=next(front)) for level in each.curve.levels]),
        )
        for each in curves
    ]
