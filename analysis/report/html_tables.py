"""The tables of the HTML report. Every function returns HTML; every text that comes from a run is escaped."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.metrics import METRICS
from analysis.figures.populations import is_failed, is_sent, outcome_is, started
from analysis.figures.series import inside_window
from analysis.figures.summary import Summary
from analysis.figures.verdict import Judged
from analysis.report.tables import ABSENT, format_figure, format_found, is_worth_showing
from analysis.sources.loading import texts
from analysis.sources.run import Run
from analysis.statistics import Distribution, Estimate, Group
from tokenswarm.record import Outcome
from tokenswarm.redaction import escape

SLOWEST = 20
STATES = {"held": ("held", "passed"), "failed": ("failed", "failed"), "no_data": ("no data", "failed")}
RATE_ROWS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Requests per minute", ("rpm_offered", "rpm_started", "rpm", "rpm_max_60s", "goodput_rpm")),
    (
        "Tokens per minute",
        ("tpm_prompt", "tpm_generated", "tpm", "tpm_max_60s", "tpm_estimated", "tpm_estimated_max_60s"),
    ),
    ("Shares", ("goodput_pct", "usage_pct", "cached_pct", "reasoning_pct", "answer_length_pct")),
    ("Calls with their retries", ("calls", "calls_ok_pct", "attempts_per_call")),
)
STRONG = frozenset({"rpm", "tpm"})
LATENCIES = (
    "ttft_ms", "ttft_visible_ms", "tbt_ms", "e2e_ms", "ttft_from_due_ms", "e2e_from_due_ms", "call_e2e_ms",
    "first_attempt_e2e_ms", "response_time_ms", "latency", "gap_max_ms", "lag_ms",
)  # fmt: skip
LEFT_OUT_OF_SEVERAL = frozenset({"response_time_ms", "latency", "gap_max_ms", "lag_ms", "first_attempt_e2e_ms"})
OTHERS = ("tokens_per_s_per_user", "prompt_tokens", "completion_tokens", "utilization_pct")


def table(head: Sequence[str], rows: Iterable[str], text_columns: Collection[int] = ()) -> str:
    """A table that scrolls sideways on a narrow screen. `head` is escaped here, rows are HTML already."""
    cells = "".join(
        f'<th scope="col"{_text_class(at in text_columns)}>{escape(name)}</th>' for at, name in enumerate(head)
    )
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def row(name: str, cells: Iterable[str], *, style: str = "") -> str:
    """One row: an escaped name, and cells that are HTML already (see `cell`)."""
    mark = f' class="{style}"' if style else ""
    return f'<tr{mark}><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>'


def cell(text: str, below: str = "", *, words: bool = False) -> str:
    """One cell, escaped; `below` is a second, smaller line."""
    small = f"<small>{escape(below)}</small>" if below else ""
    return f"<td{_text_class(words)}>{escape(text)}{small}</td>"


def _text_class(words: bool) -> str:
    return ' class="text"' if words else ""


def rates_table(summaries: Sequence[Summary], labels: Sequence[str]) -> str:
    """Counts, rates and shares: of one run in columns, of several in one table with a column for each run."""
    groups = [("Requests", [_count_row(name, summaries) for name in _counts_present(summaries)])]
    for title, names in RATE_ROWS:
        present = [name for name in names if any(_value(one, name) is not None for one in summaries)]
        groups.append((title, [_rate_row(name, summaries) for name in present]))
    groups = [(title, rows) for title, rows in groups if rows]
    if len(summaries) == 1:
        parts = [f'<div class="part">{table([title, ""], rows)}</div>' for title, rows in groups]
        return f'<div class="columns">{"".join(parts)}</div>'
    head = ["", *labels]
    return table(head, [line for title, rows in groups for line in (_group_row(title, len(head)), *rows)])


def _group_row(title: str, columns: int) -> str:
    return f'<tr class="group"><th scope="colgroup" colspan="{columns}">{escape(title)}</th></tr>'


def _counts_present(summaries: Sequence[Summary]) -> list[str]:
    always = ("sent", "ok", "failed", "throttled")
    rare = [name for name in ("cancelled", "dropped") if any(getattr(one.overall.counts, name) for one in summaries)]
    return [*always, *rare]


_COUNT_NAMES = {
    "sent": "Sent", "ok": "Answered", "failed": "Failed", "throttled": "Throttled (429)",
    "cancelled": "Cancelled at the end", "dropped": "Dropped, never sent",
}  # fmt: skip
_SHARE_OF_COUNT = {"failed": "error_pct", "throttled": "throttled_pct", "dropped": "dropped_pct"}


def _count_row(name: str, summaries: Sequence[Summary]) -> str:
    cells = []
    for one in summaries:
        share = _value(one, _SHARE_OF_COUNT.get(name, ""))
        count = getattr(one.overall.counts, name)
        cells.append(cell(_count(count), format_figure(share, "%") if count and share is not None else ""))
    return row(_COUNT_NAMES[name], cells)


def _rate_row(name: str, summaries: Sequence[Summary]) -> str:
    metric = METRICS[name]
    cells = [cell(format_figure(_value(one, name), metric.unit)) for one in summaries]
    return row(metric.title, cells, style="strong" if name in STRONG else "")


def _value(summary: Summary, name: str) -> float | None:
    return summary.overall.values.get(name)


def latency_table(summaries: Sequence[Summary], labels: Sequence[str]) -> str:
    """Distributions: avg, p50, p95, p99 with their 95 % intervals, the largest and n; a row for each run and metric."""
    rows: list[str] = []
    latencies = LATENCIES if len(summaries) == 1 else [name for name in LATENCIES if name not in LEFT_OUT_OF_SEVERAL]
    for title, names in (("Milliseconds", latencies), ("Other", OTHERS)):
        part = [line for name in names for line in _metric_rows(name, summaries, labels)]
        if part:
            rows += [_group_row(title, 7), *part]
    return table(["", "avg", "p50", "p95", "p99", "max", "n"], rows)


def _metric_rows(name: str, summaries: Sequence[Summary], labels: Sequence[str]) -> list[str]:
    rows = []
    for summary, label in zip(summaries, labels, strict=True):
        spread = summary.overall.distribution(name)
        if not spread.n or not is_worth_showing(summary.overall, name):
            continue
        title = METRICS[name].title
        title = f"{title}, {label}" if len(summaries) > 1 else title
        rows.append(row(title, _spread_cells(spread)))
    return rows


def _spread_cells(spread: Distribution) -> list[str]:
    low_is_bad = "p95" not in spread.percentiles and "p5" in spread.percentiles
    tail = ("p5", "p1") if low_is_bad else ("p95", "p99")
    extreme = spread.min if low_is_bad else spread.max
    names = dict.fromkeys(("p50", *tail))
    cells = [_estimate_cell(spread.avg)]
    cells += [_estimate_cell(spread.percentile(key), key if low_is_bad and key != "p50" else "") for key in names]
    return [*cells, cell(format_figure(extreme), "smallest" if low_is_bad else ""), cell(_count(spread.n))]


def _count(value: float | None) -> str:
    return format_figure(value, "tokens")


def _between(estimate: Estimate) -> str:
    """The 95 % interval: `610–640`, open where the sample does not bound it, empty when unknown."""
    low, high = estimate.low, estimate.high
    if low is None and high is None:
        return ""
    if low is None:
        return f"up to {format_figure(high)}"
    return f"{format_figure(low)} and up" if high is None else f"{format_figure(low)}–{format_figure(high)}"


def _estimate_cell(estimate: Estimate, name: str = "") -> str:
    between = _between(estimate)
    text = format_figure(estimate.value)
    return cell(text if text == ABSENT or not name else f"{name}: {text}", between)


def criteria_table(criteria: Sequence[Judged]) -> str:
    """Each criterion with what was found and whether it held."""
    rows = []
    for judged in criteria:
        cells = [
            _state_cell(judged),
            cell(format_found(judged)),
            cell(_count(judged.n)),
            cell(judged.note, words=True),
        ]
        rows.append(row(f"fails if {judged.text}", cells))
    return table(["criterion", "state", "found", "n", ""], rows, text_columns=(1, 4))


def criteria_of_several(judged: Sequence[Sequence[Judged]], labels: Sequence[str]) -> str:
    """Each criterion with its state and figure in every run."""
    by_run = [{item.text: item for item in criteria} for criteria in judged]
    texts_of_all = dict.fromkeys(text for found in by_run for text in found)
    rows = [
        row(
            f"fails if {text}",
            [_state_cell(found[text], with_value=True) if text in found else cell(ABSENT) for found in by_run],
        )
        for text in texts_of_all
    ]
    return table(["criterion", *labels], rows, text_columns=range(1, len(labels) + 1))


def _state_cell(judged: Judged, *, with_value: bool = False) -> str:
    word, style = STATES.get(judged.state, (judged.state, "none"))
    found = f" {escape(format_found(judged))}" if with_value else ""
    return f'<td class="text"><span class="state {style}">{escape(word)}</span>{found}</td>'


def groups_table(groups: Mapping[str, Group], first: str) -> str:
    """Request names or turns, a row each."""
    rows = []
    for key, group in groups.items():
        spreads = [group.distribution(name) for name in ("ttft_ms", "e2e_ms")]
        cells = [cell(_count(group.counts.sent)), cell(format_figure(group.values.get("error_pct"), "%"))]
        cells += [_estimate_cell(spread.percentile(key)) for spread in spreads for key in ("p50", "p95")]
        prompt = group.distribution("prompt_tokens").avg.value
        rows.append(row(key, [*cells, cell(format_figure(prompt))]))
    head = [first, "sent", "errors", "TTFT p50", "TTFT p95", "E2E p50", "E2E p95", "prompt tokens"]
    return table(head, rows)


def stages_table(stages: Mapping[str, Distribution]) -> str:
    """Server-side stages: mean, its share of the whole, percentiles."""
    whole = sum(spread.avg.value or 0.0 for name, spread in stages.items() if name != "total")
    rows = []
    for name, spread in stages.items():
        mean = spread.avg.value or 0.0
        share = 100 * mean / whole if whole else 0.0
        bar = f'<td class="text"><span class="bar" style="width:{max(share, 0):.1f}px"></span> {share:.0f} %</td>'
        cells = [_estimate_cell(spread.avg), bar, *(_estimate_cell(spread.percentile(key)) for key in ("p50", "p95"))]
        rows.append(row(name, [*cells, cell(_count(spread.n))]))
    return table(["stage", "avg ms", "share of E2E", "p50", "p95", "n"], rows, text_columns=(2,))


def slowest_table(run: Run, summary: Summary) -> str:
    """The slowest answered requests, with the ids that the service's support asks for."""
    if summary.window is None:
        return ""
    rows = inside_window(run, summary.window)
    ok = rows[outcome_is(rows, Outcome.OK)]
    worst = ok.nlargest(SLOWEST, "e2e_ms")
    return _requests_table(run, worst) if len(worst) else ""


