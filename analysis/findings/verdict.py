"""The verdict of a run: its failure criteria judged again on its rows, and whether the measurement can be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.figures.accounting import AccountingCheck
from analysis.figures.row_samples import RowSamples
from analysis.figures.sessions import run_end
from analysis.figures.window import window_of
from analysis.sources.run import TOKENSWARM, Run
from analysis.statistics import Group
from tokenswarm.metrics.criteria import (
    Criterion,
    CriterionResult,
    evaluate,
    over_all_levels,
    parse_criteria,
    percentile_of,
    unknown_name,
)
from tokenswarm.metrics.goodput import Goodput, parse_goodput
from tokenswarm.metrics.samples import carries, needed
from tokenswarm.metrics.verdict import (
    RUN_DISTRUST,
    Evidence,
    Reason,
    ReasonKind,
    Replacement,
    Verdict,
    decide,
    not_delivered,
    read_reasons,
    read_replacements,
    replacements,
)
from tokenswarm.userinput import BadInput


@dataclass(frozen=True, slots=True)
class Judged:
    """One criterion. `state`: held, failed or no_data; `value`, in `unit`, is `None` without data."""

    text: str
    state: str
    value: float | None
    threshold: float
    operator: str
    metric: str
    aggregation: str
    name: str | None
    n: int
    note: str = ""
    unit: str = ""
    scope: str = ""

    @property
    def criterion(self) -> Criterion:
        """What was judged."""
        return Criterion(self.text, self.name, self.aggregation, self.metric, self.operator, self.threshold)

    @property
    def result(self) -> CriterionResult:
        """What it came to, to be put in words."""
        return CriterionResult(self.criterion, self.state, self.value, self.n, self.note, self.scope)


@dataclass(frozen=True, slots=True)
class Judgement:
    """`state`: passed, failed, untrusted, interrupted or none; `exit_code` as documented. `has_failed`: whether it has
    failed too, where `state` is untrusted."""

    state: str
    exit_code: int
    reasons: Sequence[Reason]
    criteria: Sequence[Judged]
    has_failed: bool = False
    replaced: Sequence[Replacement] = ()
    """Criteria of the run, or of its scenario, that it was not judged by."""

    @property
    def other_reasons(self) -> list[Reason]:
        """The reasons that are no criterion's: those have their own lines."""
        return [reason for reason in self.reasons if reason.kind is not ReasonKind.CRITERION]


def judge(run: Run, accounting: AccountingCheck, failure_criteria: str | None = None) -> Judgement:
    """Judge `run` by `failure_criteria`, or by its own when it is `None`. Raises `BadInput` for text that is none."""
    text = own_criteria(run) if failure_criteria is None else failure_criteria
    criteria = parse_criteria(text) if text.strip() or failure_criteria is not None else []
    results = _of_search(run, criteria) if failure_criteria is None and is_search(run) else _evaluate(run, criteria)
    replaced = _replaced(run, criteria, failure_criteria)
    evidence = evidence_of(run, accounting, replaced)
    verdict = decide(results, bool(criteria), evidence)
    if failure_criteria is None and (doubt := _contradiction(run, verdict)):
        verdict = decide(results, bool(criteria), dataclasses.replace(evidence, distrust=doubt))
    judged = [_judged(result) for result in results]
    return Judgement(verdict.state, int(verdict.exit_code), verdict.reasons, judged, verdict.has_failed, replaced)


def _contradiction(run: Run, verdict: Verdict) -> list[Reason]:
    """A run that said itself that it has not passed does not pass afterwards: its rows or its run.json were changed."""
    said = run.setting("verdict", "state")
    if run.source != TOKENSWARM or verdict.exit_code or said in (None, "passed", "none"):
        return []
    return [Reason(ReasonKind.EVIDENCE, f"run.json says {said}, the rows now say {verdict.state}: one was changed")]


