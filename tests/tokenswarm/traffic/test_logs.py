from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tokenswarm.recordings.scan import scan
from tokenswarm.traffic.__main__ import main
from tokenswarm.traffic.logs import read_litellm
from tokenswarm.workload.traces import read_trace

SAID = [
    {"role": "user", "parts": [{"type": "text", "content": "Where is Anna's parcel?"}]},
    {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "find", "arguments": {"who": "Anna"}}]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "Lisbon"}]},
]
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where is Anna's parcel?"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"who": "Anna"}'}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "Lisbon"},
]  # fmt: skip


def made_by_the_sdk(path: Path, form: str, messages: bool = True) -> Path:
    """Three model calls and another span, through the SDK's own exporters."""
    provider, memory = TracerProvider(), InMemorySpanExporter()
    with path.open("w") as file:
        console = ConsoleSpanExporter(out=file, formatter=lambda span: (span.to_json(indent=None) or "") + "\n")
        provider.add_span_processor(SimpleSpanProcessor(memory if form == "otlp" else console))
        tracer = provider.get_tracer("app")
        for number in range(3):
            said = {"gen_ai.input.messages": json.dumps(SAID),
                    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}])}  # fmt: skip
            attributes: dict[str, Any] = {
                "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.request.temperature": 0.5,
                "gen_ai.conversation.id": "Anna-7", "gen_ai.usage.input_tokens": 30, "gen_ai.usage.output_tokens": 8,
                **(said if messages else {}),
            }  # fmt: skip
            begin = 1_790_000_000_000_000_000 + number * 1_500_000_000
            tracer.start_span("chat gpt-4o", attributes=attributes, start_time=begin).end(begin + 10**9)
        tracer.start_span("execute_tool find", attributes={"gen_ai.operation.name": "execute_tool"}).end()
        if form == "otlp":
            spans: tuple[ReadableSpan, ...] = memory.get_finished_spans()
            file.write(MessageToJson(encode_spans(spans), indent=None) + "\n")
    return path


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("form", ["sdk", "otlp"])
def test_spans_of_the_real_sdk_become_requests(tmp_path: Path, form: str) -> None:
    source, made = made_by_the_sdk(tmp_path / "spans.jsonl", form), tmp_path / "requests.jsonl"
    scenario = tmp_path / "replay.conf"
    assert main(["import", "otel", str(source), "-o", str(made), "--scenario", str(scenario)]) == 0
    found = lines_of(made)
    assert [line["body"]["messages"] for line in found] == [MESSAGES] * 3
    assert {line["session_id"] for line in found} == {"Anna-7"}
    assert found[0]["body"] | {"messages": []} == {
        "model": "gpt-4o",
        "messages": [],
        "temperature": 0.5,
        "max_tokens": 8,
    }
    index = scan(made, "chat", 0)
    assert [instant - index.instants_s[0] for instant in index.instants_s] == [0, 1.5, 3]
    assert f"requests = {made}" in scenario.read_text()


def test_spans_without_messages_become_a_trace(tmp_path: Path) -> None:
    source, made = made_by_the_sdk(tmp_path / "spans.jsonl", "sdk", messages=False), tmp_path / "trace.csv"
    assert main(["import", "otel", str(source), "-o", str(made), "--scale", "2"]) == 0
    assert [(row.offset_s, row.context_tokens, row.max_tokens) for row in read_trace(made)] == [
        (0, 60, 16), (1.5, 60, 16), (3, 60, 16),
    ]  # fmt: skip


def azure_record(**properties: Any) -> dict[str, Any]:
    return {"time": "2026-11-28T09:00:00.5Z", "category": "RequestResponse", "properties": json.dumps(properties)}