def _requests_table(run: Run, rows: pd.DataFrame) -> str:
    cells_of = texts(run, rows.index.tolist())
    lines = []
    for at, e2e, ttft, begin in zip(rows.index, rows["e2e_ms"], rows["ttft_ms"], started(rows), strict=True):
        found = cells_of.get(int(at), {})
        lines.append(
            row(
                utc(begin, "%H:%M:%S"),
                [
                    cell(format_figure(e2e)),
                    cell(format_figure(ttft)),
                    cell(found.get("prompt_tokens") or ABSENT),
                    cell(found.get("completion_tokens") or ABSENT),
                    cell(found.get("name") or ABSENT, words=True),
                    _id_cell(found),
                ],
            )
        )
    head = ["started (UTC)", "E2E ms", "TTFT ms", "prompt", "answer", "name", "request id"]
    return table(head, lines, text_columns=(5, 6))


def failures_table(run: Run, summary: Summary) -> str:
    """What went wrong, by kind: how often, when first and last, and an id to give to the service's support."""
    if summary.window is None:
        return ""
    rows = inside_window(run, summary.window)
    bad = rows[(is_failed(rows) | outcome_is(rows, Outcome.THROTTLED)) & is_sent(rows)]
    if not len(bad):
        return ""
    kind = bad["outcome"].astype(str) + "|" + bad["status"].astype(str) + "|" + bad["error"].astype(str)
    places = sorted(bad.groupby(kind).indices.values(), key=len, reverse=True)[:SLOWEST]
    examples = texts(run, [int(bad.index[place[0]]) for place in places])
    lines = [_failure_row(bad.iloc[place], examples) for place in places]
    return table(["outcome", "status", "requests", "seen (UTC)", "error", "one request id"], lines, text_columns=(4, 5))


