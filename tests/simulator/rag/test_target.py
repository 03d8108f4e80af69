from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from simulator.rag.target import BadBody, parse_ask
from tests.simulator.rag_server import API_KEY, FUNCTIONS_KEY, Target, running_target

QUESTION = "How many children fit in the front box of the Otter?"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running_target(tmp_path_factory.mktemp("rag")) as target:
        yield target


@pytest.fixture
def target(servers: Target) -> Target:
    servers.reset()
    return servers


def stage_names(header: str) -> list[str]:
    names = [part.split(";dur=") for part in header.split(", ")]
    assert all(float(took) >= 0 for _, took in names)
    return [name for name, _ in names]


# v1


def test_v1_answers_a_question_from_the_corpus(target: Target) -> None:
    reply = target.ask_v1(QUESTION, x_ms_client_request_id="call-1")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    document = reply.json()
    assert list(document) == ["conversation_id", "answer", "data_points", "thoughts"]
    assert re.fullmatch(UUID, document["conversation_id"])
    assert document["answer"] == "Yes, that is so."
    assert "otter-cargo-bike.md" in document["data_points"]
    assert QUESTION in document["thoughts"]
    stages = ["history", "triage", "retrieval", "generation", "groundedness", "persist"]
    assert stage_names(reply.headers["server-timing"]) == stages
    (line,) = target.truth()
    assert list(line["stages"]) == stages
    assert (line["target"], line["outcome"], line["status"], line["stream"]) == ("orc", "ok", 200, False)
    assert (line["client_request_id"], line["conversation_id"]) == ("call-1", document["conversation_id"])
    assert line["received_at"] <= line["headers_at"] <= line["finished_at"]
    assert line["first_token_at"] is None
    assert line["internal"] is False


def test_v1_calls_the_chat_target_twice_as_an_internal_client(target: Target) -> None:
    target.ask_v1(QUESTION)
    generation, groundedness = target.chat.requests
    assert generation["headers"]["x-simulator-internal"] == "1"
    assert generation["headers"]["api-key"] == "k"
    assert "foamed polypropylene" in generation["body"]["messages"][0]["content"]
    assert generation["body"]["messages"][-1] == {"role": "user", "content": QUESTION}
    assert "Answer: Yes, that is so." in groundedness["body"]["messages"][-1]["content"]
    ids = [request["headers"]["x-ms-client-request-id"] for request in target.chat.requests]
    request_id = target.truth()[0]["request_id"]
    assert ids == [f"{request_id}-generation", f"{request_id}-groundedness"]


@pytest.mark.parametrize("question", ["Hello!", "Thank you", "Can you tell me a joke?"])
def test_a_greeting_skips_retrieval_and_the_groundedness_check(target: Target, question: str) -> None:
    reply = target.ask_v1(question)
    assert stage_names(reply.headers["server-timing"]) == ["history", "triage", "generation", "persist"]
    assert reply.json()["data_points"] == ""
    assert len(target.chat.requests) == 1


def test_v1_replaces_an_answer_that_the_check_finds_ungrounded(target: Target) -> None:
    target.chat.pieces = ["Un", "grounded."]
    assert target.ask_v1(QUESTION).json()["answer"] == "The documents I have do not answer this question."


def test_a_conversation_goes_on_with_its_id(target: Target) -> None:
    first = target.ask_v1(QUESTION).json()
    second = target.ask_v1("How long is it?", first["conversation_id"])
    assert second.json()["conversation_id"] == first["conversation_id"]
    assert "rewrite" in stage_names(second.headers["server-timing"])
    assert "otter-cargo-bike.md" in second.json()["data_points"]
    messages = target.chat.requests[2]["body"]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[1]["content"] == QUESTION
    third = target.ask_v2("Thanks!", first["conversation_id"])  # both contracts share the history
    assert third.text.startswith(first["conversation_id"])
    assert len(target.chat.requests[-1]["body"]["messages"]) == 6


def test_v1_takes_an_unknown_conversation_id_as_a_new_conversation_of_that_name(target: Target) -> None:
    assert target.ask_v1(QUESTION, "mine").json()["conversation_id"] == "mine"


@pytest.mark.parametrize("headers", [{}, {"x-functions-key": "wrong"}])
def test_v1_refuses_a_wrong_key_with_an_empty_401(target: Target, headers: dict[str, str]) -> None:
    reply = target.http.post("/api/orc", json={"question": QUESTION}, headers=headers)
    assert (reply.status_code, reply.content) == (401, b"")
    assert target.truth()[0]["outcome"] == "http_error"


