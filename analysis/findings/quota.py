"""Quota truth: what the service's limiter counted, beside what was used, and why each 429 came.

A standard deployment admits by an estimate (prompt + max_tokens) that is added to a counter when a request arrives,
refused ones included, and that is reset each minute; requests are also limited over 1 s and 10 s. A provisioned one
admits while its utilization is below 100 %. Source: Azure OpenAI quota and provisioned throughput documentation.
When the counter is reset is not told to a client; clock minutes are used for what is shown, the last 60 s for what
explains a 429.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.figures import populations
from analysis.figures.populations import Values
from analysis.figures.window import Window
from analysis.sources.rows import RowTable, part
from analysis.sources.run import MINUTE_S, Run
from tokenswarm.record import Outcome

TOKENS, REQUESTS, UTILIZATION, UNKNOWN = "token estimate", "request burst", "utilization", "unknown"
SLICES_S = (1.0, 10.0)


@dataclass(frozen=True, slots=True)
class Slice:
    """Most requests that were started in any `seconds`, and how many the quota allows in it."""

    seconds: float
    most: int
    allowed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaTruth:
    """`tpm`, `rpm`, `ptu`: the configured quota, `None` when it was not given. `estimated_tpm` and `used_tpm` are the
    highest clock minute (whole or not). `reasons` counts the 429s by cause; `explained` has one line for each cause.
    """

    tpm: float | None = None
    rpm: float | None = None
    ptu: float | None = None
    estimated_tpm: float | None = None
    used_tpm: float | None = None
    estimated_per_request: float | None = None
    used_per_request: float | None = None
    slices: Sequence[Slice] = field(default_factory=list)
    throttled: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    explained: Sequence[str] = field(default_factory=list)
    advice: Sequence[str] = field(default_factory=list)


def quota_truth(run: Run, window: Window) -> QuotaTruth | None:
    """Quota figures of the whole run; `None` when it sent nothing."""
    rows = part(run.rows, populations.is_sent(run.rows))
    if not len(rows):
        return None
    tpm, rpm, ptu = (run.number("quota", name) for name in ("tpm", "rpm", "ptu"))
    at = populations.started(rows)
    estimated, used = populations.estimated_tokens(rows), populations.used_tokens(rows)
    causes = explain(rows, tpm, rpm)
    made = QuotaTruth(
        tpm=tpm,
        rpm=rpm,
        ptu=ptu,
        estimated_tpm=_top_minute(at, estimated),
        used_tpm=_top_minute(populations.ended(rows), used),
        estimated_per_request=_mean(estimated),
        used_per_request=_mean(used),
        slices=[_slice(at, seconds, rpm) for seconds in SLICES_S],
        throttled=len(causes),
        reasons=dict(Counter(causes).most_common()),
    )
    return replace(made, explained=_explained(made), advice=advise(made, rows))


def explain(rows: RowTable, tpm: float | None, rpm: float | None) -> list[str]:
    """The cause of each throttled one of `rows` (sent requests), in their order.

    What the response says comes first: utilization of 100 % and more, no request left, fewer tokens left than the
    estimate. Without such headers the quota decides: the estimate of the last 60 s above the tokens per minute, then
    requests of the last 1 s or 10 s above their allowance.
    """
    throttled = populations.outcome_is(rows, Outcome.THROTTLED)
    if not throttled.any():
        return []
    at, estimated = populations.started(rows), populations.estimated_tokens(rows)
    refused, needed = part(rows, throttled), estimated[throttled]
    cause = np.full(len(refused), UNKNOWN, dtype=object)
    cause[_is_burst(at, at[throttled], rpm)] = REQUESTS
    cause[_is_spent(at, estimated, at[throttled], tpm)] = TOKENS
    left, none_left = (populations.numbers(refused[name]) for name in ("remaining_tokens", "remaining_requests"))
    with np.errstate(invalid="ignore"):
        cause[(left >= 0) & (left < needed)] = TOKENS
        cause[none_left == 0] = REQUESTS
        cause[refused["utilization_pct"].to_numpy() >= 100.0] = UTILIZATION
    return [str(found) for found in cause]


def advise(truth: QuotaTruth, rows: RowTable) -> list[str]:
    """What to change, in plain words, from what was seen."""
    return [line for line in (_lower_max_tokens(truth, rows), _spread(truth), _more(truth)) if line]


def _is_burst(at: Values, when: Values, rpm: float | None) -> Values:
    """Whether the 1 s or 10 s up to each instant `when` hold more requests than allowed."""
    found = np.zeros(len(when), bool)
    if rpm is None:
        return found
    ordered = np.sort(at)
    until = np.searchsorted(ordered, when, side="right")
    for seconds in SLICES_S:
        found |= until - np.searchsorted(ordered, when - seconds, side="right") > max(1.0, rpm * seconds / 60.0)
    return found


def _is_spent(at: Values, estimated: Values, when: Values, tpm: float | None) -> Values:
    """Whether the estimates of the 60 s up to each instant `when` exceed the tokens per minute."""
    if tpm is None:
        return np.zeros(len(when), bool)
    ordered, summed = populations.in_time(at, np.nan_to_num(estimated))
    np.cumsum(summed, out=summed)
    until, since = (np.searchsorted(ordered, edge, side="right") for edge in (when, when - MINUTE_S))
    return np.asarray(_up_to(summed, until) - _up_to(summed, since) > tpm)


def _up_to(summed: Values, number: Values) -> Values:
    """Sum of the first `number` amounts, from their running sums."""
    return np.where(number > 0, summed[number - 1], 0.0)


def _slice(at: Values, seconds: float, rpm: float | None) -> Slice:
    most = populations.sliding_max(at, np.ones(len(at)), seconds)
    return Slice(seconds, int(most or 0), None if rpm is None else rpm * seconds / 60.0)


def _top_minute(instants: Values, amounts: Values) -> float | None:
    known = ~np.isnan(amounts)
    if not known.any():
        return None
    place = np.floor(instants[known] / MINUTE_S).astype(np.int64)
    return float(np.bincount(place - place.min(), amounts[known]).max())


def _mean(values: Values) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else None


def _explained(truth: QuotaTruth) -> list[str]:
    texts = {
        TOKENS: f"the limiter's estimate (prompt + max_tokens) had used up the quota of {_n(truth.tpm)} TPM: its "
        f"highest minute held {_n(truth.estimated_tpm)} estimated tokens, while {_n(truth.used_tpm)} were used at most",
        REQUESTS: f"too many requests at once for {_n(truth.rpm)} RPM, which is enforced over 1 s and 10 s: "
        + ", ".join(f"{item.most} in {item.seconds:g} s (allowed {_n(item.allowed)})" for item in truth.slices),
        UTILIZATION: "the provisioned deployment was at 100 % utilization or above",
        UNKNOWN: "neither the response headers nor the quota that was configured explain it: the service's own "
        "capacity, a temporary limit, or a quota that was not given (options quota-tpm, quota-rpm)",
    }
    return [f"{count} x {cause}: {texts[cause]}" for cause, count in truth.reasons.items() if cause in texts]


def _lower_max_tokens(truth: QuotaTruth, rows: RowTable) -> str | None:
    """max_tokens is reserved in full: asking for less admits more requests. Room for all but 1 in 100 answers."""
    ok = populations.is_ok(rows)
    asked, used = (populations.numbers(rows[name]) for name in ("max_tokens", "completion_tokens"))
    known = ok & ~np.isnan(asked) & ~np.isnan(used)
    if not known.any() or truth.estimated_per_request is None:
        return None
    limit, average = float(np.median(asked[known])), float(used[known].mean())
    enough = _round_up(1.1 * float(np.percentile(used[known], 99)))
    if enough >= 0.9 * limit:
        return None
    line = (
        f"Lower max_tokens from {limit:.0f} to {enough}: answers average {average:.0f} tokens and 99 in 100 end "
        f"within {enough}."
    )
    cheaper = truth.estimated_per_request - (limit - enough)
    if truth.tpm is None or cheaper <= 0:
        return line
    return line + (
        f" The quota of {truth.tpm:,.0f} TPM then admits {math.floor(truth.tpm / cheaper)} RPM instead of "
        f"{math.floor(truth.tpm / truth.estimated_per_request)}."
    )


def _spread(truth: QuotaTruth) -> str | None:
    if not truth.reasons.get(REQUESTS) or truth.rpm is None:
        return None
    return (
        f"Spread the requests: {truth.rpm:,.0f} RPM admits one every {60.0 / truth.rpm:.2g} s, and bursts are refused "
        "even when the minute as a whole is within the quota. Or ask for more RPM."
    )


def _more(truth: QuotaTruth) -> str | None:
    if truth.reasons.get(UTILIZATION):
        return "Add PTUs, let the excess spill over to a standard deployment, or shorten prompts and answers."
    if truth.reasons.get(TOKENS) and truth.estimated_tpm and truth.tpm and truth.estimated_tpm > truth.tpm:
        need = _round_up(truth.estimated_tpm / 1000.0)
        return f"To admit this load as it is, ask for {need:,}K TPM (now {truth.tpm / 1000.0:,.0f}K)."
    return None


def _round_up(value: float) -> int:
    """To two digits, upwards: a figure for a form, not a measurement."""
    if value <= 10:
        return max(1, math.ceil(value))
    step = 10 ** (math.floor(math.log10(value)) - 1)
    return int(math.ceil(value / step) * step)


def _n(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"
