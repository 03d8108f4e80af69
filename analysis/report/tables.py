"""The tables of a report, as cells of text: the terminal, Markdown and HTML show the same ones.

Runs stand side by side in columns. A percentile that its sample cannot carry is an en dash, never a number.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.figures.metrics import LIKE, LOW_IS_BAD, METRICS, says_more
from analysis.figures.summary import Summary
from analysis.figures.verdict import Judged
from analysis.statistics import Distribution, Estimate, Group

ABSENT = "–"
PERCENTILES = ("p50", "p95", "p99")
LATENCIES = (
    "ttft_ms",
    "ttft_visible_ms",
    "ttft_from_due_ms",
    "tbt_ms",
    "gap_max_ms",
    "e2e_ms",
    "e2e_from_due_ms",
    "first_attempt_e2e_ms",
    "call_e2e_ms",
    "response_time_ms",
    "latency",
    "tokens_per_s_per_user",
    "lag_ms",
    "read_lag_ms",
    "utilization_pct",
    "prompt_tokens",
    "completion_tokens",
)
RATES = (
    "requests",
    "ok",
    "failed",
    "throttled",
    "cancelled",
    "dropped",
    "error_pct",
    "throttled_pct",
    "rpm_offered",
    "rpm_started",
    "rpm",
    "rpm_max_60s",
    "tpm_prompt",
    "tpm_generated",
    "tpm",
    "tpm_max_minute",
    "tpm_max_60s",
    "tpm_estimated",
    "tpm_estimated_max_minute",
    "tpm_estimated_max_60s",
    "goodput_pct",
    "goodput_rpm",
    "calls",
    "calls_ok_pct",
    "attempts_per_call",
    "answer_length_pct",
    "cached_pct",
    "reasoning_pct",
    "usage_pct",
)
ALWAYS = frozenset({"requests", "ok", "failed", "throttled", "rpm", "tpm_prompt", "tpm_generated", "tpm"})
_LATENCY_NOTE = (
    "In brackets: 95 % interval. –: too few values for this percentile. Of speeds, p95 and p99 are the slow end: "
    "95 and 99 in 100 are faster."
)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first column is a label, the others are figures. `notes` belong below it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=list)


def format_figure(value: float | None, unit: str = "") -> str:
    """A figure as people read it: three digits and more, thousands apart; an en dash for an absent one."""
    if value is None or not math.isfinite(value):
        return ABSENT
    digits = 0 if float(value).is_integer() and unit in ("", "tokens") else _digits(abs(value))
    suffix = " %" if unit == "%" else ""
    return f"{value:,.{digits}f}{suffix}"


def format_found(judged: Judged) -> str:
    """What a criterion found, with its unit; an en dash without data."""
    return ABSENT if judged.value is None else f"{format_figure(judged.value)} {judged.unit}".rstrip()


def _digits(size: float) -> int:
    if size >= 100:
        return 0
    return 1 if size >= 10 else 2


def format_time(instant: float | None) -> str:
    """Unix s as UTC; an en dash when unknown."""
    return ABSENT if instant is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(instant))


def format_duration(seconds: float | None) -> str:
    """Seconds as 45 s, 3 min 20 s or 2 h 5 min."""
    if seconds is None:
        return ABSENT
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def overview(summaries: Sequence[Summary]) -> Table:
    """Verdict, window, counts and rates: one column for each run, only rows that some run can tell."""
    rows = [[title, *(tell(summary) for summary in summaries)] for title, tell in _FACTS]
    for name in RATES:
        values = [summary.overall.values.get(name) for summary in summaries]
        if name in ALWAYS or any(values):
            metric = METRICS[name]
            title = f"{metric.title} ({metric.unit})" if metric.unit.startswith("tokens/") else metric.title
            rows.append([title, *(format_figure(value, metric.unit) for value in values)])
    rows += [row for row in _quota_rows(summaries) if any(cell != ABSENT for cell in row[1:])]
    return Table("Overview", ["", *(summary.label for summary in summaries)], rows)


def latencies(summaries: Sequence[Summary]) -> Table:
    """Distributions: one row for each metric and run, with n, and the 95 % interval at avg, p95 and p99."""
    several = len(summaries) > 1
    rows = []
    for name in LATENCIES:
        for summary in summaries:
            found = summary.overall.distribution(name)
            if found.n and is_worth_showing(summary.overall, name):
                label = f"{metric_title(name)}: {summary.label}" if several else metric_title(name)
                rows.append([label, *_spread(found)])
    header = ["", "n", "avg", *PERCENTILES, "max"]
    return Table(
        "Latency and speed", header, rows, ["In brackets: 95 % interval. –: too few values for this percentile."]
    )


def by_name(summary: Summary) -> Table | None:
    """Request names beside each other; `None` when there is only one."""
    return _groups("By request name", summary.by_name.items()) if len(summary.by_name) > 1 else None


def by_turn(summary: Summary) -> Table | None:
    """Turns of a conversation beside each other; `None` without several turns."""
    if len(summary.by_turn) < 2:
        return None
    return _groups("By turn of the conversation", ((f"turn {turn}", part) for turn, part in summary.by_turn.items()))


def by_stage(summary: Summary) -> Table | None:
    """Where an answer's time went, by the server's own account; `None` when it gave none."""
    if not summary.by_stage:
        return None
    whole = summary.overall.distribution("e2e_ms").avg.value
    rows = []
    for name, found in summary.by_stage.items():
        average = found.avg.value
        share = 100.0 * average / whole if whole and average is not None else None
        rows.append([name, *_spread(found), format_figure(share, "%")])
    return Table("By stage (ms)", ["", "n", "avg", *PERCENTILES, "max", "avg of E2E"], rows)


def criteria(summary: Summary) -> Table | None:
    """Failure criteria and what was found; `None` when there are none."""
    if not summary.judgement.criteria:
        return None
    rows = [
        [item.text, item.state.replace("_", " "), format_found(item), f"{item.n:,}", item.note]
        for item in summary.judgement.criteria
    ]
    return Table("Failure criteria", ["fails when", "state", "found", "n", "note"], rows)


def search(summary: Summary) -> Table | None:
    """The levels of a capacity search; `None` for another kind of run."""
    found = summary.settings.get("search")
    levels = found.get("levels") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(levels, list):
        return None
    rows = [_level(level) for level in levels if isinstance(level, Mapping)]
    sentence = found.get("sentence")
    header = ["RPM asked", "holds", "RPM completed", "TPM", "n", "breaks"]
    return Table("Capacity search", header, rows, [sentence] if isinstance(sentence, str) else [])


def _level(level: Mapping[str, Any]) -> list[str]:
    figures = [level.get(key) for key in ("rate_rpm", "completed_rpm", "tpm", "n")]
    rate, completed, tpm, n = (format_figure(value if isinstance(value, int | float) else None) for value in figures)
    breaks = level.get("breaks")
    broken = "; ".join(str(item) for item in breaks) if isinstance(breaks, list) else ""
    return [rate, "yes" if level.get("holds") is True else "no", completed, tpm, n, broken]


def minutes(summary: Summary) -> Table | None:
    """The run minute by minute; `None` without minutes."""
    if not len(summary.minutes):
        return None
    columns = (
        ("minute (UTC)", lambda row: _clock(row["minute"]) + ("" if row["full"] else " (part)")),
        ("started", _count_of("started")),
        ("completed", _count_of("completed")),
        ("throttled", _count_of("throttled")),
        ("failed", _count_of("failed")),
        ("TPM", _count_of("tokens")),
        ("TPM estimated", _count_of("tokens_estimated")),
        ("TTFT p50 ms", _figure_of("ttft_ms_p50")),
        ("E2E p50 ms", _figure_of("e2e_ms_p50")),
        ("E2E p95 ms", _figure_of("e2e_ms_p95")),
    )
    rows = [[tell(row) for _, tell in columns] for _, row in summary.minutes.iterrows()]
    return Table("By clock minute", [title for title, _ in columns], rows)


def metric_title(name: str) -> str:
    """Title and unit of a metric."""
    metric = METRICS[name]
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title


def is_worth_showing(group: Group, name: str) -> bool:
    """Whether a metric says something its plain form does not: from-due figures only where they differ."""
    if name not in LIKE:
        return True
    mine, other = group.distribution(name), group.distribution(LIKE[name])
    return mine.n != other.n or says_more(mine.avg.value, other.avg.value)


def format_estimate(estimate: Estimate, interval: bool = True) -> str:
    """A figure and, in brackets, its 95 % interval, or the one bound that the sample has."""
    if estimate.value is None:
        return ABSENT
    bounds = _bounds(estimate) if interval else ""
    return format_figure(estimate.value) + bounds


def _bounds(estimate: Estimate) -> str:
    if estimate.low is None and estimate.high is None:
        return ""
    if estimate.high is None:
        return f" [≥ {format_figure(estimate.low)}]"
    if estimate.low is None:
        return f" [≤ {format_figure(estimate.high)}]"
    return f" [{format_figure(estimate.low)}–{format_figure(estimate.high)}]"


def _spread(found: Distribution) -> list[str]:
    keys = ("p50", "p5", "p1") if found.metric in LOW_IS_BAD else PERCENTILES
    percentiles = [format_estimate(found.percentile(key), interval=key != "p50") for key in keys]
    return [f"{found.n:,}", format_estimate(found.avg), *percentiles, format_figure(found.max)]


def _groups(title: str, groups: Iterable[tuple[str, Group]]) -> Table:
    shown = ("requests", "ok", "failed", "throttled", "rpm", "tpm")
    spread = [(name, key) for name in ("ttft_ms", "e2e_ms") for key in ("p50", "p95")]
    rows = [
        [
            key,
            *(format_figure(group.values.get(name), METRICS[name].unit) for name in shown),
            *(format_estimate(group.distribution(name).percentile(at), interval=False) for name, at in spread),
        ]
        for key, group in groups
    ]
    header = ["", *(METRICS[name].title for name in shown), *(f"{METRICS[name].title} {at} ms" for name, at in spread)]
    return Table(title, header, rows)


def _clock(instant: float) -> str:
    return time.strftime("%H:%M", time.gmtime(instant))


def _count_of(column: str) -> Callable[[pd.Series[float]], str]:
    return lambda row: format_figure(None if pd.isna(row[column]) else float(row[column]), "tokens")


def _figure_of(column: str) -> Callable[[pd.Series[float]], str]:
    return lambda row: format_figure(None if pd.isna(row[column]) else float(row[column]))


def _start(summary: Summary) -> float | None:
    return None if summary.window is None else summary.window.start - summary.window.warm_up_s


def _window_text(summary: Summary) -> str:
    window = summary.window
    if window is None:
        return ABSENT
    cut = [
        f"{format_duration(seconds)} {what} left out"
        for seconds, what in ((window.warm_up_s, "warm-up"), (window.cool_down_s, "cool-down"))
        if seconds > 0
    ]
    rows = [f"{summary.left_out} rows"] if summary.left_out else []
    aside = f" ({', '.join(cut + rows)})" if cut or rows else ""
    return format_duration(window.length_s) + aside


def _delivered_text(summary: Summary) -> str:
    delivered = summary.delivery.get("delivered_pct")
    if not isinstance(delivered, int | float):
        return ABSENT
    return f"{delivered:.1f} % of the planned requests"


def _verdict_text(summary: Summary) -> str:
    return {"none": "none (no criteria)"}.get(summary.judgement.state, summary.judgement.state)


_FACTS: tuple[tuple[str, Callable[[Summary], str]], ...] = (
    ("Verdict", _verdict_text),
    ("Load delivered", _delivered_text),
    ("Run", lambda summary: summary.state),
    ("Source", lambda summary: summary.source),
    (
        "Started",
        lambda summary: format_time(summary.window.start - summary.window.warm_up_s if summary.window else None),
    ),
    ("Measured", _window_text),
)


def _quota_rows(summaries: Sequence[Summary]) -> Iterator[list[str]]:
    for title, name, unit in (("Quota TPM", "tpm", "tokens"), ("Quota RPM", "rpm", ""), ("PTU", "ptu", "")):
        cells = [format_figure(getattr(summary.quota, name) if summary.quota else None, unit) for summary in summaries]
        yield [title, *cells]