def test_v1_takes_the_key_from_the_address(target: Target) -> None:
    reply = target.http.post("/api/orc?code=simulator-function-key", json={"question": "Hello"})
    assert reply.json()["answer"]


def test_v1_hides_a_missing_question_under_200(target: Target) -> None:
    reply = target.http.post("/api/orc", json={"conversation_id": ""}, headers=FUNCTIONS_KEY)
    assert (reply.status_code, reply.json()) == (200, {"error": "no question found in json input"})
    assert (target.truth()[0]["outcome"], target.truth()[0]["reason"]) == ("in_band_error", "no question")


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b'{"question": "\\ud800"}', b"[" * 100_000])
def test_v1_fails_on_a_body_that_is_no_json_object(target: Target, body: bytes) -> None:
    assert target.http.post("/api/orc", content=body, headers=FUNCTIONS_KEY).status_code == 500


def test_v1_hides_a_throttled_chat_call_in_the_answer(target: Target) -> None:
    target.chat.status = 429
    reply = target.ask_v1(QUESTION)
    assert reply.status_code == 200
    assert "RAG flow: exception: Error code: 429 - refused by the test" in reply.json()["answer"]
    assert (target.truth()[0]["outcome"], target.truth()[0]["reason"]) == ("in_band_error", "chat 429")


# v2


def test_v2_streams_the_id_then_the_text_as_it_comes(target: Target) -> None:
    target.chat.gate = threading.Event()
    body = {"ask": QUESTION}
    headers = API_KEY | {"x-correlation-id": "trace-1", "x-client-request-id": "call-2"}
    with target.http.stream("POST", "/orchestrator", json=body, headers=headers) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["x-correlation-id"] == "trace-1"
        assert stage_names(reply.headers["server-timing"]) == ["history"]
        pieces, text = reply.iter_text(), ""
        while not text.endswith("Yes"):  # the rest is held back, so these were written on their own
            text += next(pieces)
        target.chat.gate.set()
        text += "".join(pieces)
    assert re.fullmatch(rf"({UUID}) Yes, that is so\.", text)
    (line,) = target.truth()
    assert list(line["stages"]) == ["history", "triage", "retrieval", "generation", "persist"]
    assert (line["target"], line["outcome"], line["stream"], line["chunks"]) == ("orchestrator", "ok", True, 4)
    assert line["client_request_id"] == "call-2"
    instants = [line[f"{name}_at"] for name in ("received", "headers", "first_token", "last_token", "finished")]
    assert instants == sorted(instants)


def test_v2_sends_the_id_before_the_work(target: Target) -> None:
    target.chat.gate = threading.Event()
    target.chat.pieces = ["", "late"]  # nothing visible until the gate opens
    with target.http.stream("POST", "/orchestrator", json={"question": QUESTION}, headers=API_KEY) as reply:
        pieces = reply.iter_text()
        assert re.fullmatch(rf"{UUID} ", next(pieces))
        target.chat.gate.set()
        assert "".join(pieces) == "late"


def test_v2_puts_a_failure_into_the_text_under_200(target: Target) -> None:
    target.chat.status = 429
    reply = target.ask_v2(QUESTION)
    assert reply.status_code == 200
    assert re.fullmatch(rf"{UUID} event: error\ndata: Error code: 429 - refused by the test\n\n", reply.text)
    line = target.truth()[0]
    assert (line["outcome"], line["reason"], line["first_token_at"]) == ("in_band_error", "chat 429", None)


def test_v2_reports_a_chat_stream_that_breaks_off(target: Target) -> None:
    target.chat.ends = False
    assert target.ask_v2(QUESTION).text.endswith(
        "Yes, that is so.event: error\ndata: chat target: the stream ended before [DONE]\n\n"
    )


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({}, "Missing credentials. Provide dapr-api-token or X-API-KEY"),
        ({"x-api-key": "wrong"}, "Invalid API key"),
        ({"x-api-key": "simulator-key", "dapr-api-token": "wrong"}, "Invalid Dapr token"),
    ],
)
def test_v2_refuses_wrong_credentials(target: Target, headers: dict[str, str], detail: str) -> None:
    reply = target.http.post("/orchestrator", json={"ask": QUESTION}, headers=headers)
    assert (reply.status_code, reply.json()) == (401, {"detail": detail})


def test_v2_takes_the_dapr_token(tmp_path: Path) -> None:
    with running_target(tmp_path, dapr_token="sidecar") as target:
        reply = target.http.post("/orchestrator", json={"ask": "Hello"}, headers={"dapr-api-token": "sidecar"})
    assert reply.status_code == 200