@pytest.mark.parametrize(
    ("form", "lines", "expected"),
    [
        ("azure", [json.dumps(azure_record(requestLength=401, responseLength=80))], (101, 20)),
        ("azure", [json.dumps({"TimeGenerated": "2026-11-28T09:00:00Z", "Category": "GatewayLlmLogs",
                               "properties": {"promptTokens": 70, "completionTokens": 9}})], (70, 9)),
    ],
)  # fmt: skip
def test_logs_of_lengths_become_a_trace(tmp_path: Path, form: str, lines: list[str], expected: tuple[int, int]) -> None:
    source, made = tmp_path / "log", tmp_path / "trace.csv"
    source.write_text("\n".join(lines) + "\n")
    assert main(["import", form, str(source), "-o", str(made)]) == 0
    assert [(row.context_tokens, row.max_tokens) for row in read_trace(made)] == [expected]


def azure_record_of(operation: str, ticks: int, **more: Any) -> dict[str, Any]:
    """As Azure OpenAI writes it: `time` is seconds after the request, whose own instant is in ticks."""
    properties = {"apiName": "Azure OpenAI API version 2023-07-01-preview", "requestTime": ticks, "requestLength": 128,
                  "responseTime": ticks + 10_212_370, "responseLength": 1411, "objectId": "", **more}  # fmt: skip
    return {"Tenant": "eastus", "category": "RequestResponse", "durationMs": 1021, "event": "ShoeboxCallResult",
            "operationName": operation, "properties": properties, "resultSignature": "200",
            "time": "2024-05-17T07:04:45.4350000Z"}  # fmt: skip


def test_azure_openai_says_when_a_request_came_and_which_had_a_model(tmp_path: Path) -> None:
    source, made = tmp_path / "log", tmp_path / "trace.csv"
    first = 638_515_262_815_394_150
    records = [azure_record_of("ChatCompletions_Create", first), azure_record_of("Create_Thread", first + 1),
               azure_record_of("ChatCompletions_Create", first + 25_000_000)]  # fmt: skip
    source.write_text(json.dumps({"records": records[:2]}) + "\n" + json.dumps(records[2]) + "\n")
    assert main(["import", "azure", str(source), "-o", str(made)]) == 0
    assert [(row.offset_s, row.context_tokens, row.max_tokens) for row in read_trace(made)] == [
        (0, 32, 353), (2.5, 32, 353),
    ]  # fmt: skip
    assert made.read_text().splitlines()[1].startswith("2024-05-17 07:04:41.539415")


def test_what_api_management_logged_with_its_body_becomes_a_request(tmp_path: Path) -> None:
    source, made = tmp_path / "log", tmp_path / "r.jsonl"
    body = {"model": "gpt-chat-pilot", "messages": [{"role": "user", "content": "Hi"}]}

    def logged(path: str, text: str | None) -> dict[str, Any]:
        properties = {"method": "POST", "backendUrl": f"https://x.openai.azure.com/openai/{path}?api-version=1",
                      "backendRequestBody": text, "requestSize": 536, "responseSize": 1604}  # fmt: skip
        return {"category": "GatewayLogs", "operationName": "Microsoft.ApiManagement/GatewayLogs",
                "properties": properties, "time": "2024-07-02T06:31:31.4465902Z"}  # fmt: skip

    chat, text = "deployments/d/chat/completions", json.dumps(body)
    lines = [logged(chat, text), logged(chat, text[:30]), logged("models", None)]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["import", "azure", str(source), "-o", str(made)]) == 0
    assert [(line["url"], line["body"]) for line in lines_of(made)] == [("/v1/chat/completions", body)]


