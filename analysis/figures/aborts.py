"""What a report says of requests that their users left: how many, when, and what the server did for nobody."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.figures.populations import numbers, outcome_is
from analysis.sources.run import Run
from tokenswarm.metrics.server_metrics import FILE_NAME, ServerSample, read_samples
from tokenswarm.record import Outcome

LEFT, UNHEARD_MS, UNHEARD_TOKENS = "clients_left", "unheard_time", "unheard_tokens"
"""Metrics of servers that tell what became of such requests."""


def abort_lines(run: Run) -> list[str]:
    """Lines of the report; none for a run that nobody left."""
    left = outcome_is(run.rows, Outcome.ABORTED)
    if not left.any():
        return []
    after_ms, chunks = numbers(run.rows["e2e_ms"])[left], numbers(run.rows["chunks"])[left]
    begun = int((chunks > 0).sum())
    said = (
        f"{int(left.sum())} requests were left by their users, after {np.nanmean(after_ms) / 1000.0:.1f} s on average; "
        f"{begun} of them had begun to be answered. They are neither answered nor failed, and in no share; long "
        "answers are left more often than short ones, so E2E of the others is lower than of all."
    )
    samples = read_samples(run.path / FILE_NAME) if run.path.is_dir() else []
    return [said, _server_line(samples)]


def _server_line(samples: Sequence[ServerSample]) -> str:
    """How long the server went on generating for nobody."""
    told = [sample for sample in samples if sample.metric in (LEFT, UNHEARD_MS, UNHEARD_TOKENS)]
    if told:
        left, ms, tokens = (_total(told, metric) for metric in (LEFT, UNHEARD_MS, UNHEARD_TOKENS))
        return (
            f"The server noticed {left:.0f} clients that left, and went on generating for nobody for "
            f"{ms / 1000.0:.1f} s and {tokens:.0f} tokens in all."
        )
    stopped = [sample for sample in samples if sample.dimension("finished_reason") == "abort"]
    if stopped:
        return f"The server stopped generating for {sum(each.value for each in stopped):.0f} clients that had left."
    return "How long the server went on generating for them it does not say here (see the option server-metrics)."


def _total(samples: Sequence[ServerSample], metric: str) -> float:
    return sum(sample.value for sample in samples if sample.metric == metric)
