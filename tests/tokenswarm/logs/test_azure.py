from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tokenswarm.logs.test_litellm import lines_of
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
