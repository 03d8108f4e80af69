from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson, Parse
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.tokenswarm.logs.test_litellm import imported, lines_of
from tokenswarm.recordings.scan import scan
from tokenswarm.traffic.__main__ import main
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


def test_log_records_are_read_by_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """openai-v2 2.4b0 with `SPAN_AND_EVENT`, as OTLP: a call has a span and a log record, written when it ended."""
    source = Path(__file__).with_name("otel_events.jsonl")
    assert main(["import", "otel", str(source), "-o", str(tmp_path / "o")]) == 2
    assert (
        "expected records of one category, as a call has one of each; got events and spans" in capsys.readouterr().err
    )
    spans = imported(tmp_path, "otel", source, "--only", "spans")
    began = [line["timestamp"] for line in lines_of(tmp_path / "r.jsonl")]
    assert "are those of ends" not in capsys.readouterr().out
    assert imported(tmp_path, "otel", source, "--only", "events") == spans and len(spans) == 5
    assert "6 of the instants are those of ends" in capsys.readouterr().out
    ended = [line["timestamp"] for line in lines_of(tmp_path / "r.jsonl")]
    assert all(0 < end - begin < 1 for begin, end in zip(began, ended, strict=True))


def test_other_log_records_and_metrics_are_passed_over_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last as the SDK writes it (`LogRecord.to_json`)."""
    source = tmp_path / "log.jsonl"
    said = {"eventName": "gen_ai.user.message", "observedTimeUnixNano": "1790000000000000000", "attributes": []}
    event = {"body": None, "attributes": {"gen_ai.operation.name": "chat", "gen_ai.input.messages": SAID},
             "timestamp": None, "observed_timestamp": "2026-11-28T18:12:48Z", "event_name": EVENT}  # fmt: skip
    lines = [{"resourceMetrics": []}, {"resourceLogs": [{"scopeLogs": [{"logRecords": [said, said]}]}]}, event]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [body["messages"] for body in imported(tmp_path, "otel", source)] == [MESSAGES[1:]]
    assert "and 3 that are about something else" in capsys.readouterr().out


BRIEF = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is the parcel?"}]
FIND_WHO = FIND | {"parameters": FIND["parameters"] | {"required": ["who"]}}
CONVERSATIONS = [BRIEF, BRIEF, BRIEF + FOUND]
"""Plain, streamed, after a tool; then each writer's own."""
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
IMAGE = {
    "role": "user",
    "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
}


@pytest.mark.parametrize(
    ("writer", "count", "others", "streamed"),
    [
        ("otel_traceloop_js", 6, 0, None),  # it does not write whether an answer was streamed
        ("otel_vercel", 6, 8, True),
        ("otel_openinference", 8, 1, True),
        ("otel_logfire", 8, 2, None),
        ("otel_logfire_1", 6, 2, True),
        ("otel_litellm", 6, 7, True),
        ("otel_azure", 4, 4, None),
    ],
)
def test_spans_of_other_writers_become_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], writer: str, count: int, others: int, streamed: bool | None
) -> None:
    """As `BatchSpanProcessor` posted them from JavaScript (@traceloop/instrumentation-openai 0.27, the AI SDK 6.0.326)
    and the SDK wrote them in Python (OpenInference 0.1.66, Logfire 5.4, and that with `version=1`, LiteLLM 1.108,
    azure-ai-inference 1.0.0b9), without resources, answers and vectors. Four calls are alike: plain, streamed, after a
    tool, with an image."""
    found = imported(tmp_path, "otel", Path(__file__).with_name(f"{writer}.jsonl"))
    assert f"{count} requests" in (out := capsys.readouterr().out) and f"and {others} that are about" in out
    assert [body["messages"] for body in found[:4]] == [*CONVERSATIONS, [IMAGE]]
    assert [body["max_tokens"] for body in found[:4]] == [6, 7, 8, 9]
    assert [body.get("stream") for body in found[:4]] == [None, streamed, None, None]
    tools = None if writer == "otel_azure" else [{"type": "function", "function": FIND_WHO}]  # which it does not write
    assert [body.get("tools") for body in found[:4]] == [None, None, tools, None]
    assert found[0]["temperature"] == 0.5 and {body["model"] for body in found} <= {"gpt-4.1-mini", "nope"}


