"""Spans from records: ids that a row knows, GenAI attributes, and the header that the target gets."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from tokenswarm.record import Outcome, RequestRecord, TokenSource
from tokenswarm.sender.tracing import Telemetry

CALL = "00112233445566778899aabbccddeeff"
CHAT = SimpleNamespace(api="azure", deployment="gpt-4o", endpoint="https://lab.openai.azure.com")
SETTINGS: Any = SimpleNamespace(chat=CHAT, rag=None, several=None)


def record(**fields: Any) -> RequestRecord:
    known = {
        "call_id": CALL, "name": "chat", "worker": "w1", "outcome": Outcome.OK, "status": 200, "started_at": 1000.5,
        "ttft_ms": 250.0, "e2e_ms": 1500.0, "chunks": 3, "prompt_tokens": 100, "completion_tokens": 40,
        "max_tokens": 50, "token_source": TokenSource.USAGE, "model": "gpt-4o-2024-11-20", "finish_reason": "stop",
    }  # fmt: skip
    return RequestRecord(**(known | fields))


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(exporter: InMemorySpanExporter) -> Telemetry:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Telemetry(provider, SETTINGS)


def test_a_span_of_an_answer(telemetry: Telemetry, exporter: InMemorySpanExporter) -> None:
    telemetry.emit(record())
    (span,) = exporter.get_finished_spans()
    assert span.name == "chat gpt-4o"
    assert f"{span.context.trace_id:032x}" == CALL
    assert (span.start_time, span.end_time) == (1_000_500_000_000, 1_002_000_000_000)
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.request.model": "gpt-4o",
        "server.address": "lab.openai.azure.com",
        "server.port": 443,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "gpt-4o-2024-11-20",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 40,
        "http.response.status_code": 200,
        "tokenswarm.request": "chat",
        "tokenswarm.worker": "w1",
        "tokenswarm.outcome": "ok",
    }


def test_the_header_names_the_span_of_the_attempt(telemetry: Telemetry, exporter: InMemorySpanExporter) -> None:
    telemetry.emit(record(outcome=Outcome.THROTTLED, status=429, error="HTTP 429"))
    telemetry.emit(record(attempt=2))
    first, second = exporter.get_finished_spans()
    for attempt, span in ((1, first), (2, second)):
        header = telemetry.headers(CALL, attempt)["traceparent"]
        assert header == f"00-{CALL}-{span.context.span_id:016x}-01"
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", header)
    assert first.context.span_id != second.context.span_id
    assert first.status.status_code is StatusCode.ERROR
    assert (first.attributes or {})["error.type"] == "throttled"
    assert (second.attributes or {})["http.request.resend_count"] == 1


def test_each_of_several_targets_is_named_for_what_it_is(exporter: InMemorySpanExporter) -> None:
    other = SimpleNamespace(api="azure", deployment="mini", endpoint="https://west.openai.azure.com")
    several = SimpleNamespace(targets={"gpt-4o": CHAT, "mini @ west.openai.azure.com": other})
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings: Any = SimpleNamespace(chat=CHAT, rag=None, several=several)
    Telemetry(provider, settings).emit(record(deployment="mini @ west.openai.azure.com"))
    (span,) = exporter.get_finished_spans()
    assert (span.name, dict(span.attributes or {})["server.address"]) == ("chat mini", "west.openai.azure.com")


def test_what_was_never_sent_has_no_span(telemetry: Telemetry, exporter: InMemorySpanExporter) -> None:
    telemetry.emit(record(outcome=Outcome.DROPPED, started_at=None, scheduled_at=1000.0))
    assert exporter.get_finished_spans() == ()


def test_what_is_not_sampled_says_so_to_the_target() -> None:
    telemetry = Telemetry(TracerProvider(sampler=ALWAYS_OFF), SETTINGS)
    assert telemetry.headers(CALL, 1)["traceparent"].endswith("-00")


def test_the_providers_other_tracers_keep_their_ids(exporter: InMemorySpanExporter) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Telemetry(provider, SETTINGS).emit(record())
    provider.get_tracer("other").start_span("own").end()
    own = exporter.get_finished_spans()[-1]
    assert own.context.trace_id not in (0, int(CALL, 16))


def test_metrics_of_the_conventions_as_the_sdk_reads_them(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)
    measured = Telemetry(TracerProvider(), SETTINGS)
    measured.emit(record(lag_ms=2.0, tbt_ms=31.0))
    measured.emit(record(outcome=Outcome.THROTTLED, ttft_ms=None, prompt_tokens=None, completion_tokens=None))
    data = reader.get_metrics_data()
    assert data is not None
    found = {metric.name: metric for scope in data.resource_metrics[0].scope_metrics for metric in scope.metrics}
    points = {name: [(p.count, p.sum) for p in metric.data.data_points] for name, metric in found.items()}  # type: ignore[union-attr]
    assert points["gen_ai.client.operation.duration"] == [(1, 1.5), (1, 1.5)]
    assert points["gen_ai.client.operation.time_to_first_chunk"] == [(1, 0.25)]
    assert points["gen_ai.client.operation.time_per_output_chunk"] == [(1, pytest.approx(0.031))]
    assert points["gen_ai.client.token.usage"] == [(1, 100), (1, 40)]
    assert points["tokenswarm.client.lag"] == [(1, 0.002)]