def _replaced(run: Run, criteria: list[Criterion], failure_criteria: str | None) -> list[Replacement]:
    """What the run itself left out; and where it is judged by other criteria than its own, what these leave out."""
    at_start = read_replacements(run.setting("criteria_replaced"))
    own = own_criteria(run) if failure_criteria is not None else ""
    return [*at_start, *(replacements(parse_criteria(own), criteria, "of the run") if own.strip() else [])]


def evidence_of(run: Run, accounting: AccountingCheck, replaced: Sequence[Replacement] = ()) -> Evidence:
    """What the rows and the generator's own notes say besides the criteria."""
    return Evidence(
        sent=accounting.sent,
        answered=accounting.ok,
        not_ok=accounting.throttled + accounting.failed + accounting.cancelled + accounting.dropped,
        failures=_failures(run),
        distrust=distrust(run, accounting),
        interrupted=run.state == "interrupted",
        replaced=replaced,
    )


def is_search(run: Run) -> bool:
    """Whether the run searched for the capacity: it then breaks its criteria on purpose, level by level."""
    return isinstance(run.setting("search"), Mapping)


def _of_search(run: Run, criteria: list[Criterion]) -> list[CriterionResult]:
    """The criteria as the search judged them, at the level it answers with."""
    judged = run.setting("criteria")
    items = [item for item in judged if isinstance(item, Mapping)] if isinstance(judged, list) else []
    by_text = {str(item.get("text")): item for item in items}
    is_over = run.setting("search", "is_over") is not False
    note = (
        "at the level the search answers with"
        if is_over
        else "at the highest level that held before the search was cut"
    )
    return [_at_level(criterion, by_text.get(str(criterion), {}), note) for criterion in criteria]


def _at_level(criterion: Criterion, item: Mapping[str, Any], note: str) -> CriterionResult:
    value, n, state = item.get("value"), item.get("n"), item.get("state")
    if not isinstance(value, int | float) or state not in ("held", "failed"):
        return CriterionResult(criterion, "no_data", None, 0, "the search judged no level by it")
    return CriterionResult(criterion, str(state), float(value), n if isinstance(n, int) else 0, note)


def own_criteria(run: Run) -> str:
    """The criteria a run was started with: the option, else what run.json judged."""
    text = run.setting("options", "failure-criteria")
    if isinstance(text, list):
        return "\n".join(str(line) for line in text)
    if isinstance(text, str) and text.strip():
        return text
    judged = run.setting("criteria")
    lines = [item.get("text") for item in judged if isinstance(item, Mapping)] if isinstance(judged, list) else []
    return "\n".join(line for line in lines if isinstance(line, str))


def _failures(run: Run) -> list[Reason]:
    """Why a run has failed before any criterion is looked at."""
    reasons = []
    if run.state in ("crashed", "recovered"):
        text = "the run did not end in order: its figures are of what was left behind"
        reasons.append(Reason(ReasonKind.CRASHED, text))
    stop = run.setting("stop_reason")
    noted = read_reasons(run.setting("verdict", "reasons"))
    if any(reason.kind is ReasonKind.STOPPED or reason.text == stop for reason in noted):
        reasons.append(Reason(ReasonKind.STOPPED, str(stop)))
    return reasons


def distrust(run: Run, accounting: AccountingCheck) -> list[Reason]:
    """Why the figures of a run are not to be trusted: what the generator noted at the end, and what the rows show."""
    if run.state in ("crashed", "recovered"):
        return []
    lost = [Reason(ReasonKind.ACCOUNTING, problem) for problem in accounting.problems]
    lost += [Reason(ReasonKind.EVIDENCE, run.altered)] if run.altered else []
    if run.source != TOKENSWARM:
        return lost
    return _noted(run, accounting) + _delivery(run, accounting) + lost