def test_a_span_with_the_body_itself_becomes_that_body_for_its_api(tmp_path: Path) -> None:
    source = Path(__file__).with_name("otel_openinference.jsonl")
    found = imported(tmp_path, "otel", source)
    assert [line["url"] for line in lines_of(tmp_path / "r.jsonl")][-2:] == ["/v1/responses"] * 2
    assert (found[4]["stop"], found[4]["response_format"]) == (["END"], {"type": "json_object"})
    assert found[6] == {
        "model": "gpt-4.1-mini", "input": "Tell me", "instructions": "Be brief.", "max_output_tokens": 16,
    }  # fmt: skip
    without = tmp_path / "spans.jsonl"
    without.write_text(source.read_text().replace('"input.value"', '"input.values"'))
    flat = imported(tmp_path, "otel", without)  # of the attributes, as of frameworks whose input is no body
    assert [body["messages"] for body in flat[:4]] == [*CONVERSATIONS, [IMAGE]]
    assert [body.get("tools") for body in flat] == [body.get("tools") for body in found]
    assert (flat[1]["stream"], flat[4]["stop"]) == (True, ["END"])
    assert flat[7]["messages"][1]["tool_calls"][0]["function"]["name"] == "find"  # numbered from 1 there


@pytest.mark.parametrize(
    ("body", "url"),
    [
        ({"system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}]}, "/v1/messages"),
        ({"prompt": "Hi"}, "/v1/completions"),
        ({"input": "Hi", "previous_response_id": "r"}, None),
        ({"messages": [{"role": "user", "blocks": [{"text": "Hi"}]}]}, None),
    ],
)
def test_a_body_is_one_of_an_api_or_none(tmp_path: Path, body: dict[str, Any], url: str | None) -> None:
    source = tmp_path / "spans.jsonl"
    given = {"model": "m", **body}
    other = span_of(**{"gen_ai.input.messages": json.dumps(SAID)}) if url is None else ""
    source.write_text(other + span_of(**{"input.value": json.dumps(given | {"extra_headers": {"Authorization": "x"}})}))
    assert main(["import", "otel", str(source), "-o", str(tmp_path / "r.jsonl")]) == 0
    (line,) = lines_of(tmp_path / "r.jsonl")
    assert (line["url"], "extra_headers" in line["body"]) == (url or "/v1/chat/completions", False)


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [("outer", "inner", "inner"), ("outer", None, "outer"), (None, "inner", "inner"), (None, None, None)],
)
def test_of_spans_within_each_other_one_is_the_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], outer: str | None, inner: str | None, expected: str | None
) -> None:
    """As a framework and the client that it calls have them, which end from the inside out; a tool is no call."""
    lines = []
    for number, (said, parent) in enumerate([(inner, 1), (outer, 2), ("another", 2), (None, None)]):
        asked = {"gen_ai.input.messages": json.dumps([{"role": "user", "content": said}])} if said else {}
        span = json.loads(span_of(**asked, **{"gen_ai.operation.name": "chat" if parent else "execute_tool"}))
        ids = {"context": {"span_id": f"0x{number}"}, "parent_id": f"0x{parent}" if parent == 1 else None}
        span["attributes"] |= {"gen_ai.conversation.id": "s"} if number == 1 else {}
        lines.append(json.dumps(span | ids | {"start_time": f"2026-11-28T18:00:0{number}Z"}) + "\n")
    source = tmp_path / "spans.jsonl"
    source.write_text("".join(lines))
    found = [body["messages"][0]["content"] for body in imported(tmp_path, "otel", source)]
    assert found == ["another"] if expected is None else sorted(found) == sorted([expected, "another"])
    sessions = [line.get("session_id") for line in lines_of(tmp_path / "r.jsonl")]
    assert sessions == [None] if expected is None else sorted(map(str, sessions)) == ["None", "s"]
    said_of_others = f"left out: {1 if expected is None else 0} call{'' if expected is None else 's'} without"
    assert said_of_others in (out := capsys.readouterr().out) and "1 span left out: their calls have another one" in out