def test_a_log_without_what_is_needed_is_named_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, made = tmp_path / "log", tmp_path / "trace.csv"
    source.write_text(
        json.dumps(azure_record(requestLength=4, responseLength=9))
        + "\n"
        + json.dumps(azure_record(apiName="x"))
        + "\nx\n"
    )
    assert main(["import", "azure", str(source), "-o", str(made)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{source}:2: expected requestLength or promptTokens in properties, got neither",
        f"{source}:3: expected a JSON object, got text that is none",
    ]
    assert not made.exists()
    assert main(["import", "azure", str(source), "-o", str(made), "--skip-bad", "2"]) == 0


def test_what_litellm_wrote_becomes_requests(tmp_path: Path) -> None:
    """Three calls through LiteLLM 1.110.2, as its own CustomLogger was handed them: plain, with a tool, streamed."""
    source, made = Path(__file__).with_name("litellm_1_110.jsonl"), tmp_path / "r.jsonl"
    assert main(["import", "litellm", str(source), "-o", str(made)]) == 0
    found = lines_of(made)
    brief = {"role": "system", "content": "Be brief."}
    assert [line["body"]["messages"] for line in found] == [
        [brief, {"role": "user", "content": "Question 0"}], [brief, {"role": "user", "content": "Question 1"}],
        [{"role": "user", "content": "Stream"}],
    ]  # fmt: skip
    assert [line["body"]["max_tokens"] for line in found] == [5, 5, 5]
    assert ["tools" in line["body"] for line in found] == [False, True, False]
    assert [line["body"].get("stream") for line in found] == [None, None, True]
    assert [line.get("session_id") for line in found][:2] == ["s1", "s1"]
    assert len(scan(made, "chat", 0)) == 3


def test_a_sample_keeps_whole_sessions(tmp_path: Path) -> None:
    source, made = tmp_path / "log", tmp_path / "r.jsonl"
    said = [{"role": "user", "content": "Hi"}]
    payloads = [{"trace_id": f"s{number % 40}", "startTime": number, "messages": said} for number in range(200)]
    source.write_text("".join(json.dumps(payload) + "\n" for payload in payloads))
    assert main(["import", "litellm", str(source), "-o", str(made), "--sample", "0.5"]) == 0
    counts: dict[str, int] = {}
    for line in lines_of(made):
        counts[line["session_id"]] = counts.get(line["session_id"], 0) + 1
    assert set(counts.values()) == {5} and 8 <= len(counts) <= 32


@pytest.mark.parametrize("at", [1_790_000_000, 1_790_000_000_000, 1_790_000_000_000_000, "1790000000000000000",
                                "2026-09-21T14:13:20Z"])  # fmt: skip
def test_instants_are_read_in_any_unit(at: Any) -> None:
    (request,) = read_litellm(json.dumps({"startTime": at, "prompt_tokens": 3}).encode())
    assert request.at_s == 1_790_000_000


@pytest.mark.parametrize("at", [None, "soon", "1e400", -1, [], "0001-01-01T00:00:00Z", 10**40, {}])
def test_what_is_no_instant_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], at: Any) -> None:
    source = tmp_path / "log.jsonl"
    source.write_text(json.dumps({"startTime": at, "prompt_tokens": 3}) + "\n")
    assert main(["import", "litellm", str(source), "-o", str(tmp_path / "o")]) == 2
    assert f"{source}:1: expected an instant" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_further_records_of_one_request_are_none_of_their_own(tmp_path: Path) -> None:
    """The columns of the table ApiManagementGatewayLlmLog, as Microsoft's reference of it has them."""
    source, made = tmp_path / "log.jsonl", tmp_path / "trace.csv"
    first = {"Type": "ApiManagementGatewayLlmLog", "TimeGenerated": "2026-11-28T09:00:00Z", "CorrelationId": "c",
             "SequenceNumber": 0, "PromptTokens": 12, "CompletionTokens": 4, "TotalTokens": 16}  # fmt: skip
    pieces = [{**first, "SequenceNumber": 1, "PromptTokens": tokens, "RequestMessages": "x"} for tokens in (0, None)]
    source.write_text("".join(json.dumps(record) + "\n" for record in [first, *pieces]))
    assert main(["import", "azure", str(source), "-o", str(made)]) == 0
    assert [(row.context_tokens, row.max_tokens) for row in read_trace(str(made))] == [(12, 4)]
