"""From a run to its summary.

Latencies, shares and counts are of the requests started in the window; completed requests and tokens lie where they
ended. Percentiles are always taken from rows, never averaged.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.figures import populations
from analysis.figures.aborts import abort_lines
from analysis.figures.accounting import account
from analysis.figures.group import group
from analysis.figures.minutes import minute_table
from analysis.figures.sessions import session_figures
from analysis.figures.window import Window, window_of
from analysis.findings.correctness import by_load, same_answer_pct
from analysis.findings.cost import cost_of
from analysis.findings.load_curve import load_curve
from analysis.findings.quota import quota_truth
from analysis.findings.routes import routes_of, spillover_of, targets_of
from analysis.findings.summary import Summary
from analysis.findings.verdict import goodput_of, judge
from analysis.findings.warnings import warnings_of
from analysis.sources.rows import RowTable, part
from analysis.sources.run import Run
from analysis.statistics import Distribution, Group, distribution, percentage
from tokenswarm.metrics.prices import PriceTable
from tokenswarm.userinput import read_number

NETWORK = "network and the rest"
"""What remains of E2E after the stages that the server reports."""


TOTAL_STAGE = "total"


Mask = npt.NDArray[np.bool_]


def summarise(run: Run, failure_criteria: str | None = None, prices: PriceTable | None = None) -> Summary:
    """Summary of `run`. `failure_criteria` is judged instead of what run.json has, `prices` stand in place of the run's
    own. Raises `BadInput` for bad text."""
    window, accounting = window_of(run), account(run)
    common: dict[str, Any] = {
        "label": run.label,
        "path": str(run.path),
        "source": run.source,
        "state": run.state,
        "window": window,
        "accounting": accounting,
        "judgement": judge(run, accounting, failure_criteria),
        "delivery": _mapping(run.setting("delivery")),
        "generator": _mapping(run.setting("generator")),
        "settings": _settings(run),
        "blind_spots": run.blind_spots,
        "notes": [*run.notes, *abort_lines(run)],
        "skipped_lines": run.skipped_lines,
        "answer_doubts": count_labels(run.rows["doubts"]),
        "end_notes": count_labels(run.rows["end_note"]),
        "models": count_labels(run.rows["model"]) if "model" in run.rows else {},
    }
    if run.given is not None:
        summary = _of_given(run, common)
    elif window is None or not len(run.rows):
        summary = Summary(
            **common, left_out=0, overall=Group("", populations.counts(run.rows)), minutes=minute_table(run.rows, None)
        )
    else:
        summary = _of_rows(run, window, common, prices)
    return dataclasses.replace(summary, warnings=warnings_of(summary))


def count_labels(column: pd.Series[Any]) -> dict[str, int]:
    """Rows by the texts of a column that may have several, joined by ';'; the most frequent first."""
    counted: Counter[str] = Counter()
    for joined, count in column.value_counts().items():
        for text in str(joined).split(";"):
            counted[text] += int(count)
    return {text: count for text, count in counted.most_common() if count}


def _of_rows(run: Run, window: Window, common: dict[str, Any], prices: PriceTable | None) -> Summary:
    rows, goodput, sessions = run.rows, goodput_of(run), session_figures(run)
    inside = window.contains(populations.started(rows))
    overall = group(rows, window, "", goodput)
    values = {**overall.values, "cacheable_pct": _cacheable_pct(run, inside)}
    by_name, by_turn = (
        {key: overall if some is rows else group(some, window, key, goodput) for key, some in _parts(rows, column)}
        for column in ("name", "turn")
    )
    return Summary(
        **common,
        left_out=int(len(rows) - inside.sum()),
        overall=dataclasses.replace(overall, values=values),
        by_name=by_name,
        by_turn=by_turn,
        sessions=sessions,
        by_route={key: group(part(rows, served), window, key, goodput) for key, served in routes_of(rows)},
        by_target={key: group(part(rows, asked), window, key, goodput) for key, asked in targets_of(rows)},
        spillover=spillover_of(part(rows, inside)),
        by_load=by_load(rows, inside),
        same_answer_pct=same_answer_pct(rows, inside),
        cost=cost_of(run, window, 0 if sessions is None else sessions.begun, prices),
        curve=load_curve(run, prices),
        by_stage=_stages(run, inside & populations.is_ok(rows)),
        minutes=minute_table(rows, window),
        quota=quota_truth(run, window),
    )


_BYTES_PER_TOKEN, _FRAMING_TOKENS = 4, 4
"""Of a system prompt: the estimate by which `context_tokens` counts it, and what frames a message."""


def _cacheable_pct(run: Run, inside: populations.Mask) -> float | None:
    """Prompt tokens of the answers in the window that an earlier prompt of the run began with, in percent; `None` where
    no service says what its cache had, texts come from a dataset, or senders on several machines have no master that
    tells them what others have sent."""
    rows, system = run.rows, run.setting("options", "system-prompt")
    is_recorded = run.setting("traffic", "requests") is not None or run.setting("traffic", "prompts_remembered") is True
    common = read_number(str(run.setting("options", "shared-prefix-tokens"))) or 0.0
    if isinstance(system, str) and system:
        common += -(-len(system.encode()) // _BYTES_PER_TOKEN) + _FRAMING_TOKENS
    possible = populations.cacheable_tokens(rows, None if is_recorded else common)
    prompts = populations.usage_tokens(rows, "prompt_tokens")
    known = (
        inside & populations.is_ok(rows) & ~np.isnan(prompts) & ~np.isnan(populations.numbers(rows["cached_tokens"]))
    )
    has_shared = ~np.isnan(populations.numbers(rows["shared_tokens"]))
    if is_recorded and not has_shared[known].all():
        return None
    known &= has_shared
    return percentage(float(possible[known].sum()), float(prompts[known].sum())) if known.any() else None


def _of_given(run: Run, common: dict[str, Any]) -> Summary:
    """A source without rows: its own figures, nothing added."""
    given = run.given
    assert given is not None
    minutes = given.minutes if given.minutes is not None else minute_table(run.rows, None)
    return Summary(**common, left_out=0, overall=given.overall, by_name=given.by_name, minutes=minutes)


def _parts(rows: pd.DataFrame, column: str) -> Iterator[tuple[str, RowTable]]:
    """Rows by request name or by turn. A single turn is no part; a single name is worth its line."""
    values = rows[column]
    keys = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else sorted(values.dropna().unique())
    if column == "turn" and len(keys) < 2:
        return
    for key in keys:
        chosen = (values == key).fillna(False).to_numpy(bool)
        if chosen.any():
            yield str(key), part(rows, chosen)


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
        "search",
        "traffic",
    )
    found = {key: run.setting(key) for key in keys}
    return {key: value for key, value in found.items() if value is not None}