def test_two_spans_of_one_call_that_nothing_joins_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As OpenInference writes for LangChain and for its client: two traces."""
    source = tmp_path / "spans.jsonl"
    span = json.loads(span_of(**{"gen_ai.input.messages": json.dumps(SAID[:1])}))
    for second, is_said in ((0, True), (1, False)):
        spans = [span | {"context": {"span_id": "0x1"}},
                 span | {"context": {"span_id": "0x2"}, "start_time": f"2026-11-28T18:00:0{second}.02Z"}]  # fmt: skip
        source.write_text("".join(json.dumps(each) + "\n" for each in spans))
        assert len(imported(tmp_path, "otel", source)) == 2
        assert ("Some requests ask what another does" in capsys.readouterr().out) is is_said
    imported(tmp_path, "otel", Path(__file__).with_name("otel_litellm.jsonl"))
    assert "Some requests ask" not in capsys.readouterr().out


def test_a_count_of_no_tokens_is_none(tmp_path: Path) -> None:
    """As LiteLLM has it of a stream without usage: it would be a limit of one token."""
    source = tmp_path / "spans.jsonl"
    source.write_text(span_of(**{"gen_ai.input.messages": json.dumps(SAID[:1]), "gen_ai.usage.output_tokens": 0}))
    assert "max_tokens" not in imported(tmp_path, "otel", source)[0]


def test_a_prompt_that_is_shorter_than_its_tokens_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of openai-v2, which does not write tools."""
    source, said = tmp_path / "spans.jsonl", {"gen_ai.input.messages": json.dumps(SAID[:1])}
    source.write_text("".join(span_of(**said, **{"gen_ai.usage.input_tokens": tokens}) for tokens in (30, 900)))
    imported(tmp_path, "otel", source)
    assert "1 of the prompts are shorter than the tokens that the log has for them" in capsys.readouterr().out
    imported(tmp_path, "otel", Path(__file__).with_name("otel_traceloop.jsonl"))
    assert "are shorter than" not in capsys.readouterr().out


@pytest.mark.parametrize("lost", [{"gen_ai.system_instructions": "Be brief."}, {"gen_ai.prompt.0.role": "user"},
                                  {"gen_ai.input.messages": '[{"role": "user", "content": null}]'}])  # fmt: skip
def test_a_span_without_what_was_asked_is_no_request(tmp_path: Path, lost: dict[str, Any]) -> None:
    source, made = tmp_path / "spans.jsonl", tmp_path / "trace.csv"
    source.write_text(span_of(**lost))
    assert main(["import", "otel", str(source), "-o", str(made)]) == 0
    assert [(row.context_tokens, row.max_tokens) for row in read_trace(made)] == [(4, 2)]


@pytest.mark.parametrize("form", ["snake", "list", "tempo", "tempo 2"])
def test_otlp_is_read_in_other_forms(tmp_path: Path, form: str) -> None:
    source, made = made_by_the_sdk(tmp_path / "spans.jsonl", "otlp"), tmp_path / "requests.jsonl"
    entry = json.loads(source.read_text())
    written = {
        "snake": MessageToJson(Parse(source.read_text(), TracesData()), indent=None, preserving_proto_field_name=True),
        "list": json.dumps([entry]),
        "tempo": json.dumps({"batches": entry["resourceSpans"]}),
        "tempo 2": json.dumps({"trace": entry}),
    }
    source.write_text(written[form])
    assert main(["import", "otel", str(source), "-o", str(made)]) == 0
    assert [line["body"]["messages"] for line in lines_of(made)] == [MESSAGES] * 3


@pytest.mark.parametrize("line", [{"data": [{"traceID": "a"}]}, [{"traceId": "a", "tags": {}}], {"run_type": "llm"}])
def test_spans_of_other_formats_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: Any) -> None:
    """As Jaeger, Zipkin and LangSmith write them."""
    source = tmp_path / "spans.jsonl"
    source.write_text(json.dumps(line))
    assert main(["import", "otel", str(source), "-o", str(tmp_path / "o")]) == 2
    assert f"{source}:1: expected a span as the OpenTelemetry SDK writes it, or OTLP JSON" in capsys.readouterr().err


def test_a_scenario_names_a_locustfile_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, too."""
    source = made_by_the_sdk(tmp_path / "spans.jsonl", "sdk")
    monkeypatch.chdir(tmp_path)
    assert main(["import", "otel", str(source), "-o", "r.jsonl", "--scenario", "replay.conf"]) == 0
    (named,) = re.findall("^locustfile = (.*)$", Path("replay.conf").read_text(), re.MULTILINE)
    assert Path(named).is_file()


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
