"""What a criterion asks for and what was found, as people say it. Pure.

TTFT p95 must be at most 1,000 ms, was 1,234 ms (n = 120)
Throttled requests must be at most 5 %, was 55.6 % (15 of 27)
"""

from __future__ import annotations

from tokenswarm.metrics.criteria import Criterion, CriterionResult

SUBJECTS = {
    "response_time_ms": "response time",
    "latency": "time to first byte",
    "ttft_ms": "TTFT",
    "tbt_ms": "TBT",
    "e2e_ms": "E2E",
    "ttft_from_due_ms": "TTFT from due",
    "e2e_from_due_ms": "E2E from due",
    "lag_ms": "lag",
    "requests_per_sec": "requests per second",
    "requests": "requests",
    "error": "failed requests",
    "throttled": "throttled requests",
    "dropped": "dropped requests",
    "goodput": "requests within the goodput limits",
    "tpm": "tokens per minute",
    "rpm": "requests per minute",
}
"""What a metric is of, by its name in a criterion."""

_AGGREGATIONS = {"avg": "mean", "min": "lowest", "max": "highest"}


def subject(criterion: Criterion) -> str:
    """What the criterion is about: "TTFT p95", "chat: throttled requests"."""
    name = SUBJECTS.get(criterion.metric, criterion.metric)
    aggregation = criterion.aggregation
    if aggregation in _AGGREGATIONS:
        name = f"{name}, {_AGGREGATIONS[aggregation]}"
    elif aggregation not in ("percentage", "count"):
        name = f"{name} {aggregation}"
    return name if criterion.name is None else f"{criterion.name}: {name}"


def demand(criterion: Criterion) -> str:
    """What must hold: "must be at most 5 %"."""
    bound = "at most" if criterion.operator == ">" else "at least"
    return f"must be {bound} {_figure(criterion.threshold, criterion.unit)}"


def finding(result: CriterionResult) -> str:
    """What was found: "was 55.6 % (15 of 27)"; "no data" without a value."""
    if result.value is None:
        return "no data"
    found = f"was {_figure(result.value, result.criterion.unit, _digits(result))} ({_base(result)})"
    return f"{found}; {result.note}" if result.note else found


def sentence(result: CriterionResult) -> str:
    """Subject, demand and finding in one sentence, without its full stop."""
    text = f"{subject(result.criterion)} {demand(result.criterion)}, {finding(result)}"
    return text[0].upper() + text[1:] if result.criterion.name is None else text


def _base(result: CriterionResult) -> str:
    value, aggregation = result.value, result.criterion.aggregation
    assert value is not None
    if aggregation == "percentage":
        return f"{round(value * result.n / 100):,} of {result.n:,}"
    if aggregation == "count":
        return f"of {result.n:,}"
    minutes = result.criterion.metric in ("tpm", "rpm") and aggregation in ("min", "max")
    return f"n = {result.n:,}" + (" minutes" if minutes else "")


def _digits(result: CriterionResult) -> int:
    """Decimals that tell the value from a limit it is on the other side of."""
    value, threshold = result.value or 0.0, result.criterion.threshold
    digits = 0 if abs(value) >= 1000 else 1
    while digits < 6 and value != threshold and round(value, digits) == round(threshold, digits):
        digits += 1
    return digits


def _figure(value: float, unit: str, digits: int = 6) -> str:
    text = f"{value:,.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {unit}".replace(" /", "/") if unit else text
