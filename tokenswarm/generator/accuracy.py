"""Measured against true: records of the load generator beside the log of a target whose timing is known. Pure.

A record and a log line belong together by the client request id (`<call_id>-<attempt>`), so errors are per request,
not differences between two distributions. True latencies start when the request had arrived (`arrived_at`, else
`received_at`); what the client adds by connecting, writing and being late is its error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenswarm.metrics.samples import percentile
from tokenswarm.record import Outcome, RequestRecord, tbt_ms

LATENCY_TOLERANCE_MS = 5.0
"""A step is accurate while the 95th percentile of its TTFT and E2E errors stays below this."""

TBT_TOLERANCE_MS = 0.1
"""... and the mean of its TBT errors is nearer to 0 than this."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What the target knows of one request; latencies in ms, `tbt_ms` per token and None for a single chunk."""

    ttft_ms: float
    tbt_ms: float | None
    e2e_ms: float
    tokens: int
    chunks: int
    first_token_at: float
    last_token_at: float


@dataclass(frozen=True, slots=True)
class Error:
    """Measured less true for one request, ms; `tokens` is the difference of the counts, None when none was measured."""

    ttft_ms: float
    tbt_ms: float | None
    e2e_ms: float
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The errors of many requests: 95th percentile and largest of their sizes, mean with its sign; ms."""

    requests: int
    unmatched: int
    ttft_p95_ms: float
    ttft_max_ms: float
    tbt_mean_ms: float | None
    e2e_p95_ms: float
    tokens_wrong: int
    read_lag_p95_ms: float | None

    @property
    def accurate(self) -> bool:
        """Whether these figures may be believed: see `LATENCY_TOLERANCE_MS` and `TBT_TOLERANCE_MS`."""
        return (
            self.unmatched == 0
            and self.tokens_wrong == 0
            and self.ttft_p95_ms < LATENCY_TOLERANCE_MS
            and self.e2e_p95_ms < LATENCY_TOLERANCE_MS
            and abs(self.tbt_mean_ms or 0.0) < TBT_TOLERANCE_MS
        )


def read_truth(rows: Iterable[Mapping[str, Any]]) -> dict[str, Truth]:
    """Truth by client request id, from log lines; only complete streamed answers have all of it."""
    return {row["client_request_id"]: _truth(row) for row in rows if row["outcome"] == "ok" and row["stream"]}


def _truth(row: Mapping[str, Any]) -> Truth:
    arrived = row["arrived_at"] or row["received_at"]
    first, last = row["first_token_at"], row["last_token_at"]
    return Truth(
        ttft_ms=(first - arrived) * 1000.0,
        tbt_ms=tbt_ms(first * 1000.0, last * 1000.0, row["chunks"], row["completion_tokens"]),
        # The end of the answer leaves in the same write as its last chunk.
        e2e_ms=(last - arrived) * 1000.0,
        tokens=row["completion_tokens"],
        chunks=row["chunks"],
        first_token_at=first,
        last_token_at=last,
    )


def client_request_id(record: RequestRecord) -> str:
    return f"{record.call_id}-{record.attempt}"


def error_of(record: RequestRecord, truth: Truth) -> Error:
    """Measured less true. Raises `ValueError` for a record without latencies, which an answered request must have."""
    if record.ttft_ms is None or record.e2e_ms is None:
        raise ValueError(f"{client_request_id(record)}: outcome ok without ttft_ms or e2e_ms")
    return Error(
        ttft_ms=record.ttft_ms - truth.ttft_ms,
        tbt_ms=None if record.tbt_ms is None or truth.tbt_ms is None else record.tbt_ms - truth.tbt_ms,
        e2e_ms=record.e2e_ms - truth.e2e_ms,
        tokens=None if record.completion_tokens is None else record.completion_tokens - truth.tokens,
    )


def compare(records: Iterable[RequestRecord], truths: Mapping[str, Truth]) -> Accuracy:
    """Errors of the records with outcome ok. Raises `ValueError` when none of them is in the log."""
    answered = [record for record in records if record.outcome is Outcome.OK]
    pairs = [(record, truths[client_request_id(record)]) for record in answered if client_request_id(record) in truths]
    if not pairs:
        raise ValueError(f"none of {len(answered)} answered requests is in the target's log")
    errors = [error_of(record, truth) for record, truth in pairs]
    tbt = [error.tbt_ms for error in errors if error.tbt_ms is not None]
    return Accuracy(
        requests=len(pairs),
        unmatched=len(answered) - len(pairs),
        ttft_p95_ms=_p95([abs(error.ttft_ms) for error in errors]),
        ttft_max_ms=max(abs(error.ttft_ms) for error in errors),
        tbt_mean_ms=sum(tbt) / len(tbt) if tbt else None,
        e2e_p95_ms=_p95([abs(error.e2e_ms) for error in errors]),
        tokens_wrong=sum(error.tokens != 0 for error in errors),
        read_lag_p95_ms=percentile([r.read_lag_ms for r, _ in pairs if r.read_lag_ms is not None], 95),
    )


def _p95(values: list[float]) -> float:
    found = percentile(values, 95)
    assert found is not None
    return found


def chunks_between(truths: Iterable[Truth], start: float, end: float) -> float:
    """Chunks with tokens sent in [start, end] (Unix s), the chunks of an answer taken as even in time."""
    return sum(_overlap(truth, start, end) for truth in truths)


def _overlap(truth: Truth, start: float, end: float) -> float:
    first, last = truth.first_token_at, truth.last_token_at
    if last <= first:
        return float(truth.chunks) if start <= first <= end else 0.0
    return truth.chunks * max(0.0, min(last, end) - max(first, start)) / (last - first)
