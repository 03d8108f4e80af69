"""What a monitoring system is told of requests: counters and histograms by request name.

Every row counts, warm-up included: a monitoring system cuts its own windows. Latencies are those of answered requests,
as everywhere in the suite. Bucket limits are those that OpenTelemetry's GenAI conventions recommend.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from tokenswarm.record import GIVEN_UP, Outcome, RequestRecord
from tokenswarm.redaction import SECRETS

TTFT_BUCKETS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
TBT_BUCKETS_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
E2E_BUCKETS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
LAG_BUCKETS_S = (0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

LABELS = ("test_name", "name")
MOST_NAMES = 100
"""Request names told apart; further ones count as `OTHER`: each label value is a series kept for good."""
OTHER = "(other names)"


class Instruments:
    """The instruments of one process, in `registry`. They count on over its runs, as counters do."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "tokenswarm_requests", "Requests by outcome, and arrivals that were not sent (dropped)",
            (*LABELS, "outcome"), registry=registry,
        )  # fmt: skip
        self._tokens = Counter(
            "tokenswarm_tokens", "Tokens in usage; cached ones are part of prompt, reasoning of completion",
            (*LABELS, "kind"), registry=registry,
        )  # fmt: skip
        self._latencies = {
            column: Histogram(f"tokenswarm_{name}_seconds", text, LABELS, buckets=buckets, registry=registry)
            for column, name, text, buckets in (
                ("ttft_ms", "ttft", "From the request's first byte sent to the first token received", TTFT_BUCKETS_S),
                ("tbt_ms", "tbt", "Mean time between tokens of an answer", TBT_BUCKETS_S),
                ("e2e_ms", "e2e", "From the request's first byte sent to the end of the answer", E2E_BUCKETS_S),
            )
        }
        self._lag = Histogram(
            "tokenswarm_lag_seconds", "How much later than due a request was sent",
            LABELS, buckets=LAG_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._names: set[str] = set()

    def add(self, test_name: str, record: RequestRecord) -> None:
        """Count one row."""
        labels = (test_name, self._label(record.name))
        self._requests.labels(*labels, record.outcome.value).inc()
        for kind in ("prompt", "cached", "completion", "reasoning"):
            tokens = getattr(record, f"{kind}_tokens")
            if tokens:
                self._tokens.labels(*labels, kind).inc(tokens)
        if record.lag_ms is not None and record.outcome not in GIVEN_UP:
            self._lag.labels(*labels).observe(record.lag_ms / 1000)
        if record.outcome is not Outcome.OK:
            return
        for column, histogram in self._latencies.items():
            value_ms = getattr(record, column)
            if value_ms is not None:
                histogram.labels(*labels).observe(value_ms / 1000)

    def _label(self, name: str) -> str:
        if name not in self._names:
            if len(self._names) >= MOST_NAMES:
                return OTHER
            self._names.add(name)
        return SECRETS.redact(name)
