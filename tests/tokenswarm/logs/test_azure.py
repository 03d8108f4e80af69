from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tokenswarm.logs.test_litellm import imported, lines_of
from tokenswarm.traffic.__main__ import main
from tokenswarm.workload.traces import read_trace


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


def test_rows_of_log_analytics_are_read_as_az_writes_them(tmp_path: Path) -> None:
    """A list over several lines, columns in PascalCase, numbers as text."""
    source, made = tmp_path / "rows.json", tmp_path / "trace.csv"
    gateway = {"Type": "ApiManagementGatewayLogs", "TimeGenerated": "2026-11-28T09:00:00Z", "Method": "POST",
               "Url": "https://x/openai/deployments/d/chat/completions", "ResponseCode": 200, "RequestSize": "400",
               "ResponseSize": "80", "TableName": "PrimaryResult"}  # fmt: skip
    failed = gateway | {"ResponseCode": "429"}
    embedded = gateway | {"Url": "https://x/openai/deployments/d/embeddings"}
    source.write_text(json.dumps([gateway, failed, embedded], indent=2))
    assert main(["import", "azure", str(source), "-o", str(made)]) == 0
    assert [(row.context_tokens, row.max_tokens) for row in read_trace(made)] == [(100, 20)]
    diagnostic = {"Category": "RequestResponse", "TimeGenerated": "2026-11-28T09:00:00Z", "ResultSignature": "200",
                  "properties_s": '{"requestLength": 44, "responseLength": 8}'}  # fmt: skip
    source.write_text(json.dumps([diagnostic, diagnostic | {"ResultSignature": "400"}], indent=2))
    assert main(["import", "azure", str(source), "-o", str(made)]) == 0
    assert [(row.context_tokens, row.max_tokens) for row in read_trace(made)] == [(11, 2)]


def test_records_of_two_categories_would_count_a_call_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, made = tmp_path / "log", tmp_path / "trace.csv"
    tokens = {"category": "GatewayLlmLogs", "time": "2026-11-28T09:00:00Z", "properties": {
        "sequenceNumber": 0, "promptTokens": 26, "promptCachedTokens": 48_854, "completionTokens": 7}}  # fmt: skip
    gateway = {"category": "GatewayLogs", "time": "2026-11-28T09:00:00Z", "properties": {
        "url": "https://x/v1/messages", "method": "POST", "requestSize": 9000, "responseSize": 80}}  # fmt: skip
    probe = tokens | {"properties": {"requestId": "", "promptTokens": 0, "completionTokens": 0}}
    source.write_text("".join(json.dumps(record) + "\n" for record in (tokens, probe, gateway)))
    assert main(["import", "azure", str(source), "-o", str(made)]) == 2
    assert "expected records of one category" in capsys.readouterr().err
    assert main(["import", "azure", str(source), "-o", str(made), "--only", "GatewayLlmLogs"]) == 0
    assert [(row.context_tokens, row.max_tokens) for row in read_trace(made)] == [(48_880, 7)]  # Claude, cached


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


def test_further_records_of_one_request_are_none_of_their_own(tmp_path: Path) -> None:
    """The columns of the table ApiManagementGatewayLlmLog, as Microsoft's reference of it has them."""
    source, made = tmp_path / "log.jsonl", tmp_path / "trace.csv"
    first = {"Type": "ApiManagementGatewayLlmLog", "TimeGenerated": "2026-11-28T09:00:00Z", "CorrelationId": "c",
             "SequenceNumber": 0, "PromptTokens": 12, "CompletionTokens": 4, "TotalTokens": 16}  # fmt: skip
    pieces = [{**first, "SequenceNumber": 1, "PromptTokens": tokens, "RequestMessages": "x"} for tokens in (0, None)]
    source.write_text("".join(json.dumps(record) + "\n" for record in [first, *pieces]))
    assert main(["import", "azure", str(source), "-o", str(made)]) == 0
    assert [(row.context_tokens, row.max_tokens) for row in read_trace(str(made))] == [(12, 4)]


def lengths_of(source: Path, *options: str) -> list[tuple[int, int]]:
    made = source.with_name("trace.csv")
    assert main(["import", "azure", str(source), "-o", str(made), *options]) == 0
    return [(row.context_tokens, row.max_tokens) for row in read_trace(str(made))]


AT, RECORD = "2026-11-28T09:00:00.1234567Z", azure_record(requestLength=400, responseLength=80)
COLUMNS = {"TimeGenerated": AT, "Category": "requestresponse", "OperationName": "ChatCompletions_Create",
           "ResultSignature": "200", "properties_s": '{"RequestLength": "400", "responseLength": 80.0}'}  # fmt: skip
TYPED = {"TimeGenerated": AT, "Category": "GatewayLogs", "method_s": "POST", "url_s": "https://x/d/chat/completions",
         "responseCode_d": 200, "requestSize_d": 400, "responseSize_d": 80.0}  # fmt: skip
