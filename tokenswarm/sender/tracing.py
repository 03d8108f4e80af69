"""OpenTelemetry spans and metrics of the requests, for runs with Locust's `--otel`: one CLIENT span for each HTTP
request sent, and the client metrics of the GenAI conventions.

A span is made from the finished record, so nothing of OpenTelemetry runs while an answer streams. Its trace id is the
record's `call_id`, its span id follows from the attempt, and both travel to the target in `traceparent`: a slow row of
requests.csv is found in the application's traces by its `call_id`. Attributes follow the GenAI semantic conventions.

Locust sets the provider and exporters up (OTEL_* variables). Without `--otel` this module is not even imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanKind, Status, StatusCode

from tokenswarm.apis.request import ChatTarget
from tokenswarm.config.settings import Settings
from tokenswarm.record import GIVEN_UP, Outcome, RequestRecord

PROVIDERS = {"azure": "azure.ai.openai", "azure-v1": "azure.ai.openai", "openai": "openai", "app": "app"}
_NO_ERROR = GIVEN_UP | {Outcome.OK}
_NS = 1_000_000_000


class _Target(NamedTuple):
    operation: str
    subject: str
    attributes: Mapping[str, Any]


class Telemetry:
    """The spans of one run in one process."""

    def __init__(self, provider: TracerProvider, settings: Settings) -> None:
        self._ids = _GivenIds()
        usual = provider.id_generator
        provider.id_generator = self._ids  # type: ignore[assignment]  # annotated by its default alone
        try:
            self._tracer = provider.get_tracer("tokenswarm")  # takes the generator that is there now
        finally:
            provider.id_generator = usual
        self._sampler = provider.sampler
        self._targets = _describe_targets(settings)
        self._metrics = _ClientMetrics(metrics.get_meter("tokenswarm"))

    def headers(self, call_id: str, attempt: int) -> dict[str, str]:
        """What a request carries so that the target's spans hang below ours."""
        trace_id = int(call_id, 16)
        sampled = self._sampler.should_sample(None, trace_id, "").decision is Decision.RECORD_AND_SAMPLE
        return {"traceparent": f"00-{call_id}-{span_id(trace_id, attempt):016x}-{int(sampled):02x}"}

    def emit(self, record: RequestRecord) -> None:
        """The span of a request that was sent; nothing for one that was not."""
        target = self._targets.get(record.deployment or record.target) or self._targets.get(record.target)
        if record.started_at is None or record.outcome is Outcome.DROPPED or target is None:
            return
        self._metrics.add(target, record)
        self._ids.trace_id = int(record.call_id, 16)
        self._ids.span_id = span_id(self._ids.trace_id, record.attempt)
        begin_ns = round(record.started_at * _NS)
        span = self._tracer.start_span(
            f"{target.operation} {target.subject}",
            context=Context(),
            kind=SpanKind.CLIENT,
            attributes={**target.attributes, **span_attributes(record)},
            start_time=begin_ns,
        )
        if record.outcome not in _NO_ERROR:
            span.set_status(Status(StatusCode.ERROR, record.error))
        span.end(begin_ns + round((record.e2e_ms or 0.0) * 1e6))


class _ClientMetrics:
    """Histograms of the GenAI conventions; a latency is known of answered requests only, the duration of all."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._duration = meter.create_histogram("gen_ai.client.operation.duration", "s", "Duration of the request")
        self._first = meter.create_histogram("gen_ai.client.operation.time_to_first_chunk", "s", "Time to first token")
        self._gap = meter.create_histogram(
            "gen_ai.client.operation.time_per_output_chunk", "s", "Mean time between tokens of an answer"
        )
        self._tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}", "Tokens of a request, by type")
        self._lag = meter.create_histogram("tokenswarm.client.lag", "s", "How much later than due it was sent")

    def add(self, target: _Target, record: RequestRecord) -> None:
        attributes = {
            **target.attributes,
            "tokenswarm.request": record.name,
            "tokenswarm.outcome": record.outcome.value,
        }
        if record.model:
            attributes["gen_ai.response.model"] = record.model
        if record.outcome not in _NO_ERROR:
            attributes["error.type"] = record.outcome.value
        times = [(self._duration, record.e2e_ms), (self._lag, record.lag_ms)]
        if record.outcome is Outcome.OK:
            times += [(self._first, record.ttft_ms), (self._gap, record.tbt_ms)]
        for histogram, value_ms in times:
            if value_ms is not None:
                histogram.record(value_ms / 1000, attributes)
        for kind, tokens in (("input", record.prompt_tokens), ("output", record.completion_tokens)):
            if tokens is not None:
                self._tokens.record(tokens, {**attributes, "gen_ai.token.type": kind})


class _GivenIds(IdGenerator):
    """Ids that are known before the span is made."""

    def __init__(self) -> None:
        self.trace_id = 0
        self.span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


def start_telemetry(settings: Settings) -> Telemetry | None:
    """For the provider that Locust has set up; `None` where it could not (it has said why)."""
    provider = trace.get_tracer_provider()
    return Telemetry(provider, settings) if isinstance(provider, TracerProvider) else None


def span_id(trace_id: int, attempt: int) -> int:
    """The span of an attempt: 8 bytes, never 0."""
    return ((trace_id ^ attempt) & (2**64 - 1)) or 1


def span_attributes(record: RequestRecord) -> dict[str, Any]:
    """What is known of a request; absent things are absent."""
    attributes: dict[str, Any] = {
        "gen_ai.request.max_tokens": record.max_tokens,
        "gen_ai.request.stream": True if record.chunks is not None else None,
        "gen_ai.response.model": record.model,
        "gen_ai.response.finish_reasons": [record.finish_reason] if record.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": None if record.ttft_ms is None else record.ttft_ms / 1000,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
        "gen_ai.conversation.id": record.conversation_id,
        "http.response.status_code": record.status,
        "http.request.resend_count": record.attempt - 1 if record.attempt > 1 else None,
        "error.type": None if record.outcome in _NO_ERROR else record.outcome.value,
        "az.service_request_id": record.request_id,
        "tokenswarm.request": record.name,
        "tokenswarm.worker": record.worker,
        "tokenswarm.outcome": record.outcome.value,
        "tokenswarm.lag_ms": record.lag_ms,
        "tokenswarm.tbt_ms": record.tbt_ms,
        "tokenswarm.utilization_pct": record.utilization_pct,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _describe_targets(settings: Settings) -> dict[str, _Target]:
    """By what a row says of its target: its kind, or which of several deployments."""
    several = settings.several.targets if settings.several is not None else {}
    targets = {name: _chat_target(chat) for name, chat in several.items()}
    if settings.chat is not None:
        targets["chat"] = _chat_target(settings.chat)
    if settings.rag is not None:
        own = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "orchestrator"}
        targets["rag"] = _Target("invoke_agent", "orchestrator", own | _server(settings.rag.url))
    return targets


def _chat_target(chat: ChatTarget) -> _Target:
    own = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": PROVIDERS[chat.api],
        "gen_ai.request.model": chat.deployment,
    }
    return _Target("chat", chat.deployment, own | _server(chat.endpoint))


def _server(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }
