"""Quota truth: what the service's limiter counted, beside what was used, and why each 429 came.

A standard deployment admits by an estimate (prompt + max_tokens) that is added to a counter when a request arrives,
refused ones included, and that is reset each minute; requests are also limited over 1 s and 10 s. A provisioned one
admits while its utilization is below 100 %. Source: Azure OpenAI quota and provisioned throughput documentation.
When the counter is reset is not told to a client: figures are of any 60 s, which hold whatever minute it counts.
"""

from __future__ import annotations

import math
import re
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

TOKENS, REQUESTS, UTILIZATION, UNKNOWN = "token rate", "request rate", "utilization", "unknown"
CAPACITY, ALLOWANCE = "service capacity", "spent allowance"
SAID: tuple[tuple[str, re.Pattern[str]], ...] = (
    (ALLOWANCE, re.compile(r"insufficient_quota|current quota|billing|credit balance", re.IGNORECASE)),
    (TOKENS, re.compile(r"token rate|tokens? per (?:min|day|hour)|token quota|\b[IO]?TPM\b", re.IGNORECASE)),
    (REQUESTS, re.compile(r"call rate|request rate|requests? per|concurrent|\bRPM\b", re.IGNORECASE)),
    (CAPACITY, re.compile(r"high demand|overloaded|no capacity|at capacity|peak load", re.IGNORECASE)),
    (UTILIZATION, re.compile(r"provisioned|utili[sz]ation", re.IGNORECASE)),
)
"""What the text of a refusal names, as Azure OpenAI, OpenAI, Anthropic and gateways word it; one that names two rates
names none."""
SLICES_S = (1.0, 10.0)


@dataclass(frozen=True, slots=True)
class Slice:
    """Most requests that were started in any `seconds`, and how many the quota allows in it."""

    seconds: float
    most: int
    allowed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaTruth:
    """`tpm`, `rpm`, `ptu`: the configured quota, `None` when it was not given. `estimated_tpm`, `used_tpm` and
    `sent_rpm` are the most in any 60 s. `reasons` counts the 429s by cause; `explained` has one line for each cause.
    `lasted_s`: of a run that its run.json says was shorter than 60 s, whose load a minute would have held more of.
    """

    tpm: float | None = None
    rpm: float | None = None
    ptu: float | None = None
    estimated_tpm: float | None = None
    used_tpm: float | None = None
    sent_rpm: float | None = None
    estimated_per_request: float | None = None
    used_per_request: float | None = None
    lasted_s: float | None = None
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
        estimated_tpm=populations.sliding_max(at, estimated),
        used_tpm=populations.sliding_max(populations.ended(rows), used),
        sent_rpm=populations.sliding_max(at, np.ones(len(at))),
        estimated_per_request=_mean(estimated),
        used_per_request=_mean(used),
        lasted_s=_short_s(run),
        slices=[_slice(at, seconds, rpm) for seconds in SLICES_S],
        throttled=len(causes),
        reasons=dict(Counter(causes).most_common()),
    )
    return replace(made, explained=_explained(made), advice=advise(made, rows))


def _short_s(run: Run) -> float | None:
    start, end = run.number("started_at"), run.number("ended_at")
    lasted_s = None if start is None or end is None else end - start
    return lasted_s if lasted_s is not None and 1.0 <= lasted_s < MINUTE_S else None


def explain(rows: RowTable, tpm: float | None, rpm: float | None) -> list[str]:
    """The cause of each throttled one of `rows` (sent requests), in their order.

    What the service wrote comes first: its text names the rate that was exceeded. Then its headers: utilization of
    100 % and more, no request left, fewer tokens left than the estimate. Then the quota: the estimates of the last 60 s
    (which hold the clock minute so far) above the tokens per minute, requests of the last 1 s, 10 s or 60 s above
    their allowance.
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
    said = _said(refused)
    cause[said != UNKNOWN] = said[said != UNKNOWN]
    return [str(found) for found in cause]


def cause_in(text: str) -> str:
    """What the text of a refusal names as its cause; `UNKNOWN` when it names none, or two rates."""
    found = [cause for cause, pattern in SAID if pattern.search(text)]
    if not found or {TOKENS, REQUESTS} <= set(found):
        return UNKNOWN
    return found[0]


def _said(refused: RowTable) -> Values:
    """The cause that each refusal's text names: one look at each distinct text."""
    column = refused["error"].cat
    known = np.array([*(cause_in(str(text)) for text in column.categories), UNKNOWN], dtype=object)
    return np.asarray(known[column.codes.to_numpy()])


def advise(truth: QuotaTruth, rows: RowTable) -> list[str]:
    """What to change, in plain words, from what was seen."""
    return [line for line in (_lower_max_tokens(truth, rows), _spread(truth), _more(truth)) if line]


