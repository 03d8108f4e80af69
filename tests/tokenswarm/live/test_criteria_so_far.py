"""Criteria while the run is on come to what they come to at the end, for the same records."""

from __future__ import annotations

import random

import pytest

from tokenswarm.live.criteria_so_far import CriteriaSoFar
from tokenswarm.metrics.criteria import METRICS, evaluate, parse_criteria
from tokenswarm.metrics.goodput import parse_goodput
from tokenswarm.metrics.histogram import RELATIVE_ERROR
from tokenswarm.metrics.samples import Samples
from tokenswarm.record import Outcome, RequestRecord, TokenSource

START = 12_000.0
EVERY = "; ".join(
    f"{aggregation}({metric}) > 0"
    for metric, rules in METRICS.items()
    for each in rules.aggregations
    for aggregation in (("p50", "p95", "p99") if each == "pNN" else (each,))
)


def records(count: int, seed: int) -> list[RequestRecord]:
    rng = random.Random(seed)
    outcomes = rng.choices(list(Outcome), [80, 8] + [1] * (len(Outcome) - 3) + [4], k=count)
    return [make(rng, outcome, START + rng.uniform(0, 280)) for outcome in outcomes]


def make(rng: random.Random, outcome: Outcome, at: float) -> RequestRecord:
    ok, dropped = outcome is Outcome.OK, outcome is Outcome.DROPPED
    return RequestRecord(
        call_id="c",
        name=rng.choice(["chat", "rag"]),
        attempt=rng.choice([1, 1, 1, 2]),
        outcome=outcome,
        scheduled_at=at,
        started_at=None if dropped else at,
        lag_ms=rng.uniform(0, 50),
        first_byte_ms=None if dropped else rng.uniform(1, 90),
        ttft_ms=rng.lognormvariate(5, 1) if ok else None,
        tbt_ms=rng.lognormvariate(3, 1) if ok else None,
        e2e_ms=None if dropped else rng.uniform(100, 9000),
        chunks=20 if ok else None,
        prompt_tokens=100 if ok else None,
        completion_tokens=50 if ok else None,
        token_source=TokenSource.USAGE if ok else TokenSource.NONE,
    )


@pytest.mark.parametrize("count", [0, 1, 15, 3000])
@pytest.mark.parametrize("name", ["", "chat: "])
def test_every_metric_and_aggregation(count: int, name: str) -> None:
    criteria = parse_criteria("; ".join(name + part for part in EVERY.split("; ")))
    goodput = parse_goodput("ttft_ms<200, tbt_ms<50")
    window = (START + 30, START + 300)
    seen = records(count, seed=count)
    samples, so_far = Samples.from_records(seen, goodput), CriteriaSoFar(criteria, window[0], goodput)
    for record in seen:
        so_far.add(record)
    for exact, live in zip(evaluate(criteria, samples, window), so_far.read(window[1], samples), strict=True):
        assert live.criterion == exact.criterion
        assert live.n == exact.n, exact
        if exact.value is None:
            assert live.value is None, exact
        else:
            assert live.value == pytest.approx(exact.value, rel=RELATIVE_ERROR * 1.001), exact
