"""The front ends over real connections, read by libraries that are not ours where there are any."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
import websocket
from ag_ui.core import Event
from ag_ui.encoder import EventEncoder
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from tests.simulator_process import API_KEY, Simulator, running_simulator

FAST = "ttft_base_ms = 5\nttft_std_ms = 0\nttft_per_token_ms = 0\ntbt_ms = 2\ntbt_std_ms = 0\n"
CONFIG = f"[deployments.'gpt-4.1-nano']\n{FAST}\n[rag]\nanswer_tokens = 12\nretrieval_delay_ms = 30\n"
QUESTION = "How long is the warranty of a frame?"
TOKENS = 12
MESSAGES = [{"role": "user", "content": QUESTION}]
RUN = {"threadId": "t-1", "runId": "r-1", "messages": [{"id": "m", **MESSAGES[0]}], "tools": [], "context": []}
STREAMED: dict[str, Any] = {
    "/chat/stream": {"messages": MESSAGES},
    "/ag-ui": RUN,
    "/score": {"question": QUESTION, "chat_history": []},
    "/app/text": {"question": QUESTION},
    "/app/jsonl": {"question": QUESTION},
    "/responses": {"input": QUESTION, "stream": True},
    "/invocations": {"messages": MESSAGES},
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def http(simulator: Simulator) -> Iterator[httpx2.Client]:
    headers = {"authorization": f"Bearer {API_KEY}", "accept": "text/event-stream, */*"}
    with httpx2.Client(base_url=simulator.rag_url, headers=headers, timeout=20) as client:
        yield client


def app_row(simulator: Simulator) -> dict[str, Any]:
    return [row for row in simulator.truth() if row["target"] == "app"][-1]


def lines(answer: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


def events(answer: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]


def checked_row(simulator: Simulator, api: str, progress: bool) -> dict[str, Any]:
    row = app_row(simulator)
    assert (row["api"], row["status"], row["outcome"], row["chunks"]) == (api, 200, "ok", TOKENS)
    assert (row["first_progress_at"] is not None) == progress
    assert row["received_at"] < row["first_token_at"] < row["last_token_at"] <= row["finished_at"]
    if progress:
        assert row["received_at"] < row["first_progress_at"] < row["first_token_at"]
    assert list(row["stages"]) == ["history", "triage", "retrieval", "generation", "persist"]
    return row


def test_ai_chat_protocol_sends_its_context_first_and_then_the_answer(simulator, http):
    answer = http.post("/chat/stream", json=STREAMED["/chat/stream"])
    assert answer.headers["content-type"] == "application/jsonl"
    first, *rest = lines(answer)
    assert first["delta"] == {"role": "assistant"}
    assert first["context"]["data_points"]["text"]
    assert [set(one) for one in rest] == [{"delta"}] * TOKENS
    row = checked_row(simulator, "ai-chat-protocol", progress=True)
    assert first["session_state"] == row["conversation_id"]
    again = {"messages": [{"role": "user", "content": "and of a wheel?"}], "session_state": first["session_state"]}
    whole = http.post("/chat", json=again).json()
    assert len(whole["message"]["content"].split()) == TOKENS
    assert whole["session_state"] == first["session_state"]
    refused = http.post("/chat", json={"messages": []})
    assert (refused.status_code, set(refused.json())) == (400, {"error"})


def test_ag_ui_events_are_what_its_own_package_reads_and_writes(simulator, http):
    answer = http.post("/ag-ui", json=RUN)
    adapter, encoder = TypeAdapter(Event), EventEncoder()
    framed = [part + "\n\n" for part in answer.text.split("\n\n")[:-1]]
    read = [adapter.validate_json(part.removeprefix("data: ")) for part in framed]
    for part, event in zip(framed, read, strict=True):
        assert json.loads(encoder.encode(event).removeprefix("data: ")) == json.loads(part.removeprefix("data: "))
    kinds = [event.type.value for event in read]
    assert kinds == [
        "RUN_STARTED",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "TOOL_CALL_RESULT",
        "TEXT_MESSAGE_START",
        *["TEXT_MESSAGE_CONTENT"] * TOKENS,
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert read[0].thread_id == "t-1"
    assert len("".join(event.delta for event in read[6:-2]).split()) == TOKENS
    checked_row(simulator, "ag-ui", progress=True)
    assert http.post("/ag-ui", json={"messages": MESSAGES}).status_code == 422


def test_prompt_flow_streams_only_what_is_asked_for_as_a_stream(simulator, http):
    answer = http.post("/score", json=STREAMED["/score"])
    context, *pieces = events(answer)
    assert context["context"]
    assert [set(one) for one in pieces] == [{"answer"}] * (TOKENS + 2)
    assert (pieces[0]["answer"], pieces[-1]["answer"]) == ("", "")
    checked_row(simulator, "prompt-flow", progress=True)
    whole = http.post("/score", json=STREAMED["/score"], headers={"accept": "*/*"})
    assert len(whole.json()["answer"].split()) == TOKENS
    html = http.post("/score", json=STREAMED["/score"], headers={"accept": "text/html"})
    assert (html.status_code, html.json()["error"]["code"]) == (424, "UserError")


def test_plain_text_json_lines_and_one_body(simulator, http):
    text = http.post("/app/text", json=STREAMED["/app/text"])
    assert len(text.text.split()) == TOKENS
    row = checked_row(simulator, "app-text", progress=False)
    assert text.headers["x-conversation-id"] == row["conversation_id"]
    kinds = [one["type"] for one in lines(http.post("/app/jsonl", json=STREAMED["/app/jsonl"]))]
    assert kinds == ["start", "progress", "sources", *["token"] * TOKENS, "done"]
    checked_row(simulator, "app-jsonl", progress=True)
    body = http.post("/app/json", json={"question": QUESTION, "conversation_id": "c-1"}).json()
    assert (body["conversation_id"], len(body["answer"].split())) == ("c-1", TOKENS)
    assert app_row(simulator)["stream"] is False


@pytest.mark.parametrize("path", ["/responses", "/invocations"])
def test_gpt_rag_hosted_speaks_the_responses_apis_events(simulator, http, path):
    answer = http.post(path, json=STREAMED[path])
    found = events(answer)
    adapter = TypeAdapter(ResponseStreamEvent)
    for event in found:
        adapter.validate_python(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    kinds = [event["type"] for event in found]
    assert kinds.count("response.output_text.delta") == TOKENS
    assert kinds[-1] == "response.completed"
    assert ("response.in_progress" in kinds) == (path == "/responses")
    row = checked_row(simulator, f"gpt-rag-{path[1:]}", progress=False)
    assert found[0]["response"]["conversation"]["id"] == row["conversation_id"]


def test_gpt_rag_hosted_through_the_openai_sdk_and_its_refusals(simulator, http):
    with openai.OpenAI(base_url=simulator.rag_url, api_key=API_KEY, max_retries=0) as client:
        first = client.post("/responses", body={"input": QUESTION}, cast_to=openai.types.responses.Response)
        assert len(first.output_text.split()) == TOKENS
        client.post("/responses", body={"input": "why?", "previous_response_id": first.id}, cast_to=object)
    rows = [row for row in simulator.truth() if row["api"] == "gpt-rag-responses"]
    assert rows[-1]["conversation_id"] == rows[-2]["conversation_id"]
    for body in ({}, {"input": "hi", "model": "x"}, {"input": [1]}, {"input": " "}):
        assert http.post("/responses", json=body).status_code == 422
    assert http.post("/invocations", json={"messages": []}).status_code == 422


def test_a_websocket_answers_one_question_after_another(simulator):
    socket = websocket.create_connection(
        simulator.rag_url.replace("http", "ws") + "/app/ws", header={"api-key": API_KEY}, timeout=10
    )
    for number in range(2):
        socket.send(json.dumps({"question": QUESTION, "conversation_id": "c-9"}))
        kinds = []
        while "done" not in kinds:
            kinds.append(json.loads(socket.recv())["type"])
        assert kinds == ["start", "progress", "sources", *["token"] * TOKENS, "done"], number
    socket.send("no json")
    assert json.loads(socket.recv())["type"] == "error"
    socket.close()
    rows = [row for row in simulator.truth() if row["api"] == "app-websocket"]
    assert [row["outcome"] for row in rows] == ["ok", "ok", "in_band_error"]
    assert rows[0]["received_at"] < rows[0]["first_progress_at"] < rows[0]["first_token_at"] < rows[0]["finished_at"]
    assert rows[0]["chunks"] == TOKENS


def test_a_websocket_that_is_closed_in_mid_answer_and_one_without_a_key(simulator):
    url = simulator.rag_url.replace("http", "ws") + "/app/ws"
    socket = websocket.create_connection(url, header={"api-key": API_KEY}, timeout=10)
    socket.send(json.dumps({"question": QUESTION}))
    while json.loads(socket.recv())["type"] != "token":
        pass
    socket.shutdown()
    assert [row for row in simulator.truth() if row["api"] == "app-websocket"][-1]["outcome"] in ("client_gone", "ok")
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        websocket.create_connection(url, timeout=10)


@pytest.mark.parametrize("path", STREAMED)
def test_an_error_under_200_comes_in_the_formats_own_words(simulator, http, path):
    answer = http.post(path, json=STREAMED[path], headers={"x-simulate-fault": "error_event"})
    assert answer.status_code == 200
    assert "encountered an error" in answer.text
    row = app_row(simulator)
    assert (row["outcome"], row["reason"], row["chunks"]) == ("in_band_error", "error_event", 3)
    last = answer.text.strip().split("\n\n")[-1].splitlines()[-1].removeprefix("data: ")
    if path == "/ag-ui":
        assert TypeAdapter(Event).validate_json(last).type.value == "RUN_ERROR"
    if path in ("/responses", "/invocations"):
        event = TypeAdapter(ResponseStreamEvent).validate_json(last)
        assert event.type == {"/responses": "response.failed", "/invocations": "error"}[path]


def test_an_error_under_200_on_a_websocket(simulator):
    header = {"api-key": API_KEY, "x-simulate-fault": "error_event"}
    socket = websocket.create_connection(simulator.rag_url.replace("http", "ws") + "/app/ws", header=header, timeout=10)
    socket.send(json.dumps({"question": QUESTION}))
    kinds = []
    while "error" not in kinds:
        kinds.append(json.loads(socket.recv())["type"])
    socket.close()
    assert kinds == ["start", "progress", "sources", *["token"] * 3, "error"]
    assert app_row(simulator)["reason"] == "error_event"


@pytest.mark.parametrize("path", STREAMED)
def test_a_model_that_fails_is_an_error_in_the_stream(simulator, http, path):
    simulator.admin("PATCH", "/admin/config", {"deployments": {"gpt-4.1-nano": {"faults": [{"fault": "http_503"}]}}})
    try:
        answer = http.post(path, json=STREAMED[path])
    finally:
        simulator.admin("PATCH", "/admin/config", {"deployments": {"gpt-4.1-nano": {"faults": None}}})
    assert answer.status_code == 200
    assert "503" in answer.text
    assert app_row(simulator)["reason"] == "chat 503"


@pytest.mark.parametrize("fault", ["http_500", "http_429:2", "reset_midway", "end_midway", "invalid_json"])
@pytest.mark.parametrize("path", ["/chat/stream", "/ag-ui", "/app/text"])
def test_other_faults_strike_here_as_well(simulator, http, path, fault):
    try:
        http.post(path, json=STREAMED[path], headers={"x-simulate-fault": fault})
    except httpx2.TransportError:
        assert fault == "reset_midway"
    row = app_row(simulator)
    assert row["reason"] == fault.partition(":")[0]
    assert row["outcome"] != "ok"


@pytest.mark.parametrize("path", [*STREAMED, "/chat", "/app/json"])
def test_a_wrong_key_is_401_everywhere(simulator, path):
    body = STREAMED.get(path, {"question": QUESTION, "messages": MESSAGES})
    answer = httpx2.post(simulator.rag_url + path, json=body, headers={"authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert app_row(simulator)["reason"] == "credentials"