def _is_burst(at: Values, when: Values, rpm: float | None) -> Values:
    """Whether the 1 s, 10 s or 60 s up to each instant `when` hold more requests than allowed."""
    found = np.zeros(len(when), bool)
    if rpm is None:
        return found
    ordered = np.sort(at)
    until = np.searchsorted(ordered, when, side="right")
    for seconds in (*SLICES_S, MINUTE_S):
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


def _mean(values: Values) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else None


def _explained(truth: QuotaTruth) -> list[str]:
    texts = {
        TOKENS: _tokens_text(truth),
        REQUESTS: _requests_text(truth),
        UTILIZATION: "the provisioned deployment was at 100 % utilization or above",
        CAPACITY: "the service's own capacity, whatever the quota",
        ALLOWANCE: "the account's allowance is spent: waiting does not help",
        UNKNOWN: "neither text, headers nor the quota that was configured explain it: the service's own capacity, a "
        "temporary limit, or a quota that was not given (options quota-tpm, quota-rpm)",
    }
    return [f"{count} x {cause}: {texts[cause]}" for cause, count in truth.reasons.items() if cause in texts]


def _tokens_text(truth: QuotaTruth) -> str:
    """What was estimated beside the quota, without claiming more than the two figures say."""
    most = f"the fullest 60 s held {_n(truth.estimated_tpm)} estimated tokens (prompt + max_tokens)"
    used = f", while {_n(truth.used_tpm)} were used at most"
    if truth.tpm is None:
        return f"{most}{used}; no quota-tpm was given"
    if (truth.estimated_tpm or 0) > truth.tpm:
        return f"{most}, above the quota of {_n(truth.tpm)} TPM{used}"
    return (
        f"{most}, within the quota of {_n(truth.tpm)} TPM{used}: the service counts prompts otherwise, or a lower "
        "limit is in effect"
    )


def _requests_text(truth: QuotaTruth) -> str:
    slices = ", ".join(
        f"{item.most} in {item.seconds:g} s" + ("" if item.allowed is None else f" (allowed {_n(item.allowed)})")
        for item in truth.slices
    )
    minute = f"{_n(truth.sent_rpm)} in 60 s" + ("" if truth.rpm is None else f" (allowed {_n(truth.rpm)})")
    return f"too many requests for a limit that is enforced over 1 s and 10 s, too: at most {slices}, {minute}"


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
    if not truth.reasons.get(REQUESTS):
        return None
    sent_rpm, measured = _in_a_minute(truth.sent_rpm, truth), "(the most sent in 60 s)"
    if truth.lasted_s is not None:
        measured = f"(the average of this run, which lasted {truth.lasted_s:.0f} s)"
    if truth.rpm is None:
        return f"Ask for more than {_n(sent_rpm)} RPM {measured}, or spread the requests more evenly."
    if sent_rpm and sent_rpm > truth.rpm:
        need = f"ask for more than {sent_rpm:,.0f} RPM {measured}"
        return f"The quota of {truth.rpm:,.0f} RPM is less than the load: {need}, or offer less."
    return (
        f"Spread the requests: {truth.rpm:,.0f} RPM admits one every {60.0 / truth.rpm:.2g} s, and bursts are refused "
        "even when the minute as a whole is within the quota. Or ask for more RPM."
    )


def _more(truth: QuotaTruth) -> str | None:
    if truth.reasons.get(UTILIZATION):
        return "Add PTUs, let the excess spill over to a standard deployment, or shorten prompts and answers."
    if truth.reasons.get(ALLOWANCE):
        return "Raise the account's spending limit, or pay its bill."
    if not truth.reasons.get(TOKENS) or not truth.estimated_tpm:
        return None
    needed = _in_a_minute(truth.estimated_tpm, truth) or 0.0
    if truth.tpm is None or needed > truth.tpm:
        now = "" if truth.tpm is None else f" (now {truth.tpm / 1000.0:,.0f}K)"
        return f"To admit this load as it is, ask for {_round_up(needed / 1000.0):,}K TPM{now}."
    return f"See which limit is in effect: {truth.tpm:,.0f} TPM would have admitted this load."


def _in_a_minute(most: float | None, truth: QuotaTruth) -> float | None:
    """What 60 s of this load would have held: of a run that was shorter, more than it sent."""
    return most if most is None or truth.lasted_s is None else most * MINUTE_S / truth.lasted_s


def _round_up(value: float) -> int:
    """To two digits, upwards: a figure for a form, not a measurement."""
    if value <= 10:
        return max(1, math.ceil(value))
    step = 10 ** (math.floor(math.log10(value)) - 1)
    return int(math.ceil(value / step) * step)


def _n(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"
