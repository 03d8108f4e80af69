from __future__ import annotations

import json
import math
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


WHERE = [{"role": "system", "content": "Be brief, in json."}, {"role": "user", "content": "Where is the parcel?"}]
FOUND = [
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"who": "Anna"}'}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "Lisbon"},
]  # fmt: skip
FIND = {
    "name": "find",
    "description": "Finds",
    "parameters": {"type": "object", "properties": {"who": {"type": "string"}}},
}


def test_spans_of_the_instrumentation_for_openai_become_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """opentelemetry-instrumentation-openai-v2 2.4b0 with `SPAN_ONLY`, as OTLP JSON: chat whole, streamed with and
    without usage, after a tool; with an image, of which the span has no part; embeddings; a model that does not exist.
    """
    found = imported(tmp_path, "otel", Path(__file__).with_name("otel_openai_v2.jsonl"))
    assert "5 requests; left out: 1 call without what was asked" in capsys.readouterr().out
    assert [body["messages"] for body in found] == [WHERE, WHERE, WHERE, WHERE + FOUND, WHERE]
    assert [body.get("max_tokens") for body in found] == [6, 7, None, 8, None]  # in OTLP, whole numbers are text
    assert found[0]["temperature"] == 0.5


def test_spans_of_traceloop_become_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """opentelemetry-instrumentation-openai 0.62.4 (chat, streamed, after a tool; with an image; embeddings; responses)
    and 0.47.0, with attributes as gen_ai.prompt.0.content (chat, streamed, after a tool; with an image; embeddings)."""
    found = imported(tmp_path, "otel", Path(__file__).with_name("otel_traceloop.jsonl"))
    assert "7 requests; left out: 2 calls without what was asked, and 2 that" in capsys.readouterr().out
    short = [{"role": "system", "content": "Short."}, {"role": "user", "content": "Tell me"}]
    found.sort(key=lambda body: body["messages"] == short)
    assert [body["messages"] for body in found[:-1]] == [WHERE, WHERE, WHERE + FOUND] * 2
    assert [body.get("stream") for body in found] == [None, True, None, None, True, None, None]
    assert [body["max_tokens"] for body in found] == [6, 7, 8, 6, 7, 8, 16]
    assert [body.get("tools") for body in found[2:6:3]] == [[{"type": "function", "function": FIND}]] * 2


def span_of(**attributes: Any) -> str:
    begin = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 4, "gen_ai.usage.output_tokens": 2}
    return json.dumps({"start_time": "2026-11-28T18:00:00Z", "attributes": begin | attributes}) + "\n"


TEXT = {"type": "text", "content": "Hi"}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([TEXT, {"type": "reasoning", "content": "Hm"}], "Hi"),
        ([TEXT, {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "aa=="}], [
            {"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aa=="}}]),
        ([TEXT, {"type": "uri", "modality": "audio", "uri": "https://x"}], None),
        ([TEXT, {"type": "something new"}], None),
        ([], None),
    ],
)  # fmt: skip
def test_messages_of_which_a_span_lacks_a_part_are_left_out(tmp_path: Path, parts: list[Any], expected: Any) -> None:
    source = tmp_path / "spans.jsonl"
    given = [{"role": "user", "parts": [TEXT]}, {"role": "user", "parts": parts}]
    cut = json.dumps(given)[:-9]
    texts = [json.dumps(given[:1]), json.dumps(given), cut]
    source.write_text("".join(span_of(**{"gen_ai.input.messages": text}) for text in texts))
    found = imported(tmp_path, "otel", source)
    assert [body["messages"][-1]["content"] for body in found] == (["Hi"] if expected is None else ["Hi", expected])


EVENT = "gen_ai.client.inference.operation.details"


