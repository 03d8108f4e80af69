"""The tables of a report, as data: the terminal, Markdown and HTML render the same ones.

Which of them, and which metrics in them, a medium shows is its own choice. Runs stand side by side in columns. A
percentile that its sample cannot carry is an en dash, never a number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from analysis.figures.formats import ABSENT, format_duration, format_figure, format_time, money, short_labels
from analysis.figures.metrics import LIKE, LOW_IS_BAD, METRICS, says_more
from analysis.findings.answer import in_words
from analysis.findings.summary import Summary
from analysis.report.load_tables import by_load, cost, ways_to_buy
from analysis.report.table import BAD, GOOD, Cell, Column, Row, Table, format_estimate, share_cell
from analysis.statistics import Distribution, Group

LATENCIES = (
    "first_progress_ms",
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
RATES = {
    "Requests": (
        "requests", "ok", "failed", "throttled", "cancelled", "aborted", "dropped", "error_pct",
        "throttled_pct", "dropped_pct",
    ),
    "Requests per minute": ("rpm_offered", "rpm_started", "rpm", "rpm_max_60s", "goodput_rpm"),
    "Tokens per minute": (
        "tpm_prompt", "tpm_generated", "tpm", "tpm_max_minute", "tpm_max_60s", "tpm_estimated",
        "tpm_estimated_max_minute", "tpm_estimated_max_60s",
    ),
    "Shares": ("goodput_pct", "usage_pct", "cached_pct", "cacheable_pct", "reasoning_pct", "answer_length_pct"),
    "Calls with their retries": ("calls", "calls_ok_pct", "attempts_per_call"),
}  # fmt: skip
ALWAYS = frozenset({"requests", "ok", "failed", "throttled", "rpm", "tpm_prompt", "tpm_generated", "tpm"})
UNLESS_ZERO = frozenset({"cancelled", "aborted", "dropped", "error_pct", "throttled_pct", "dropped_pct"})
STRONG = frozenset({"rpm", "tpm"})
_SHARE_OF_COUNT = {"failed": "error_pct", "throttled": "throttled_pct", "dropped": "dropped_pct"}
_STATES = {"held": GOOD, "failed": BAD, "no_data": BAD}
_INTERVAL_NOTE = "In brackets: 95 % interval. –: too few values for this percentile."
_CHANGE_NOTE = "In brackets: change from the first run; `compare` says which are more than chance."
_SESSION_NOTES = (
    "critical path: its longest chain of requests and pauses, the least it can take",
    "all its requests: their times added up; these two and the first are of those done",
    "RPM offered and what was planned count sessions, not requests",
)
_SPEED_NOTE = "Of speeds, p5 and p1 are the slow end: 95 and 99 in 100 are faster."


def overview(summaries: Sequence[Summary]) -> Table:
    """Verdict, window, counts, rates and quota: one column for each run, only rows that some run can tell."""
    facts = [Row(title, [Cell(tell(summary)) for summary in summaries]) for title, tell in _FACTS]
    counted = rates(summaries, short_labels([summary.label for summary in summaries]))
    quotas = [row for row in _quota_rows(summaries) if any(cell.text != ABSENT for cell in row.cells)]
    return Table("Overview", counted.columns, [*facts, *counted.rows, *quotas], counted.notes)


def rates(summaries: Sequence[Summary], labels: Sequence[str], leave_out: Collection[str] = ()) -> Table:
    """Counts, rates and shares: one column for each run, only rows that some run can tell."""
    rows = [
        _rate(name, group, summaries)
        for group, names in RATES.items()
        for name in names
        if name not in leave_out and _is_told(name, [summary.overall.values.get(name) for summary in summaries])
    ]
    columns = [Column(""), *(Column(label, brief=len(labels) == 1) for label in labels)]
    return Table("Counts and rates", columns, rows, [_CHANGE_NOTE] if len(labels) > 1 else [])


def _is_told(name: str, values: Sequence[float | None]) -> bool:
    if name in UNLESS_ZERO:
        return any(values)
    return name in ALWAYS or any(value is not None for value in values)


def _rate(name: str, group: str, summaries: Sequence[Summary]) -> Row:
    metric = METRICS[name]
    title = f"{metric.title} ({metric.unit})" if metric.unit.startswith("tokens/") else metric.title
    if len(summaries) == 1:
        cells = [_figure(summaries[0].overall, name)]
    else:
        cells = beside([summary.overall.values.get(name) for summary in summaries], metric.unit)
    return Row(title, cells, group, is_strong=name in STRONG)


def beside(values: Sequence[float | None], unit: str) -> list[Cell]:
    """Figures of several runs beside each other, each with its change from the first."""
    return [
        Cell(format_figure(value, unit), _change(values[0], value, unit) if at else "")
        for at, value in enumerate(values)
    ]


def _change(first: float | None, value: float | None, unit: str) -> str:
    """`+12 %`, of shares in points; empty where there is nothing to compare with."""
    if first is None or value is None or (not first and unit != "%"):
        return ""
    if unit == "%":
        return f"{value - first:+.1f} points".replace("-", "−")
    return f"{100.0 * (value - first) / abs(first):+.0f} %".replace("-", "−")


def _figure(group: Group, name: str) -> Cell:
    """A figure; with a count, the share that it is."""
    value, share = group.values.get(name), group.values.get(_SHARE_OF_COUNT.get(name, ""))
    note = format_figure(share, "%") if value and share is not None else ""
    return Cell(format_figure(value, METRICS[name].unit), note)


_SPREAD = (
    Column("n"),
    Column("avg"),
    Column("p50", brief=True),
    Column("p95"),
    Column("p99"),
    Column("max"),
)


def latencies(summaries: Sequence[Summary], labels: Sequence[str], leave_out: Collection[str] = ()) -> Table:
    """Distributions. One run: a row for each metric, with n and 95 % intervals. Several: their percentiles side by
    side, with the change from the first."""
    if len(summaries) > 1:
        return _latencies_beside(summaries, labels, leave_out)
    rows, notes = [], [_INTERVAL_NOTE]
    for name in _told(summaries, leave_out):
        rows.append(Row(metric_title(name), _spread(summaries[0].overall.distribution(name))))
        notes += [_SPEED_NOTE] if name in LOW_IS_BAD and _SPEED_NOTE not in notes else []
    return Table("Latency and speed", [Column(""), *_SPREAD], rows, notes)


def _told(summaries: Sequence[Summary], leave_out: Collection[str]) -> list[str]:
    """The distributions that some run has something to say about."""
    return [
        name
        for name in LATENCIES
        if name not in leave_out
        and any(one.overall.distribution(name).n and is_worth_showing(one.overall, name) for one in summaries)
    ]


def _latencies_beside(summaries: Sequence[Summary], labels: Sequence[str], leave_out: Collection[str]) -> Table:
    rows = []
    for name in _told(summaries, leave_out):
        found = [summary.overall.distribution(name) for summary in summaries]
        for key in ("p50", "p5") if name in LOW_IS_BAD else ("p50", "p95", "p99"):
            values = [each.percentile(key).value for each in found]
            if any(value is not None for value in values):
                rows.append(Row(f"{metric_title(name)} {key}", beside(values, METRICS[name].unit)))
    return Table("Latency and speed", [Column(""), *(Column(label) for label in labels)], rows, [_CHANGE_NOTE])


def by_name(summary: Summary, leave_out: Collection[str] = ()) -> Table | None:
    """Request names beside each other; `None` when there is only one."""
    return _groups("By request name", summary.by_name, leave_out) if len(summary.by_name) > 1 else None


def by_turn(summary: Summary, leave_out: Collection[str] = ()) -> Table | None:
    """Turns of a conversation beside each other; `None` without several turns."""
    if len(summary.by_turn) < 2:
        return None
    turns = {f"turn {turn}": part for turn, part in summary.by_turn.items()}
    return _groups("By turn of the conversation", turns, leave_out)


def sessions(summary: Summary, leave_out: Collection[str] = ()) -> Table | None:
    """How long sessions took, and each of their answers; `None` without sessions."""
    found = summary.sessions
    if found is None:
        return None
    rows = [Row("whole session", _spread(found.duration_s), is_strong=True)]
    rows += [Row("critical path", _spread(found.path_s))] if found.path_s.n else []
    rows += [Row("all its requests", _spread(found.model_s))] if found.model_s.n else []
    if len(found.to_answer_s) > 1:
        rows += [Row(f"to answer {n}", _spread(each)) for n, each in found.to_answer_s.items()]
    counts = f"{found.begun} begun = {found.done} done + {found.failed} failed + {found.unfinished} unfinished"
    at_once = f"{found.most_at_once} at once at most, {format_figure(found.mean_at_once)} on average"
    one = f"a session: {format_figure(found.requests)} requests, {format_figure(found.tokens, 'tokens')} tokens"
    cost = summary.cost.per_session if summary.cost is not None else None
    paid = "" if cost is None or summary.cost is None else f", {money(cost, summary.cost.currency)}"
    return Table(
        "Sessions (s, from the instant they were due)",
        [Column(""), *_SPREAD],
        rows,
        [counts, at_once, f"{one}{paid} (means of all that began)", *_SESSION_NOTES],
    )


def by_route(summary: Summary, leave_out: Collection[str] = ()) -> Table | None:
    """What served the requests, beside each other; `None` when one did."""
    if not summary.by_route:
        return None
    made = _groups("By what served the requests", summary.by_route, leave_out)
    spilled = summary.spillover
    if spilled is None:
        return made
    note = (
        f"{spilled.spilled:,} of {spilled.answered:,} answered requests ({format_figure(spilled.share_pct, '%')}) were "
        "passed on by a deployment that was full."
    )
    return replace(made, notes=[note])


def by_target(summary: Summary) -> Table | None:
    """Several targets beside each other: share, answers, latency, errors, cost; `None` where there was one."""
    if not summary.by_target:
        return None
    sent = sum(group.counts.sent for group in summary.by_target.values())
    columns = [Column(""), Column("share"), *(Column(title, brief=True) for title in ("sent", "ok", "429", "failed"))]
    columns += [Column(text, brief=True) for text in ("TTFT p50 ms", "TTFT p95 ms", "E2E p50 ms", "E2E p95 ms")]
    rows = [
        Row(
            name,
            [
                share_cell(group.counts.sent, sent),
                *(_figure(group, key) for key in ("requests", "ok", "throttled", "failed")),
                *(_percentile(group, metric, at) for metric in ("ttft_ms", "e2e_ms") for at in ("p50", "p95")),
                *_target_cost(summary, name),
            ],
        )
        for name, group in summary.by_target.items()
    ]
    if summary.cost is not None:
        columns.append(Column(f"{summary.cost.currency} for tokens"))
    return Table("By target", columns, rows, [])


def _percentile(group: Group, metric: str, at: str) -> Cell:
    return format_estimate(group.distribution(metric).percentile(at))


def _target_cost(summary: Summary, name: str) -> list[Cell]:
    found = summary.cost
    return [] if found is None else [Cell(money(found.by_target.get(name), found.currency))]


def by_stage(summary: Summary) -> Table | None:
    """Where an answer's time went, by the server's own account; `None` when it gave none."""
    if not summary.by_stage:
        return None
    whole = summary.overall.distribution("e2e_ms").avg.value
    rows = [
        Row(name, [*_spread(found), share_cell(found.avg.value, whole)]) for name, found in summary.by_stage.items()
    ]
    return Table("By stage (ms)", [Column(""), *_SPREAD, Column("avg of E2E")], rows)


def criteria(summary: Summary) -> Table | None:
    """Failure criteria in words, failed ones first; `None` when there are none."""
    rows = [
        Row(item.demand, [Cell(item.finding, state=_STATES.get(item.state, "")), Cell(item.note)])
        for item in in_words(summary)
    ]
    columns = [Column("criterion"), Column("found", words=True), Column("note", words=True)]
    return Table("Criteria", _without_empty(columns, rows), _short(rows)) if rows else None


def _without_empty(columns: list[Column], rows: Sequence[Row]) -> list[Column]:
    return columns if any(row.cells[-1].text for row in rows) else columns[:-1]


def _short(rows: Sequence[Row]) -> list[Row]:
    """Without the column of notes when there is none."""
    return list(rows) if any(row.cells[-1].text for row in rows) else [Row(row.label, row.cells[:-1]) for row in rows]


def criteria_of_several(summaries: Sequence[Summary], labels: Sequence[str]) -> Table | None:
    """Each criterion with what was found in every run; `None` when no run has one."""
    by_run = [{item.demand: item for item in in_words(summary)} for summary in summaries]
    rows = [
        Row(
            demand,
            [
                Cell(found[demand].finding, state=_STATES.get(found[demand].state, ""))
                if demand in found
                else Cell(ABSENT)
                for found in by_run
            ],
        )
        for demand in dict.fromkeys(demand for found in by_run for demand in found)
    ]
    columns = [Column("criterion"), *(Column(label, words=True) for label in labels)]
    return Table("Criteria", columns, rows) if rows else None


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


def _spread(found: Distribution) -> list[Cell]:
    """The cells of `_SPREAD`. The bad end of a speed is its low one: p5, p1 and the smallest, and said to be so."""
    figures = [Cell(f"{found.n:,}"), format_estimate(found.avg), format_estimate(found.percentile("p50"))]
    if found.metric in LOW_IS_BAD:
        tail = [_named(key, format_estimate(found.percentile(key))) for key in ("p5", "p1")]
        return [*figures, *tail, _named("min", Cell(format_figure(found.min)))]
    tail = [format_estimate(found.percentile(key)) for key in ("p95", "p99")]
    return [*figures, *tail, Cell(format_figure(found.max))]


def _named(name: str, cell: Cell) -> Cell:
    return cell if cell.text == ABSENT else Cell(f"{name}: {cell.text}", cell.note)


def _groups(title: str, groups: Mapping[str, Group], leave_out: Collection[str]) -> Table:
    counted = ("requests", "ok", "failed", "throttled", "rpm", "tpm")
    shown = [name for name in counted if name not in leave_out]
    spread = [(name, key) for name in ("ttft_ms", "e2e_ms") for key in ("p50", "p95")]
    rows = [
        Row(
            key,
            [
                *(_figure(group, name) for name in shown),
                *(format_estimate(group.distribution(name).percentile(at)) for name, at in spread),
                Cell(format_figure(group.distribution("prompt_tokens").avg.value)),
            ],
        )
        for key, group in groups.items()
    ]
    titles = [METRICS[name].title for name in shown] + [f"{METRICS[name].title} {at} ms" for name, at in spread]
    return Table(title, [Column(""), *(Column(text, brief=True) for text in titles), Column("Prompt avg")], rows)


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
    return f"{delivered:.1f} % of what was planned"


_FACTS: tuple[tuple[str, Callable[[Summary], str]], ...] = (
    ("Verdict", lambda summary: {"none": "none (no criteria)"}.get(summary.judgement.state, summary.judgement.state)),
    ("Load delivered", _delivered_text),
    ("Run", lambda summary: summary.state),
    ("Source", lambda summary: summary.source),
    (
        "Started",
        lambda summary: format_time(summary.window.start - summary.window.warm_up_s if summary.window else None),
    ),
    ("Measured", _window_text),
)


def _quota_rows(summaries: Sequence[Summary]) -> Iterator[Row]:
    for title, name, unit in (("Quota TPM", "tpm", "tokens"), ("Quota RPM", "rpm", ""), ("PTU", "ptu", "")):
        cells = [format_figure(getattr(summary.quota, name) if summary.quota else None, unit) for summary in summaries]
        yield Row(title, [Cell(text) for text in cells])


DETAILS: tuple[Callable[[Summary], Table | None], ...] = (
    by_name, by_turn, sessions, by_target, by_route, by_load, cost, ways_to_buy, by_stage,
)  # fmt: skip
"""Tables of one run below the others, in their order; each is `None` where it has nothing to say."""