def _failure_row(alike: pd.DataFrame, examples: Mapping[int, Mapping[str, str]]) -> str:
    at = started(alike)
    example = examples.get(int(alike.index[0]), {})
    status, error = alike["status"].iloc[0], example.get("error") or str(alike["error"].iloc[0])
    cells = [
        cell(ABSENT if pd.isna(status) else str(status)),
        cell(_count(len(alike))),
        cell(utc(float(at.min()), "%H:%M:%S"), utc(float(at.max()), "to %H:%M:%S")),
        cell(error[:300], words=True),
        _id_cell(example),
    ]
    return row(str(alike["outcome"].iloc[0]).replace("_", " "), cells)


def _id_cell(cells: Mapping[str, str]) -> str:
    return f'<td class="text mono">{escape(cells.get("request_id") or cells.get("call_id") or ABSENT)}</td>'


def minutes_against_quota(summary: Summary) -> str:
    """Estimated and used tokens of each clock minute beside the quota; the 12 fullest."""
    quota = summary.quota.tpm if summary.quota is not None else None
    minutes = summary.minutes
    known = minutes[np.isfinite(minutes["tokens_estimated"].to_numpy(np.float64))]
    if not len(known):
        return ""
    chosen = known.nlargest(12, "tokens_estimated").sort_values("minute")
    lines = []
    for at, estimated, used, sent, refused in zip(
        *(chosen[name] for name in ("minute", "tokens_estimated", "tokens", "started", "throttled")), strict=True
    ):
        of_quota = f"{100 * estimated / quota:.0f} % of quota" if quota else ""
        cells = [cell(_count(estimated), of_quota), cell(_count(used))]
        lines.append(row(utc(at, "%H:%M"), [*cells, cell(_count(sent)), cell(_count(refused))]))
    return table(["clock minute (UTC)", "estimated tokens", "used tokens", "requests", "429s"], lines)


def settings_table(settings: Mapping[str, Any]) -> str:
    """Name and value pairs; nested ones as `a.b`."""
    rows = [row(name, [cell(value, words=True)]) for name, value in _flat(settings)]
    return table(["setting", "value"], rows, text_columns=(1,)) if rows else ""


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        elif value is not None and value != "":
            found.append((f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, default=str)))
    return found


def definitions_table(names: Iterable[str]) -> str:
    """What the metrics on the page mean."""
    rows = [
        row(METRICS[name].title, [cell(METRICS[name].definition, words=True), cell(METRICS[name].formula, words=True)])
        for name in names
    ]
    return table(["metric", "definition", "formula"], rows, text_columns=(1, 2))


def utc(instant: float, form: str) -> str:
    """An instant (Unix s) in UTC; a dash when it is unknown."""
    return time.strftime(form, time.gmtime(instant)) if np.isfinite(instant) else ABSENT