def test_log_records_do_not_say_when_a_request_began(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As openai-v2 writes with `EVENT_ONLY`; other log records and metrics in a collector's file are passed over."""
    source = tmp_path / "log.jsonl"
    event = {"body": None, "attributes": {"gen_ai.operation.name": "chat"}, "timestamp": None,
             "observed_timestamp": "2026-11-28T18:12:48Z", "event_name": EVENT}  # fmt: skip
    source.write_text('{"resourceMetrics": []}\n{"resourceLogs": [{"scopeLogs": []}]}\n' + json.dumps(event) + "\n")
    assert main(["import", "otel", str(source), "-o", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err.startswith(
        f"{source}:3: expected spans, which say when a request began, got gen_ai."
    )


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


LITELLM = Path(__file__).with_name("litellm_1_110.jsonl")
"""Nine calls through LiteLLM 1.110.2 to the simulator, as its CustomLogger was handed them on 2026-11-28, without what
LiteLLM knows of models and of errors: chat plain, with a tool, streamed; embeddings; responses, streamed and with a
tool's result; messages with a tool's result; a chat that failed; a chat under `turn_off_message_logging`."""
BRIEF, ASKED = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Question 0"}


def imported(tmp_path: Path, form: str, source: Path, *options: str) -> list[dict[str, Any]]:
    made = tmp_path / "r.jsonl"
    assert main(["import", form, str(source), "-o", str(made), *options]) == 0
    asks = options[1] if options else "chat"
    assert len(scan(made, asks, 0)) == len(lines_of(made))
    return [line["body"] for line in lines_of(made)]


def test_what_litellm_wrote_becomes_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = imported(tmp_path, "litellm", LITELLM, "--only", "chat")
    assert "4 requests; left out: 1 call without what was asked, and 4 that" in capsys.readouterr().out
    assert [body["messages"] for body in found] == [
        [BRIEF, ASKED], [BRIEF, ASKED], [{"role": "user", "content": "Stream"}], [BRIEF, ASKED],
    ]  # fmt: skip
    assert [body["max_tokens"] for body in found] == [5, 5, 5, 5]
    assert ["tools" in body for body in found] == [False, True, False, False]
    assert [body.get("stream") for body in found] == [None, None, True, None]
    sessions = [line["session_id"] for line in lines_of(tmp_path / "r.jsonl")]
    assert sessions[:2] == ["s1", "s1"] and len(set(sessions)) == 3


def test_calls_of_other_apis_become_requests_to_them(tmp_path: Path) -> None:
    assert imported(tmp_path, "litellm", LITELLM, "--only", "embeddings") == [
        {"model": "text-embedding-3-small", "input": ["a b", "c"]}
    ]
    streamed, with_tool = imported(tmp_path, "litellm", LITELLM, "--only", "responses")
    assert streamed == {
        "model": "quick", "input": [{"role": "user", "content": "Again"}], "max_output_tokens": 16, "stream": True,
    }  # fmt: skip
    assert [item.get("type") for item in with_tool["input"]] == [None, "function_call", "function_call_output"]
    (messages,) = imported(tmp_path, "litellm", LITELLM, "--only", "messages")
    assert messages["messages"][2]["content"][0]["type"] == "tool_result" and messages["max_tokens"] == 6


def test_calls_of_the_messages_api_beside_others_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "litellm", str(LITELLM), "-o", str(tmp_path / "r.jsonl")]) == 2
    assert "expected calls of the messages API alone or of others, got both" in capsys.readouterr().err


@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_of_payloads_is_read_like_lines(tmp_path: Path, indent: int | None) -> None:
    """As LiteLLM's generic logger posts them, and as a person has them from its pages; two lists are no list."""
    source = tmp_path / "log.json"
    text = json.dumps(lines_of(LITELLM), indent=indent) + "\n"
    source.write_text(text)
    assert len(imported(tmp_path, "litellm", source, "--only", "chat")) == 4
    source.write_text(text * 2)
    code = main(["import", "litellm", str(source), "-o", str(tmp_path / "r.jsonl"), "--only", "chat"])
    assert (code, len(lines_of(tmp_path / "r.jsonl"))) == ((2, 4) if indent else (0, 8))


def test_what_litellm_left_out_or_cut_is_nothing_that_was_asked(tmp_path: Path) -> None:
    """The redacted chat, a streamed one without a count, a cut one, a failed one, a row of the spend log."""
    *_, failed, redacted = lines_of(LITELLM)
    source, made = tmp_path / "log.jsonl", tmp_path / "trace.csv"
    row = {"call_type": "acompletion", "startTime": "2026-11-28T18:00:00+00:00", "prompt_tokens": 9,
           "completion_tokens": 4, "messages": "{}", "proxy_server_request": "{}", "status": "success"}  # fmt: skip
    uncounted = redacted | {"prompt_tokens": 0, "completion_tokens": 0, "stream": True}
    entries = [redacted, uncounted, redacted | {"messages": "[{'role': 'user', 'content': '..."},
               failed | {"messages": None}, row]  # fmt: skip
    source.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert main(["import", "litellm", str(source), "-o", str(made)]) == 0
    assert sorted((row.context_tokens, row.max_tokens) for row in read_trace(made)) == [(9, 4), (17, 5), (17, 5)]


@pytest.mark.parametrize(
    ("call", "given", "expected"),
    [
        ("acompletion", {"max_completion_tokens": 9}, {"max_completion_tokens": 9}),
        ("acompletion", {"seed": 3, "stop": None, "litellm_metadata": {"a": 1}}, {"seed": 3, "max_tokens": 7}),
        ("aresponses", {}, {"max_output_tokens": 16}),
        ("aresponses", {"previous_response_id": "r"}, None),
        ("atext_completion", {}, {"max_tokens": 7}),
        ("aembedding", {"dimensions": 8}, {"dimensions": 8}),
        ("acompletion", {"max_tokens": "9"}, {"max_tokens": "9"}),
        ("_arealtime", {}, None),
    ],
)
def test_parameters_are_those_of_the_api(
    tmp_path: Path, call: str, given: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    payload = {"call_type": call, "startTime": 1, "messages": [{"role": "user", "content": "Hi"}], "model": "m",
               "model_parameters": given, "prompt_tokens": 3, "completion_tokens": 7}  # fmt: skip
    source = tmp_path / "log.jsonl"
    other = payload | {"call_type": "acompletion", "model_parameters": {}}
    source.write_text(f"{json.dumps(payload)}\n{json.dumps(other)}\n")
    (body, *_) = imported(tmp_path, "litellm", source)
    content = {"messages", "input", "prompt", "model"}
    if expected is None:
        assert len(lines_of(tmp_path / "r.jsonl")) == 1
    else:
        assert {name: value for name, value in body.items() if name not in content} == expected


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


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"messages": [{"content": "Hi"}]}, "message 1: expected an object with a role, got one without"),
        ({"model_parameters": {"temperature": math.inf}}, "expected what litellm writes, got something else"),
        ({"trace_id": {}}, "expected an id of a session, got an object"),
    ],
)
def test_what_would_be_no_request_later_is_named_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, Any], problem: str
) -> None:
    source = tmp_path / "log.jsonl"
    payload = {"startTime": 1, "messages": [{"role": "user", "content": "Hi"}], "trace_id": "a"}
    source.write_text(f"{json.dumps(payload)}\n{json.dumps(payload | wrong)}\n")
    assert main(["import", "litellm", str(source), "-o", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err == f"{source}:2: {problem}\n"


def test_further_records_of_one_request_are_none_of_their_own(tmp_path: Path) -> None:
    """The columns of the table ApiManagementGatewayLlmLog, as Microsoft's reference of it has them."""
    source, made = tmp_path / "log.jsonl", tmp_path / "trace.csv"
    first = {"Type": "ApiManagementGatewayLlmLog", "TimeGenerated": "2026-11-28T09:00:00Z", "CorrelationId": "c",
             "SequenceNumber": 0, "PromptTokens": 12, "CompletionTokens": 4, "TotalTokens": 16}  # fmt: skip
    pieces = [{**first, "SequenceNumber": 1, "PromptTokens": tokens, "RequestMessages": "x"} for tokens in (0, None)]
    source.write_text("".join(json.dumps(record) + "\n" for record in [first, *pieces]))
    assert main(["import", "azure", str(source), "-o", str(made)]) == 0
    assert [(row.context_tokens, row.max_tokens) for row in read_trace(str(made))] == [(12, 4)]
