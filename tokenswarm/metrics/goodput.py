"""Goodput: which requests were good enough, by limits that all have to be met."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.userinput import BadInput, format_number, read_number

LIMIT_METRICS = ("ttft_ms", "ttft_visible_ms", "tbt_ms", "e2e_ms", "ttft_from_due_ms", "e2e_from_due_ms", "lag_ms")
"""Figures of one request that can have a limit."""

_LIMIT = re.compile(r"(?P<metric>[^<>=]*)(?P<operator>[<>=]+)(?P<limit>[^<>=]*)")


@dataclass(frozen=True, slots=True)
class Goodput:
    """Upper limits per metric, in ms; a request is good when it is below every one of them."""

    limits: tuple[tuple[str, float], ...]

    def met(self, record: RequestRecord) -> bool:
        """Whether an answered request stayed below every limit; never true for one without outcome ok."""
        return record.outcome is Outcome.OK and all(_below(record, metric, limit) for metric, limit in self.limits)

    def __str__(self) -> str:
        return ", ".join(f"{metric}<{format_number(limit)}" for metric, limit in self.limits)


def parse_goodput(text: str) -> Goodput:
    """Parse "ttft_ms<1000, tbt_ms<50". Raises `BadInput` with every problem."""
    problems: list[str] = []
    limits: dict[str, float] = {}
    for part in filter(str.strip, re.split(r"[,;\n]", text)):
        parsed = _parse_limit(part.strip(), problems)
        if parsed is not None:
            metric, limit = parsed
            limits[metric] = min(limit, limits.get(metric, limit))
    if not limits and not problems:
        problems.append(f"goodput: expected limits as ttft_ms<1000, tbt_ms<50, got {text!r}")
    if problems:
        raise BadInput(problems)
    return Goodput(tuple(limits.items()))


def _below(record: RequestRecord, metric: str, limit: float) -> bool:
    value: float | None = getattr(record, metric)
    if value is None:
        return _cannot_exceed(record, metric)
    return value < limit


def _cannot_exceed(record: RequestRecord, metric: str) -> bool:
    """An answer of one chunk has no time between tokens, a request without plan no lag: no limit is broken there."""
    if metric == "tbt_ms":
        return record.chunks is not None and record.chunks < 2
    return metric == "lag_ms"


def _parse_limit(part: str, problems: list[str]) -> tuple[str, float] | None:
    match = _LIMIT.fullmatch(part)
    if not match or match["operator"] != "<":
        problems.append(f"goodput: expected a limit as ttft_ms<1000, got {part!r}")
        return None
    metric = match["metric"].strip()
    limit = read_number(match["limit"].strip().removesuffix("ms"))
    if metric not in LIMIT_METRICS:
        problems.append(f"goodput: expected one of {', '.join(LIMIT_METRICS)}, got {metric!r} (in {part!r})")
    if limit is None or limit <= 0:
        problems.append(f"goodput: expected a limit above 0 ms, got {match['limit'].strip()!r} (in {part!r})")
        return None
    return metric, limit