def _noted(run: Run, accounting: AccountingCheck) -> list[Reason]:
    """The generator's own reasons, without those that are found again from the rows."""
    untrusted = run.setting("verdict", "state") == "untrusted"
    noted = read_reasons(run.setting("verdict", "reasons")) if untrusted else []
    stop = run.setting("stop_reason")
    kept = [reason for reason in noted if reason.kind in RUN_DISTRUST and reason.text != stop]
    kinds = {reason.kind for reason in kept}
    if run.setting("generator", "saturated") is True and not kinds & {ReasonKind.SATURATED, ReasonKind.OTHER}:
        text = "load generator saturated: latencies contain its own delay"
        kept.append(Reason(ReasonKind.SATURATED, text))
    if untrusted and not noted:
        kept.append(Reason(ReasonKind.OTHER, "the generator marked the run as untrusted"))
    return kept


def _delivery(run: Run, accounting: AccountingCheck) -> list[Reason]:
    """A search offers more than can be delivered on purpose: its levels are judged."""
    return [] if is_search(run) else not_delivered(accounting.first_attempts, accounting.planned)


def _evaluate(run: Run, criteria: list[Criterion]) -> list[CriterionResult]:
    if run.given is not None:
        return [_of_given(criterion, run.given.overall, run.given.by_name) for criterion in criteria]
    if not criteria:
        return []
    window = window_of(run)
    span = None if window is None else (window.start, window.end)
    results = evaluate(criteria, RowSamples(run.rows, goodput_of(run), run_end(run)), span)
    return over_all_levels(results) if is_search(run) or isinstance(run.setting("levels"), Mapping) else results


def goodput_of(run: Run) -> Goodput | None:
    """The goodput limits a run was started with; `None` without any, or when they cannot be read."""
    text = run.setting("options", "goodput")
    try:
        return parse_goodput(text) if isinstance(text, str) and text.strip() else None
    except BadInput:
        return None


_SCALARS = {
    ("error", "percentage"): "error_pct",
    ("requests", "count"): "requests",
    ("rpm", "avg"): "rpm",
    ("tpm", "avg"): "tpm",
    ("throttled", "percentage"): "throttled_pct",
    ("throttled", "count"): "throttled",
    ("wrong", "percentage"): "wrong_pct",
}


def _of_given(criterion: Criterion, overall: Group, by_name: Mapping[str, Group]) -> CriterionResult:
    """A criterion on the aggregates of another tool: only what that tool states, nothing derived."""
    found = overall if criterion.name is None else by_name.get(criterion.name)
    value = None if found is None else _stated(criterion, found)
    if found is None or value is None:
        note = unknown_name(criterion, by_name) or _too_few(criterion, found) or "this source does not state it"
        return CriterionResult(criterion, "no_data", None, 0, note)
    state = "failed" if criterion.is_true(value) else "held"
    return CriterionResult(criterion, state, value, found.counts.sent, "as stated by the source")


def _too_few(criterion: Criterion, found: Group | None) -> str:
    """Why a percentile that another tool states is not taken: too few requests carry it."""
    stated = None if found is None else found.distributions.get(criterion.metric)
    percent = percentile_of(criterion.aggregation)
    if stated is None or percent is None or f"p{percent:g}" not in stated.percentiles or carries(stated.n, percent):
        return ""
    return f"p{percent:g} needs {needed(percent)} values, there are {stated.n}"


def _stated(criterion: Criterion, found: Group) -> float | None:
    scalar = _SCALARS.get((criterion.metric, criterion.aggregation))
    if scalar is not None:
        return found.values.get(scalar)
    if criterion.metric == "requests_per_sec":
        rate = found.values.get("rpm_started")
        return None if rate is None else rate / 60.0
    stated = found.distribution(criterion.metric)
    percent = percentile_of(criterion.aggregation)
    if percent is not None:
        return stated.percentile(f"p{percent:g}").value
    plain: dict[str, float | None] = {"avg": stated.avg.value, "min": stated.min, "max": stated.max}
    return plain.get(criterion.aggregation)


def _judged(result: CriterionResult) -> Judged:
    value = None if result.value is None else float(result.value)
    of_criterion = dataclasses.asdict(result.criterion) | {"unit": result.criterion.unit}
    return Judged(state=result.state, value=value, n=result.n, note=result.note, scope=result.scope, **of_criterion)
