"""Presets, fed with what others write: AG-UI's own encoder, and streams as applications of the field send them."""

from __future__ import annotations

import json
from typing import Any

import ollama
import pytest
from ag_ui import core
from ag_ui.encoder import EventEncoder
from ollama import _types as ollama_types

from tokenswarm.apis.api import Found
from tokenswarm.apis.request import ChatRequest
from tokenswarm.apps.app import App
from tokenswarm.apps.mapping import preset_names, read_mapping
from tokenswarm.record import Outcome

ASKED = ChatRequest(
    messages=[
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Two?"},
    ],
    session_id="s-1",
    conversation_id="s-1",
    keep_text=True,
    turn=2,
)


def app_of(preset: str, **more: str) -> App:
    given = {"app-preset": preset, **more}
    return App(read_mapping(given.get), "m-1")


def read(preset: str, *reads: str) -> tuple[Found, bool]:
    reader = app_of(preset).reader(ASKED, 200, {})
    ended = [reader.feed(data.encode(), 10.0 * number, 10.0 * number - 5) for number, data in enumerate(reads, 1)]
    return reader.finish(), ended[-1]


def encoded(*events: core.BaseEvent) -> list[str]:
    encoder = EventEncoder()
    return [encoder.encode(event) for event in events]


STARTED = core.RunStartedEvent(thread_id="t-1", run_id="r-1")
FINISHED = core.RunFinishedEvent(thread_id="t-1", run_id="r-1")
WORDS = [
    core.TextMessageContentEvent(message_id="m", delta=word, timestamp=170000 + n) for n, word in enumerate("abcd")
]


def test_ag_ui_as_its_own_package_encodes_it() -> None:
    tool = [core.ToolCallStartEvent(tool_call_id="c", tool_call_name="search"), core.ToolCallEndEvent(tool_call_id="c")]
    spoken = [core.TextMessageStartEvent(message_id="m"), *WORDS, core.TextMessageEndEvent(message_id="m")]
    found, ended = read(
        "ag-ui", *encoded(STARTED, core.StateSnapshotEvent(snapshot={"a": 1}), *tool, *spoken, FINISHED)
    )
    assert (found.outcome, found.text, ended) == (Outcome.OK, "abcd", True)
    assert (found.columns["chunks"], found.columns["conversation_id"]) == (4, "t-1")
    assert (found.columns["first_progress_ms"], found.columns["ttft_ms"]) == (30.0, 60.0)


@pytest.mark.parametrize("spoken", [[], WORDS[:2]])
def test_an_error_of_ag_ui(spoken: list[core.BaseEvent]) -> None:
    found, ended = read("ag-ui", *encoded(STARTED, *spoken, core.RunErrorEvent(message="no tool", code="E7")))
    assert (found.outcome, found.error, ended) == (Outcome.STREAM_ERROR, "E7: no tool", True)


def test_a_run_of_ag_ui_that_breaks_off() -> None:
    found, _ = read("ag-ui", *encoded(STARTED, *WORDS))
    assert found.outcome is Outcome.TRUNCATED


def test_ag_uis_own_model_reads_what_is_sent() -> None:
    body = json.loads(app_of("ag-ui").encode(ASKED).body)
    read_back = core.RunAgentInput.model_validate(body)
    assert [(each.role, each.content) for each in read_back.messages] == [
        (each["role"], each["content"]) for each in ASKED.messages
    ]
    assert read_back.thread_id == "s-1" and len({each.id for each in read_back.messages}) == 3


def events(*values: Any) -> list[str]:
    return [value if isinstance(value, str) else f"data: {json.dumps(value)}\n\n" for value in values]


UI_START = {"type": "start", "messageId": "m"}
DIFY = {"task_id": "t", "message_id": "m", "conversation_id": "c-7", "created_at": 1}
CALL = {"content": "", "tool_call_chunks": [{"name": "search"}]}
CHUNK = {"type": "AIMessageChunk", "id": "run-1", "additional_kwargs": {}}
FIELD: dict[str, tuple[list[str], list[str], str]] = {
    "vercel-ai-sdk": (
        events(
            UI_START,
            {"type": "start-step"},
            {"type": "tool-input-start", "toolCallId": "c", "toolName": "search"},
            {"type": "text-start", "id": "1"},
            {"type": "text-delta", "id": "1", "delta": "Two"},
            {"type": "text-delta", "id": "1", "delta": " years"},
            {"type": "text-end", "id": "1"},
            {"type": "finish"},
        ),
        events(UI_START, {"type": "error", "errorText": "no model"}),
        "no model",
    ),
    "dify": (
        events(
            "event: ping\n\n",
            {"event": "node_started", "data": {"title": "Retrieval"}, **DIFY},
            {"event": "message", "answer": "Two", **DIFY},
            {"event": "message", "answer": " years", **DIFY},
            {"event": "message_end", "metadata": {"usage": {"prompt_tokens": 9, "completion_tokens": 2}}, **DIFY},
        ),
        events({"event": "error", "status": 400, "code": "provider_quota_exceeded", "message": "no quota", **DIFY}),
        "provider_quota_exceeded: no quota",
    ),
    "langserve": (
        [
            'event: metadata\r\ndata: {"run_id": "r-1"}\r\n\r\n',
            f"event: data\r\ndata: {json.dumps({'content': 'Two', **CHUNK})}\r\n\r\n",
            'event: data\r\ndata: " years"\r\n\r\n',
            "event: end\r\n\r\n",
        ],
        ['event: error\r\ndata: {"status_code": 500, "message": "Internal Server Error"}\r\n\r\n'],
        "500: Internal Server Error",
    ),
    "langgraph": (
        [
            'event: metadata\ndata: {"run_id": "r-1", "attempt": 1}\n\n',
            f"event: messages\ndata: {json.dumps([{**CALL, **CHUNK}, {}])}\n\n",
            f"event: messages\ndata: {json.dumps([{'content': 'Two', **CHUNK}, {'langgraph_node': 'model'}])}\n\n",
            f"event: messages\ndata: {json.dumps([{'content': ' years', **CHUNK}, {'langgraph_node': 'model'}])}\n\n",
        ],
        ['event: error\ndata: {"error": "GraphRecursionError", "message": "limit of 25"}\n\n'],
        "limit of 25",
    ),
    "flowise": (
        [
            'message:\ndata:{"event":"start","data":"T"}\n\n',
            'message:\ndata:{"event":"usedTools","data":[{"tool":"search"}]}\n\n',
            'message:\ndata:{"event":"token","data":"Two"}\n\n',
            'message:\ndata:{"event":"token","data":" years"}\n\n',
            'message:\ndata:{"event":"metadata","data":{"chatId":"c-9","sessionId":"c-9"}}\n\n',
            'message:\ndata:{"event":"end","data":"[DONE]"}\n\n',
        ],
        ['message:\ndata:{"event":"error","data":"no flow"}\n\n'],
        "no flow",
    ),
    "ollama": (
        [
            '{"model":"m","created_at":"t","message":{"role":"assistant","content":"Two"},"done":false}\n',
            '{"model":"m","created_at":"t","message":{"role":"assistant","content":" years"},"done":false}\n',
            '{"model":"m","message":{"role":"assistant","content":""},"done":true,"prompt_eval_count":9,"eval_count":2}\n',
        ],
        ['{"error":"model runner has stopped"}\n'],
        "model runner has stopped",
    ),
}


