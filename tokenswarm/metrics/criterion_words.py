"""A criterion and what it came to, as a sentence: "percentage(error) must be at most 5 %, was 55.6 % (15 of 27)"."""

from __future__ import annotations

from tokenswarm.metrics.criteria import Criterion, CriterionResult
from tokenswarm.userinput import format_number

STATES = {"held": "held", "failed": "FAILED", "no_data": "NO DATA"}


def sentence(result: CriterionResult, verb: str = "was") -> str:
    """What must hold, and what was found; not its note. `verb`: "is" while the run is on."""
    return f"{must(result.criterion)}, {finding(result, verb)}"


def noted(result: CriterionResult) -> str:
    """The sentence and its note, in one line."""
    return sentence(result) + (f"; {result.note}" if result.note else "")


def criterion_lines(result: CriterionResult) -> list[str]:
    """For a terminal, after the run: state and sentence, and in a line of its own what needs saying."""
    note = [f"          {result.note}"] if result.note else []
    return [f"  {STATES[result.state]:<8}{sentence(result)}", *note]


def must(criterion: Criterion) -> str:
    """What must hold for the run not to fail: the criterion turned round."""
    prefix = "" if criterion.name is None else f"{criterion.name}: "
    return f"{prefix}{criterion.aggregation}({criterion.metric}) {demand(criterion)}"


def demand(criterion: Criterion) -> str:
    """The limit alone: "must be at most 5 %"."""
    bound = "at most" if criterion.operator == ">" else "at least"
    return f"must be {bound} {format_number(criterion.threshold)} {criterion.unit}".rstrip()


def finding(result: CriterionResult, verb: str = "was") -> str:
    """What was found alone: "was 55.6 % (15 of 27)"; its scope, where it has one, before the count."""
    scope = f" {result.scope}" if result.scope else ""
    if result.value is None:
        return f"there is no data{scope}"
    return f"{verb} {_with_unit(result.value, result)}{scope}{_of(result)}"


def _with_unit(value: float, result: CriterionResult) -> str:
    return f"{format_number(_shown(value, result.criterion.threshold))} {result.criterion.unit}".rstrip()


def _shown(value: float, threshold: float) -> float:
    """Rounded, but never onto the threshold or beyond: 5.0004 % must not read as 5 %."""
    for digits in (1, 2, 3, 6):
        rounded = round(value, digits)
        if (rounded > threshold) == (value > threshold) and (rounded < threshold) == (value < threshold):
            return rounded
    return value


def _of(result: CriterionResult) -> str:
    """How many the value is of: of shares, how many that is."""
    if result.criterion.aggregation == "percentage" and result.value is not None:
        return f" ({round(result.value / 100 * result.n)} of {result.n})"
    return "" if result.criterion.aggregation == "count" else f" (n = {result.n})"