TABLES = {"tables": [{"name": "PrimaryResult", "columns": [{"name": name, "type": "string"} for name in COLUMNS],
                      "rows": [list(COLUMNS.values())]}]}  # fmt: skip


@pytest.mark.parametrize("line", [RECORD, {"records": [RECORD]}, COLUMNS, TYPED, TABLES, [COLUMNS],
                                  RECORD | {"properties": {"requestLength": 400, "responseLength": 80}}])  # fmt: skip
@pytest.mark.parametrize("indent", [None, 2])
def test_every_form_of_an_export_is_read(tmp_path: Path, line: Any, indent: int | None) -> None:
    """Of a storage account, of Event Hubs, of `az`, and of the API of Log Analytics; as Windows writes them, too."""
    source = tmp_path / "log.json"
    for before, end in ((b"", "\n"), (b"\xef\xbb\xbf", "\r\n")):
        source.write_bytes(before + (json.dumps(line, indent=indent) + "\n").replace("\n", end).encode())
        assert lengths_of(source) == [(100, 20)]


@pytest.mark.parametrize(
    "row",
    [
        {"Type": "AppDependencies", "DependencyType": "HTTP", "DurationMs": 5, "Properties": {}},
        {"Type": "AppRequests", "OperationId": "o", "Url": "https://x/v1/chat/completions", "Properties": "{}"},
        {"itemType": "dependency", "type": "SQL", "duration": 5, "customDimensions": "{}"},
    ],
)
def test_other_rows_of_application_insights_are_no_calls(tmp_path: Path, row: dict[str, Any]) -> None:
    source = tmp_path / "log.json"
    source.write_text(json.dumps([{"TimeGenerated": "2026-11-28T09:00:00Z", **row}, RECORD]))
    assert lengths_of(source) == [(100, 20)]


def test_what_is_no_model_call_is_counted_not_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "log.json"
    audit, thread = RECORD | {"category": "Audit"}, azure_record_of("Create_Thread", 638_515_262_815_394_150)
    source.write_text(json.dumps({"records": [audit, RECORD, thread]}) + '\n{"records": []}\n')
    assert lengths_of(source) == [(100, 20)]
    assert "left out: 0 calls without an answer or its length, and 3 that are" in capsys.readouterr().out


def test_bytes_of_a_stream_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, ticks = tmp_path / "log.json", 638_515_262_815_394_150
    kinds = ("Streaming", "Non-Streaming")
    records = [azure_record_of("ChatCompletions_Create", ticks, responseLength=6000, streamType=kind) for kind in kinds]
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert sorted(lengths_of(source)) == [(32, 20), (32, 1500)]
    said = "2 of the answers have lengths in bytes: 4 are taken for a token (--answer-bytes; 300 for 1 streamed one)"
    assert said in capsys.readouterr().out
    assert lengths_of(source, "--answer-bytes", "100") == [(32, 60)] * 2


def test_an_answer_that_api_management_logged_says_its_tokens(tmp_path: Path) -> None:
    source, body = tmp_path / "log.json", {"messages": [{"role": "user", "content": "Hi"}]}
    properties = {"method": "POST", "url": "https://x/d/chat/completions", "requestBody": json.dumps(body),
                  "responseCode": 200, "responseBody": '{"usage": {"completion_tokens": 8}}'}  # fmt: skip
    source.write_text(json.dumps({"category": "GatewayLogs", "time": AT, "properties": properties}))
    assert [asked["max_tokens"] for asked in imported(tmp_path, "azure", source)] == [8]


def test_spans_among_dependencies_of_application_insights_become_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By Microsoft's reference of the tables AppDependencies and AppTraces: attributes are texts, of 8,192 characters
    at most."""
    source = tmp_path / "rows.json"
    said = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}])
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4.1", "gen_ai.input.messages": said,
                  "gen_ai.usage.input_tokens": "9", "gen_ai.usage.output_tokens": "4",
                  "gen_ai.request.temperature": "0.5", "gen_ai.request.stream": "True"}  # fmt: skip
    row = {"Type": "AppDependencies", "TimeGenerated": AT, "DurationMs": 812.5, "Properties": json.dumps(attributes)}
    old = {"timestamp": AT, "duration": 812.5, "customDimensions": attributes}
    cut = old | {"customDimensions": attributes | {"gen_ai.input.messages": said + " " * 8192}}
    tool = old | {"customDimensions": {"gen_ai.operation.name": "execute_tool"}, "category": "other"}
    trace = {"Type": "AppTraces", "TimeGenerated": AT, "Properties": attributes}
    source.write_text(json.dumps([row, old, cut, tool, trace], indent=1))
    expected = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5, "stream": True,
                "max_tokens": 4}  # fmt: skip
    assert imported(tmp_path, "azure", source) == [expected] * 2
    assert "left out: 1 call without what was asked, and 2 that are about" in capsys.readouterr().out
