"""All figures of one population: the whole run, one request name, one turn.

Each figure takes the rows that belong to it: counts, shares and latencies the requests started in the window, rates of
completed requests and of used tokens those that ended in it. Columns are taken one after the other and given up again:
a run of ten million rows has room for a few of them beside its table.
"""

from __future__ import annotations

import numpy as np

from analysis.figures import metrics, populations
from analysis.figures.metrics import LOW_IS_BAD, PER_REQUEST
from analysis.figures.populations import Mask, Values, chosen
from analysis.figures.window import Window
from analysis.sources.rows import RowTable, part
from analysis.sources.run import MINUTE_S
from analysis.statistics import Counts, Distribution, Group, distribution, per_minute, percentage
from tokenswarm.metrics.goodput import Goodput
from tokenswarm.record import TokenSource


def group(rows: RowTable, window: Window, key: str = "", goodput: Goodput | None = None) -> Group:
    """Figures of `rows`, which may also lie outside the window."""
    inside = window.contains(populations.started(rows))
    within = part(rows, inside)
    found = populations.counts(within)
    values: dict[str, float | None] = _counts(found) | _shares(within, found) | _token_shares(within)
    values |= _request_rates(rows, window, found) | _used_tokens(rows, window) | _estimated_tokens(within, window)
    values |= _goodput(within, window, goodput, found)
    distributions = {name: _distribution(within, name) for name in PER_REQUEST}
    call_values, call_distributions = _calls(within)
    present = {name: made for name, made in (distributions | call_distributions).items() if made.n}
    return Group(key, found, values | call_values, present)


def _distribution(rows: RowTable, name: str) -> Distribution:
    return distribution(name, metrics.values_of(rows, name), name in LOW_IS_BAD)


def _counts(found: Counts) -> dict[str, float | None]:
    throttled = found.throttled or 0
    return {
        "requests": float(found.sent),
        "ok": float(found.ok),
        "failed": float(found.failed),
        "throttled": float(throttled),
        "cancelled": float(found.cancelled or 0),
        "aborted": float(found.aborted or 0),
        "dropped": float(found.dropped or 0),
        "error_pct": percentage(found.failed, found.settled),
        "throttled_pct": percentage(throttled, found.settled),
    }


def _shares(rows: RowTable, found: Counts) -> dict[str, float | None]:
    usage = (rows["token_source"] == str(TokenSource.USAGE)).to_numpy(bool) & populations.is_ok(rows)
    return {
        "dropped_pct": percentage(found.dropped or 0, float(populations.is_offered(rows).sum())),
        "usage_pct": percentage(float(usage.sum()), found.ok),
        "wrong_pct": percentage(float(populations.is_wrong(rows).sum()), float(populations.is_judged(rows).sum())),
    }


def _token_shares(rows: RowTable) -> dict[str, float | None]:
    ok = populations.is_ok(rows)
    generated, limit = populations.numbers(rows["completion_tokens"]), populations.numbers(rows["max_tokens"])
    both = ok & ~np.isnan(generated) & ~np.isnan(limit)
    length = percentage(float(generated[both].sum()), float(limit[both].sum()))
    del generated, limit, both
    return {
        "answer_length_pct": length,
        "cached_pct": _part_of(rows, "cached_tokens", "prompt_tokens"),
        "cacheable_pct": None,  # of a whole run only: what was sent before is no matter of a group
        "reasoning_pct": _part_of(rows, "reasoning_tokens", "completion_tokens"),
    }


def _part_of(rows: RowTable, part_column: str, whole_column: str) -> float | None:
    """Share of tokens in percent; `None` when the part was never reported."""
    amounts = populations.usage_tokens(rows, part_column)
    known = ~np.isnan(amounts)
    if not known.any():
        return None
    amount = float(amounts[known].sum())
    del amounts
    return percentage(amount, float(np.nansum(populations.usage_tokens(rows, whole_column)[known])))


