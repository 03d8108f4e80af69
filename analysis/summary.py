"""All figures of one run, as plain data: what every report, export and comparison is made from.

`summarise(run)` is the only way to make one. Latencies, shares and counts are of the requests started in the window;
completed requests and tokens lie where they ended. Percentiles are always taken from rows, never averaged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import metrics
from analysis.accounting import Accounting, account
from analysis.figures import Distribution, Group, distribution
from analysis.metrics import LOW_IS_BAD, PER_REQUEST, Values, per_minute, percentage
from analysis.minutes import minute_table
from analysis.quota import QuotaTruth, quota_truth
from analysis.run import Run
from analysis.verdict import Judgement, judge
from analysis.window import Window, window_of
from tokenswarm.criteria import Goodput, parse_goodput
from tokenswarm.problems import BadInput
from tokenswarm.record import TokenSource

SCHEMA_VERSION = 1
NETWORK = "network and the rest"
"""What remains of E2E after the stages that the server reports."""
TOTAL_STAGE = "total"

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Figures of one run. `window` is `None` when nothing can be measured; `minutes` has one row per clock minute
    (see `analysis.minutes`); `warnings` say what makes the figures doubtful; `left_out` counts the rows outside the
    window."""

    label: str
    path: str
    source: str
    state: str
    window: Window | None
    left_out: int
    overall: Group
    by_name: Mapping[str, Group] = field(default_factory=dict)
    by_turn: Mapping[str, Group] = field(default_factory=dict)
    by_stage: Mapping[str, Distribution] = field(default_factory=dict)
    minutes: pd.DataFrame
    accounting: Accounting
    quota: QuotaTruth | None = None
    judgement: Judgement
    delivery: Mapping[str, Any] = field(default_factory=dict)
    generator: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    blind_spots: Sequence[str] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    skipped_lines: int = 0
    schema_version: int = SCHEMA_VERSION

    def as_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`: no NaN, tables as lists of objects."""
        plain: dict[str, Any] = _plain(self)
        if self.window is not None:
            plain["window"]["length_s"] = self.window.length_s
        return plain


def summarise(run: Run, failure_criteria: str | None = None) -> Summary:
    """Summary of `run`. `failure_criteria` is judged instead of what run.json has. Raises `BadInput` for bad text."""
    window = window_of(run)
    common: dict[str, Any] = {
        "label": run.label,
        "path": str(run.path),
        "source": run.source,
        "state": run.state,
        "window": window,
        "accounting": account(run),
        "judgement": judge(run, failure_criteria),
        "delivery": _mapping(run.setting("delivery")),
        "generator": _mapping(run.setting("generator")),
        "settings": _settings(run),
        "blind_spots": run.blind_spots,
        "notes": run.notes,
        "skipped_lines": run.skipped_lines,
    }
    from analysis.doubts import doubts

    if run.given is not None:
        summary = _of_given(run, common)
    elif window is None or not len(run.rows):
        summary = Summary(
            **common, left_out=0, overall=Group("", metrics.counts(run.rows)), minutes=minute_table(run.rows, None)
        )
    else:
        summary = _of_rows(run, window, common)
    return dataclasses.replace(summary, warnings=doubts(summary))


def goodput_of(run: Run) -> Goodput | None:
    """The goodput limits a run was started with; `None` without any, or when they cannot be read."""
    text = run.setting("options", "goodput")
    try:
        return parse_goodput(text) if isinstance(text, str) and text.strip() else None
    except BadInput:
        return None


def group(rows: pd.DataFrame, window: Window, key: str = "", goodput: Goodput | None = None) -> Group:
    """Figures of one population. `rows` may lie outside the window: each figure takes what belongs to it."""
    at, end = metrics.started(rows), metrics.ended(rows)
    inside = window.contains(at)
    within = rows if inside.all() else rows[inside]
    by_end = window.contains(end) & metrics.is_sent(rows)
    found = metrics.counts(within)
    values: dict[str, float | None] = {}
    values |= _shares(within, found, goodput)
    values |= _request_rates(rows, window, end, by_end, found.sent)
    values |= _token_rates(rows, window, at, end, by_end)
    values |= _goodput(within, window, goodput, found)
    distributions = {name: _distribution(within, name) for name in PER_REQUEST}
    call_values, call_distributions = _calls(within)
    present = {name: found for name, found in (distributions | call_distributions).items() if found.n}
    return Group(key, found, values | call_values, present)


def _distribution(rows: pd.DataFrame, name: str) -> Distribution:
    return distribution(name, metrics.values_of(rows, name), name in LOW_IS_BAD)


def _of_rows(run: Run, window: Window, common: dict[str, Any]) -> Summary:
    rows, goodput = run.rows, goodput_of(run)
    inside = window.contains(metrics.started(rows))
    by_name = {name: group(part, window, name, goodput) for name, part in _parts(rows, "name")}
    by_turn = {name: group(part, window, name, goodput) for name, part in _parts(rows, "turn")}
    return Summary(
        **common,
        left_out=int(len(rows) - inside.sum()),
        overall=group(rows, window, "", goodput),
        by_name=by_name,
        by_turn=by_turn,
        by_stage=_stages(run, inside & metrics.is_ok(rows)),
        minutes=minute_table(rows, window),
        quota=quota_truth(run, window),
    )


def _of_given(run: Run, common: dict[str, Any]) -> Summary:
    """A source without rows: its own figures, nothing added."""
    given = run.given
    assert given is not None
    minutes = given.minutes if given.minutes is not None else minute_table(run.rows, None)
    return Summary(**common, left_out=0, overall=given.overall, by_name=given.by_name, minutes=minutes)


def _parts(rows: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows by request name or turn. One part that is all rows is left out only for turns: a name is worth a line."""
    values = rows[column]
    keys = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else sorted(values.dropna().unique())
    if column == "turn" and len(keys) < 2:
        return
    for key in keys:
        chosen = (values == key).fillna(False).to_numpy(bool)
        if chosen.any():
            yield str(key), rows if chosen.all() else rows[chosen]


def _shares(rows: pd.DataFrame, found: Any, goodput: Goodput | None) -> dict[str, float | None]:
    ok = metrics.is_ok(rows)
    settled = found.sent - found.cancelled
    generated, limit = metrics.numbers(rows["completion_tokens"]), metrics.numbers(rows["max_tokens"])
    both = ok & ~np.isnan(generated) & ~np.isnan(limit)
    prompt = metrics.usage_tokens(rows, "prompt_tokens")
    completion = metrics.usage_tokens(rows, "completion_tokens")
    usage = (rows["token_source"] == str(TokenSource.USAGE)).to_numpy(bool) & ok
    offered = int(metrics.is_offered(rows).sum())
    return {
        "requests": float(found.sent),
        "ok": float(found.ok),
        "failed": float(found.failed),
        "throttled": float(found.throttled),
        "cancelled": float(found.cancelled),
        "dropped": float(found.dropped),
        "error_pct": percentage(found.failed, settled),
        "throttled_pct": percentage(found.throttled, settled),
        "dropped_pct": percentage(found.dropped, offered),
        "usage_pct": percentage(float(usage.sum()), found.ok),
        "answer_length_pct": percentage(float(generated[both].sum()), float(limit[both].sum())),
        "cached_pct": _part_of(metrics.usage_tokens(rows, "cached_tokens"), prompt),
        "reasoning_pct": _part_of(metrics.usage_tokens(rows, "reasoning_tokens"), completion),
    }


def _part_of(part: Values, whole: Values) -> float | None:
    """Share in percent; `None` when the part was never reported."""
    known = ~np.isnan(part)
    return percentage(float(part[known].sum()), float(np.nansum(whole[known]))) if known.any() else None


def _request_rates(rows: pd.DataFrame, window: Window, end: Values, by_end: Mask, sent: int) -> dict[str, float | None]:
    completed = metrics.is_ok(rows) & by_end
    offered = metrics.is_offered(rows)
    due = metrics.due(rows)[offered]
    instants = end[completed]
    return {
        "rpm_offered": per_minute(float(window.contains(due).sum()), window.length_s),
        "rpm_started": per_minute(float(sent), window.length_s),
        "rpm": per_minute(float(completed.sum()), window.length_s),
        "rpm_max_minute": _minute_max(window, instants, np.ones(len(instants))),
        "rpm_max_60s": metrics.sliding_max(instants, np.ones(len(instants))) or 0.0,
    }


def _token_rates(rows: pd.DataFrame, window: Window, at: Values, end: Values, by_end: Mask) -> dict[str, float | None]:
    ended_at = end[by_end]
    prompt = metrics.usage_tokens(rows, "prompt_tokens")[by_end]
    generated = metrics.usage_tokens(rows, "completion_tokens")[by_end]
    used = metrics.used_tokens(rows)[by_end]
    started_in = window.contains(at)
    estimated, started_at = metrics.estimated_tokens(rows)[started_in], at[started_in]
    return {
        "tokens_prompt": _sum(prompt),
        "tokens_generated": _sum(generated),
        "tokens": _sum(used),
        "tpm_prompt": _rate(prompt, window),
        "tpm_generated": _rate(generated, window),
        "tpm": _rate(used, window),
        "tpm_max_minute": _minute_max(window, ended_at, used),
        "tpm_max_60s": metrics.sliding_max(ended_at, used),
        "tpm_estimated": _rate(estimated, window),
        "tpm_estimated_max_minute": _minute_max(window, started_at, estimated),
        "tpm_estimated_max_60s": metrics.sliding_max(started_at, estimated),
    }


def _goodput(rows: pd.DataFrame, window: Window, goodput: Goodput | None, found: Any) -> dict[str, float | None]:
    if goodput is None:
        return {"goodput_pct": None, "goodput_rpm": None}
    met = float(metrics.is_good(rows, goodput).sum())
    return {
        "goodput_pct": percentage(met, found.sent + found.dropped - found.cancelled),
        "goodput_rpm": per_minute(met, window.length_s),
    }


def _calls(rows: pd.DataFrame) -> tuple[dict[str, float | None], dict[str, Distribution]]:
    """User-perceived figures, only where some call was retried: elsewhere they say nothing new."""
    attempt = rows["attempt"].to_numpy(np.int64, na_value=1)
    if not (attempt > 1).any():
        return {"calls": None, "calls_ok_pct": None, "attempts_per_call": None}, {}
    calls, answered, waits = metrics.call_latencies(rows)
    sent = int(metrics.is_sent(rows).sum())
    first = rows["e2e_ms"].to_numpy()[metrics.is_ok(rows) & (attempt == 1)]
    values = {
        "calls": float(calls),
        "calls_ok_pct": percentage(answered, calls),
        "attempts_per_call": sent / calls if calls else None,
    }
    return values, {
        "call_e2e_ms": distribution("call_e2e_ms", waits),
        "first_attempt_e2e_ms": distribution("first_attempt_e2e_ms", first),
    }


def _stages(run: Run, chosen: Mask) -> dict[str, Distribution]:
    """Server-side stages of answered requests, in the order of their mean, and what E2E has beyond them."""
    stages = run.stages[chosen[run.stages["row"].to_numpy()]] if len(run.stages) else run.stages
    if not len(stages):
        return {}
    found = {
        str(name): distribution(str(name), part.to_numpy(np.float64))
        for name, part in stages.groupby("stage", observed=True)["ms"]
    }
    named = stages[stages["stage"] != TOTAL_STAGE]
    reported = (stages if named.empty else named).groupby("row")["ms"].sum()
    total = stages[stages["stage"] == TOTAL_STAGE].groupby("row")["ms"].sum()
    served = total.combine_first(reported)
    rest = run.rows["e2e_ms"].to_numpy(np.float64)[served.index] - served.to_numpy()
    found[NETWORK] = distribution(NETWORK, rest)
    return dict(sorted(found.items(), key=lambda item: -(item[1].avg.value or 0.0)))


def _sum(values: Values) -> float | None:
    """Sum of the known values; `None` when none is known: unknown tokens are not 0."""
    known = values[~np.isnan(values)]
    return float(known.sum(dtype=np.float64)) if len(known) else None


def _rate(values: Values, window: Window) -> float | None:
    total = _sum(values)
    return None if total is None else per_minute(total, window.length_s)


def _minute_max(window: Window, instants: Values, amounts: Values) -> float | None:
    """Greatest sum over one full clock minute; `None` without a full minute or without a known amount."""
    minutes = window.full_minutes()
    known = ~np.isnan(amounts)
    if not len(minutes) or not (known.any() or not len(amounts)):
        return None
    place = np.floor((instants[known] - minutes.start) / minutes.step).astype(np.int64)
    within = (place >= 0) & (place < len(minutes))
    return float(np.bincount(place[within], amounts[known][within], len(minutes)).max())


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _settings(run: Run) -> dict[str, Any]:
    """What was configured, for the report."""
    keys = (
        "test_name",
        "target",
        "host",
        "seed",
        "workers",
        "clock",
        "quota",
        "options",
        "versions",
        "tokenswarm_version",
        "git_commit",
        "started_at",
        "ended_at",
        "stop_reason",
    )
    found = {key: run.setting(key) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return [_plain(row) for row in value.to_dict("records")]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if value is pd.NA or value is pd.NaT else value
