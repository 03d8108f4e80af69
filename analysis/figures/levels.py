"""Figures of a run level by level: of each span of time in which one load was offered.

Counts and latencies are of the requests that were started in the span, answers and tokens a minute of those that ended
in it: beyond capacity more is started than ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.figures import populations
from analysis.figures.knee import BLOCKS, LevelBlocks
from analysis.figures.metrics import LOW_IS_BAD, values_of
from analysis.figures.populations import Values
from analysis.sources.rows import RowTable, part
from analysis.statistics import Estimate, distribution, per_minute


@dataclass(frozen=True, slots=True)
class LevelSpan:
    """`load` (users, or requests or sessions a minute) was offered from `begin` to `end`, Unix s."""

    load: float
    begin: float
    end: float

    @property
    def length_s(self) -> float:
        return max(0.0, self.end - self.begin)


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelFigures:
    """What a level came to. Requests by how they ended; answers a minute and generated tokens a second of the whole
    system, `None` when unknown; the median speed of a user in tokens/s; p95 in ms, each with its 95 % interval."""

    span: LevelSpan
    sent: int
    ok: int
    failed: int
    throttled: int
    dropped: int
    rpm: float | None
    tokens_per_s: float | None
    per_user: Estimate
    ttft_p95: Estimate
    tbt_p95: Estimate
    e2e_p95: Estimate


def level_figures(rows: RowTable, span: LevelSpan) -> LevelFigures:
    """Figures of one level, from the rows of a run."""
    start, end = populations.started(rows), populations.ended(rows)
    begun, over = _inside(start, span), _inside(end, span)
    within, ended = part(rows, begun), part(rows, over)
    counts = populations.counts(within)
    tokens = populations.usage_tokens(ended, "completion_tokens")
    generated = float(np.nansum(tokens, dtype=np.float64)) if np.isfinite(tokens).any() else None
    answered = float(populations.is_ok(ended).sum())
    return LevelFigures(
        span=span,
        sent=counts.sent,
        ok=counts.ok,
        failed=counts.failed,
        throttled=counts.throttled or 0,
        dropped=counts.dropped or 0,
        rpm=per_minute(answered, span.length_s),
        tokens_per_s=None if generated is None or not span.length_s else generated / span.length_s,
        per_user=_percentile(within, "tokens_per_s_per_user", "p50"),
        ttft_p95=_percentile(within, "ttft_ms", "p95"),
        tbt_p95=_percentile(within, "tbt_ms", "p95"),
        e2e_p95=_percentile(within, "e2e_ms", "p95"),
    )


def level_blocks(rows: RowTable, spans: Sequence[LevelSpan]) -> LevelBlocks:
    """The spans of one load in blocks of time, for `knee.find_knee`."""
    start, end, ok = populations.started(rows), populations.ended(rows), populations.is_ok(rows)
    e2e = populations.numbers(rows["e2e_ms"])
    found = [_blocks(start[ok], end[ok], e2e[ok], span) for span in spans]
    completed, total_ms, started = (np.concatenate([each[at] for each in found]) for at in range(3))
    return LevelBlocks(spans[0].load, sum(span.length_s for span in spans), completed, total_ms, started)


def _blocks(start: Values, end: Values, e2e: Values, span: LevelSpan) -> tuple[Values, Values, Values]:
    edges = np.linspace(span.begin, span.end, BLOCKS + 1)
    return (
        np.histogram(end, edges)[0].astype(np.float64),
        np.histogram(start, edges, weights=np.nan_to_num(e2e))[0],
        np.histogram(start, edges)[0].astype(np.float64),
    )


def _inside(instants: Values, span: LevelSpan) -> populations.Mask:
    return np.asarray((instants >= span.begin) & (instants < span.end))


def _percentile(rows: RowTable, metric: str, key: str) -> Estimate:
    return distribution(metric, values_of(rows, metric), metric in LOW_IS_BAD).percentile(key)