def _request_rates(rows: RowTable, window: Window, found: Counts) -> dict[str, float | None]:
    due = chosen(populations.due(rows), populations.is_offered(rows))
    offered = float(window.contains(due).sum())
    del due
    end = populations.ended(rows)
    instants = chosen(end, populations.is_ok(rows) & window.contains(end))
    del end
    ones = np.ones(len(instants), np.int8)
    return {
        "rpm_offered": per_minute(offered, window.length_s),
        "rpm_started": per_minute(float(found.sent), window.length_s),
        "rpm": per_minute(float(len(instants)), window.length_s),
        "rpm_max_minute": _minute_max(window, instants, ones),
        "rpm_max_60s": _best_60s(window, instants, ones),
    }


def _used_tokens(rows: RowTable, window: Window) -> dict[str, float | None]:
    end = populations.ended(rows)
    by_end = window.contains(end) & populations.is_sent(rows)
    prompt, generated = (
        _sum(chosen(populations.usage_tokens(rows, column), by_end))
        for column in ("prompt_tokens", "completion_tokens")
    )
    used = populations.used_tokens(rows)
    by_end &= ~np.isnan(used)
    end, used = chosen(end, by_end), chosen(used, by_end)
    total = _sum(used)
    return {
        "tokens_prompt": prompt,
        "tokens_generated": generated,
        "tokens": total,
        "tpm_prompt": _rate(prompt, window),
        "tpm_generated": _rate(generated, window),
        "tpm": _rate(total, window),
        "tpm_max_minute": None if total is None else _minute_max(window, end, used),
        "tpm_max_60s": None if total is None else _best_60s(window, end, used),
    }


def _estimated_tokens(within: RowTable, window: Window) -> dict[str, float | None]:
    at, estimated = populations.started(within), populations.estimated_tokens(within)
    total = _sum(estimated)
    return {
        "tpm_estimated": _rate(total, window),
        "tpm_estimated_max_minute": None if total is None else _minute_max(window, at, estimated),
        "tpm_estimated_max_60s": None if total is None else _best_60s(window, at, estimated),
    }


def _goodput(rows: RowTable, window: Window, goodput: Goodput | None, found: Counts) -> dict[str, float | None]:
    if goodput is None:
        return {"goodput_pct": None, "goodput_rpm": None}
    met = float(metrics.is_good(rows, goodput).sum())
    base = found.settled + (found.dropped or 0)
    return {"goodput_pct": percentage(met, base), "goodput_rpm": per_minute(met, window.length_s)}


def _calls(rows: RowTable) -> tuple[dict[str, float | None], dict[str, Distribution]]:
    """User-perceived figures, only where some call was retried: elsewhere they say nothing new."""
    first = populations.is_first(rows)
    if first.all():
        return {"calls": None, "calls_ok_pct": None, "attempts_per_call": None}, {}
    calls, answered, waits = populations.call_latencies(rows)
    sent = int(populations.is_sent(rows).sum())
    values = {
        "calls": float(calls),
        "calls_ok_pct": percentage(answered, calls),
        "attempts_per_call": sent / calls if calls else None,
    }
    at_once = rows["e2e_ms"].to_numpy()[populations.is_ok(rows) & first]
    return values, {
        "call_e2e_ms": distribution("call_e2e_ms", waits),
        "first_attempt_e2e_ms": distribution("first_attempt_e2e_ms", at_once),
    }


def _sum(values: Values) -> float | None:
    """Sum of the known values; `None` when none is known: unknown tokens are not 0."""
    known = ~np.isnan(values)
    return float(np.sum(values, where=known, dtype=np.float64)) if known.any() else None


def _rate(total: float | None, window: Window) -> float | None:
    return None if total is None else per_minute(total, window.length_s)


def _best_60s(window: Window, instants: Values, amounts: Values) -> float | None:
    """Greatest sum in any 60 s; `None` for a window that is shorter: it has no 60 s."""
    return None if window.length_s < MINUTE_S else populations.sliding_max(instants, amounts) or 0.0


def _minute_max(window: Window, instants: Values, amounts: Values) -> float | None:
    """Greatest sum of the known amounts over one full clock minute; `None` without a full minute."""
    minutes = window.full_minutes()
    if not len(minutes):
        return None
    known: Mask = ~np.isnan(amounts) & (instants >= minutes.start) & (instants < minutes.stop)
    place = ((chosen(instants, known) - minutes.start) // minutes.step).astype(np.int32)
    return float(np.bincount(place, chosen(amounts, known), len(minutes)).max())