@pytest.mark.parametrize("name", FIELD)
def test_an_answer_as_the_field_writes_it(name: str) -> None:
    good, _, _ = FIELD[name]
    found, _ = read(name, *good)
    assert (found.outcome, found.error, found.text) == (Outcome.OK, None, "Two years")
    assert found.columns["chunks"] == 2
    progress = name in ("vercel-ai-sdk", "dify", "langgraph", "flowise")
    assert (found.columns["first_progress_ms"] is not None) == progress
    assert found.columns.get("conversation_id") == {"dify": "c-7", "flowise": "c-9"}.get(name)
    assert (found.columns["completion_tokens"] == 2) == (name in ("dify", "ollama"))


@pytest.mark.parametrize("name", FIELD)
def test_an_error_as_the_field_writes_it(name: str) -> None:
    good, bad, error = FIELD[name]
    for reads in (bad, [*good[:-2], *bad]):
        found, ended = read(name, *reads)
        assert found.outcome is Outcome.STREAM_ERROR and ended
        assert error in (found.error or "")


@pytest.mark.parametrize("name", [name for name in FIELD if name not in ("langserve", "langgraph")])
def test_an_answer_that_breaks_off(name: str) -> None:
    good, _, _ = FIELD[name]
    assert read(name, *good[:-1])[0].outcome is Outcome.TRUNCATED


@pytest.mark.parametrize("name", preset_names())
def test_what_is_asked_is_json_with_the_question(name: str) -> None:
    assert "Two?" in json.dumps(json.loads(app_of(name).encode(ASKED).body))


def test_what_a_tool_gave_is_no_text_of_a_langgraph_answer() -> None:
    """As a server of langgraph-api 0.16.7 streams a graph with a tool: call, result and question are messages, too."""
    said: list[dict[str, Any]] = [
        {"content": "Two?", "type": "human", "id": "m-1"},
        {
            "content": "",
            "type": "ai",
            "tool_calls": [{"name": "get_weather", "args": {}, "id": "c", "type": "tool_call"}],
        },
        {"content": "18 degrees", "type": "tool", "tool_call_id": "c", "status": "success"},
        *(
            {"content": word, "type": "AIMessageChunk", "tool_calls": [], "tool_call_chunks": []}
            for word in ("It", " is")
        ),
    ]
    events = [f"event: messages\ndata: {json.dumps([each, {'langgraph_node': 'n'}])}\n\n" for each in said]
    found, _ = read("langgraph", 'event: metadata\ndata: {"run_id": "r-1"}\n\n', *events)
    assert (found.outcome, found.text, found.columns["chunks"]) == (Outcome.OK, "It is", 2)
    assert (found.columns["first_progress_ms"], found.columns["ttft_ms"]) == (30.0, 50.0)


def test_ollama_as_its_own_package_has_requests_and_answers() -> None:
    body = json.loads(app_of("ollama").encode(ASKED).body)
    asked = ollama_types.ChatRequest(**body).model_dump()["messages"]
    assert [ollama.Message(**each).content for each in asked] == ["One?", "1", "Two?"]
    message = [ollama.Message(role="assistant", content=word) for word in ("It", " is", "")]
    last = {"done_reason": "stop", "prompt_eval_count": 26, "eval_count": 2}
    lines = [ollama.ChatResponse(model="m", message=each, done=each is message[-1]) for each in message]
    lines[-1] = ollama.ChatResponse(model="m", message=message[-1], done=True, **last)
    found, ended = read("ollama", *(line.model_dump_json(exclude_none=True) + "\n" for line in lines))
    assert (found.outcome, found.text, ended) == (Outcome.OK, "It is", True)
    assert (found.columns["prompt_tokens"], found.columns["completion_tokens"]) == (26, 2)