@pytest.mark.parametrize(("body", "status"), [({}, 400), ({"ask": ""}, 400), ({"ask": 5}, 422), ([], 422)])
def test_v2_refuses_a_body_without_a_question(target: Target, body: Any, status: int) -> None:
    reply = target.http.post("/orchestrator", json=body, headers=API_KEY)
    assert reply.status_code == status
    if status == 400:
        assert reply.json() == {"detail": "No 'ask' or 'question' field in request body"}


def test_v2_refuses_half_a_character(target: Target) -> None:
    assert target.http.post("/orchestrator", content=b'{"ask": "\\ud800"}', headers=API_KEY).status_code == 422


def test_v2_stores_feedback(target: Target) -> None:
    body = {"type": "feedback", "conversation_id": "c", "question_id": "q", "is_positive": True, "stars_rating": 4}
    reply = target.http.post("/orchestrator", json=body, headers=API_KEY)
    assert reply.json() == {"status": "success", "message": "Feedback saved successfully"}
    database = sqlite3.connect(target.history_path)
    assert database.execute("SELECT conversation_id, stars_rating FROM feedback").fetchall() == [("c", 4)]
    database.close()


def test_parse_ask_names_every_field_of_the_wrong_type() -> None:
    with pytest.raises(BadBody) as raised:
        parse_ask(b'{"ask": 1, "is_positive": "yes", "user_context": 3, "unknown": []}')
    assert [problem["loc"] for problem in raised.value.detail] == [["body", "ask"], ["body", "is_positive"]]
    with pytest.raises(BadBody):
        parse_ask(b'{"type": "feedback", "stars_rating": 6}')


# faults asked for


def test_error_answer_fault_fails_v1_in_its_way(target: Target) -> None:
    reply = target.ask_v1(QUESTION, x_simulate_fault="error_answer")
    assert "RAG flow: exception: simulated failure" in reply.json()["answer"]
    assert target.truth()[0]["reason"] == "error_answer"


def test_in_band_error_fault_fails_v2_after_three_pieces(target: Target) -> None:
    reply = target.ask_v2(QUESTION, x_simulate_fault="in_band_error")
    assert reply.text.endswith(" Yes, that isevent: error\ndata: simulated failure\n\n")
    assert (target.truth()[0]["outcome"], target.truth()[0]["chunks"]) == ("in_band_error", 3)


@pytest.mark.parametrize("path", ["/api/orc", "/orchestrator"])
def test_cut_fault_breaks_the_connection_off(target: Target, path: str) -> None:
    headers = FUNCTIONS_KEY | API_KEY | {"x-simulate-fault": "cut"}
    with pytest.raises(httpx2.RemoteProtocolError):
        target.http.post(path, json={"question": QUESTION}, headers=headers)
    assert (target.truth()[0]["outcome"], target.truth()[0]["reason"]) == ("cut", "cut")


def test_an_unknown_fault_is_refused(target: Target) -> None:
    reply = target.ask_v2(QUESTION, x_simulate_fault="explode")
    assert reply.status_code == 400
    assert "expected one of" in reply.json()["detail"]


# many at once


def test_concurrent_conversations_keep_their_own_history(target: Target) -> None:
    def hold(number: int) -> None:
        with httpx2.Client(base_url=target.url, timeout=20) as http:
            conversation = ""
            for turn in range(3):
                body = {"conversation_id": conversation, "question": f"How heavy is the Heron? {number}/{turn}"}
                reply = http.post("/api/orc", json=body, headers=FUNCTIONS_KEY).json()
                assert reply["answer"] == "Yes, that is so."
                assert conversation in ("", reply["conversation_id"])
                conversation = reply["conversation_id"]

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(hold, range(12)))
    lines = target.truth()
    assert len(lines) == 36
    assert {line["outcome"] for line in lines} == {"ok"}
    database = sqlite3.connect(target.history_path)
    rows = database.execute(
        "SELECT conversation_id, turn, question FROM turns WHERE question LIKE 'How heavy is the Heron%' ORDER BY 1, 2"
    ).fetchall()
    database.close()
    assert [turn for _, turn, _ in rows] == [1, 2, 3] * 12
    for start in range(0, 36, 3):
        assert len({question.split("? ")[1].split("/")[0] for _, _, question in rows[start : start + 3]}) == 1
    assert json.dumps(lines)  # every line is plain JSON
