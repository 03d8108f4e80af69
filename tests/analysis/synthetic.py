"""Synthetic runs: records with known distributions, written as the run directories that the suite writes."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tokenswarm.record import COLUMNS, Outcome, RequestRecord, TokenSource

START = 1_783_500_000.0  # 2026-07-08 08:40:00 UTC, a full minute


def make_records(
    *,
    seed: int = 1,
    rpm: float = 50,
    minutes: float = 4,
    ttft_ms: float = 450,
    tbt_ms: float = 22,
    slower: float = 1.0,
    prompt: int = 4500,
    completion: int = 120,
    max_tokens: int = 500,
    throttled: float = 0.0,
    failed: float = 0.0,
    dropped: float = 0.0,
    retries: bool = False,
    utilization: bool = False,
    rag: bool = False,
    turns: int = 1,
    error: str = "502 Bad Gateway",
) -> Iterator[RequestRecord]:
    """Open-loop requests with Poisson arrivals; lognormal TTFT that grows with the prompt, normal TBT."""
    rng = np.random.default_rng(seed)
    shape = _Shape(ttft_ms, tbt_ms, prompt, completion, utilization, rag)
    due = START
    number = 0
    while True:
        due += rng.exponential(60 / rpm)
        if due >= START + minutes * 60:
            return
        number += 1
        share = (due - START) / (minutes * 60)
        busy = 1 + 0.6 * math.sin(math.pi * share) ** 2
        outcome = _draw_outcome(rng, throttled * (2 * share), failed, dropped)
        common = {
            "call_id": f"c{seed}-{number}", "worker": f"w{number % 2}", "user": number % 20,
            "target": "rag" if rag else "chat", "name": "orchestrator" if rag else "chat",
            "conversation_id": f"conv-{number // turns}", "turn": number % turns + 1,
            "scheduled_at": due, "max_tokens": None if rag else max_tokens,
        }  # fmt: skip
        if outcome is Outcome.DROPPED:
            yield RequestRecord(**common, outcome=outcome, lag_ms=10_000.0)
            continue
        if outcome is Outcome.THROTTLED and retries:
            yield _refused(rng, common, due, prompt)
            common["attempt"] = 2
            yield _answered(rng, common, due, 2500.0, busy * slower, shape)
        elif outcome is Outcome.THROTTLED:
            yield _refused(rng, common, due, prompt)
        elif outcome is Outcome.OK:
            lag = float(rng.exponential(2))
            yield _answered(rng, common, due, lag, busy * slower, shape)
        else:
            e2e = float(rng.uniform(50, 400))
            yield RequestRecord(
                **common, started_at=due + 0.001, lag_ms=1.0, outcome=outcome, status=502, error=error,
                e2e_ms=e2e, first_byte_ms=e2e - 1, context_tokens=prompt, request_id=f"apim-{seed}-{number}",
            )  # fmt: skip


def _draw_outcome(rng: np.random.Generator, throttled: float, failed: float, dropped: float) -> Outcome:
    draw = rng.random()
    if draw < throttled:
        return Outcome.THROTTLED
    if draw < throttled + failed:
        return Outcome.HTTP_ERROR
    return Outcome.DROPPED if draw < throttled + failed + dropped else Outcome.OK


def _refused(rng: np.random.Generator, common: dict[str, Any], due: float, prompt: int) -> RequestRecord:
    return RequestRecord(
        **common, started_at=due + 0.001, lag_ms=1.0, outcome=Outcome.THROTTLED, status=429,
        error="429 RateLimitReached", e2e_ms=float(rng.uniform(15, 60)), first_byte_ms=14.0, context_tokens=prompt,
        retry_after_ms=2000.0, remaining_tokens=0, request_id=f"apim-{common['call_id']}",
    )  # fmt: skip


class _Shape(NamedTuple):
    ttft_ms: float
    tbt_ms: float
    prompt: int
    completion: int
    utilization: bool
    rag: bool


def _answered(
    rng: np.random.Generator, common: dict[str, Any], due: float, lag: float, slow: float, shape: _Shape
) -> RequestRecord:
    prompt = max(20, int(rng.normal(shape.prompt, shape.prompt * 0.15)))
    tokens = max(2, int(rng.gamma(6, shape.completion / 6)))
    ttft = float(slow * shape.ttft_ms * rng.lognormal(0, 0.35) * (0.5 + 0.5 * prompt / shape.prompt))
    tbt = float(max(1.0, rng.normal(shape.tbt_ms, shape.tbt_ms * 0.12)) * (0.8 + 0.2 * slow))
    e2e = ttft + tbt * (tokens - 1) + 2
    answer: dict[str, Any] = {
        "context_tokens": prompt, "prompt_tokens": prompt, "completion_tokens": tokens, "reasoning_tokens": 0,
        "cached_tokens": 0, "token_source": TokenSource.USAGE, "remaining_tokens": 40_000, "remaining_requests": 200,
        "model": "gpt-4o-2024-11-20", "region": "Sweden Central",
    }  # fmt: skip
    if shape.rag:
        parts = {"history": 0.05, "triage": 0.15, "retrieval": 0.2, "generation": 0.5}
        answer = {"stages": ";".join(f"{name}={e2e * part:.1f}" for name, part in parts.items())}
    if shape.utilization:
        answer["utilization_pct"] = float(min(110, 60 * slow + rng.normal(0, 5)))
    return RequestRecord(
        **common, **answer, started_at=due + lag / 1000, lag_ms=lag, headers_ms=ttft * 0.4, first_byte_ms=ttft * 0.42,
        ttft_ms=ttft, ttft_visible_ms=ttft, last_token_ms=e2e - 2, e2e_ms=e2e, chunks=tokens, chunks_interpolated=0,
        gap_max_ms=tbt * 4, gap_p95_ms=tbt * 2, tbt_ms=tbt, read_lag_ms=0.2, outcome=Outcome.OK, status=200,
        finish_reason="stop", request_id=f"apim-{common['call_id']}",
    )  # fmt: skip


def write_run(directory: Path, records: list[RequestRecord], **meta: Any) -> Path:
    """A finished run directory; `meta` replaces keys of run.json, `options` are merged into its options."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "requests.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(record.to_row() for record in records)
    starts = [record.started_at for record in records if record.started_at is not None]
    options = {"rate": 50, "context-tokens": 4500, "max-tokens": 500, "arrival": "poisson", "deployment": "gpt-4o"}
    found = {
        "schema_version": 1, "test_name": "synthetic", "tokenswarm_version": "0.1.0", "versions": {"python": "3.11.7"},
        "scenario": {"path": "scenarios/synthetic.conf", "text": "rate = 50\n"},
        "options": {**options, "test-name": directory.name, **meta.pop("options", {})},
        "target": {"kind": "chat", "host": "https://example.openai.azure.com", "api": "azure", "deployment": "gpt-4o"},
        "host": "bench-1", "started_at": START, "ended_at": max(starts, default=START) + 15, "state": "finished",
        "seed": 1, "workers": 2, "clock": "kernel", "quota": {"tpm": None, "rpm": None, "ptu": None},
        "window": {"warm_up_s": 0, "cool_down_s": 0},
        "accounting": {"planned": len(records), "sent": len(starts), "dropped": len(records) - len(starts),
                       "cancelled": 0, "rows": len(records), "lost": []},
        "delivery": {"offered_rpm": 50.0, "started_rpm": 50.0, "completed_rpm": 49.0, "delivered_pct": 100.0},
        "generator": {"loop_lag_p95_ms": 0.8, "loop_lag_max_ms": 4.0, "read_lag_p99_ms": 0.5, "cpu_max_pct": 12.0,
                      "saturated": False},
        "criteria": [], "verdict": {"state": "none", "exit_code": 0, "reasons": []}, "stop_reason": None,
    }  # fmt: skip
    (directory / "run.json").write_text(json.dumps({**found, **meta}), encoding="utf-8")
    return directory


def stamp(number: int) -> str:
    """A run directory's name."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(START + 60 * number))
