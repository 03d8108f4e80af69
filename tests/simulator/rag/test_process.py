"""The orchestrator as `python -m simulator` serves it: in front of the simulated chat target, in several processes."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.simulator_process import API_KEY, FUNCTIONS_KEY, Simulator, running_simulator

DATASET = Path(__file__).parents[3] / "scenarios" / "dataset.csv"
CONFIG = """
[deployments.'gpt-4.1-nano']
ttft_base_ms = 20
tbt_ms = 1
[deployments.small]
tpm = 10
minute_from = "first-request"
[rag]
answer_tokens = 20
greeting_tokens = 5
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def two_processes() -> Iterator[Simulator]:
    with running_simulator(CONFIG, workers=2) as simulator:
        yield simulator


def post(url: str, call_id: str = "", **body: str) -> httpx2.Response:
    headers = {"x-functions-key": FUNCTIONS_KEY, "x-api-key": API_KEY, "x-ms-client-request-id": call_id}
    return httpx2.post(url, json=body, headers=headers, timeout=30, trust_env=False)


def lines_of(simulator: Simulator, call_ids: set[str], timeout_s: float = 60) -> list[dict[str, Any]]:
    """The truth lines of these calls and of the chat calls made for them, once each call has its line."""
    deadline = time.monotonic() + timeout_s
    while True:
        lines = simulator.truth()
        calls = [line for line in lines if line["client_request_id"] in call_ids]
        if len(calls) == len(call_ids):
            made = tuple(line["request_id"] for line in calls)
            return calls + [line for line in lines if (line["client_request_id"] or "").startswith(made)]
        assert time.monotonic() < deadline, f"{len(calls)} of {len(call_ids)} lines"
        time.sleep(0.05)  # another process flushes within its interval


def test_the_whole_dataset_is_answered_by_both_contracts(two_processes: Simulator) -> None:
    url = two_processes.rag_url
    with DATASET.open(encoding="utf-8", newline="") as file:
        questions = {row["id"]: row["question"] for row in csv.DictReader(file)}
    with ThreadPoolExecutor(8) as threads:
        v1 = list(threads.map(lambda id: post(f"{url}/api/orc", f"v1-{id}", question=questions[id]), questions))
        v2 = list(threads.map(lambda id: post(f"{url}/orchestrator", f"v2-{id}", ask=questions[id]), questions))
    assert all(reply.status_code == 200 and reply.json()["data_points"] for reply in v1)
    assert all(len(reply.text) > 60 and "event: error" not in reply.text for reply in v2)
    lines = lines_of(two_processes, {f"{version}-{id}" for version in ("v1", "v2") for id in questions})
    n = len(questions)
    counted = Counter((line["target"], line["internal"], line["outcome"]) for line in lines)
    assert counted == {("orc", False, "ok"): n, ("orchestrator", False, "ok"): n, ("chat", True, "ok"): 3 * n}
    for line in lines:
        if line["target"] == "orchestrator":
            assert line["received_at"] <= line["first_token_at"] <= line["last_token_at"] <= line["finished_at"]


def test_a_conversation_goes_on_whichever_process_answers(two_processes: Simulator) -> None:
    url = two_processes.rag_url + "/api/orc"
    conversation = post(url, question="What does the Wren cost?").json()["conversation_id"]
    for _ in range(8):  # each over a connection of its own, so both processes get some
        reply = post(url, question="And how heavy is it?", conversation_id=conversation)
        assert "rewrite" in reply.headers["server-timing"]
        assert "wren-folding-bike" in reply.json()["data_points"]


def test_a_greeting_costs_one_short_chat_call_and_a_question_two(simulator: Simulator) -> None:
    post(simulator.rag_url + "/api/orc", "greeting", question="Hello!")
    post(simulator.rag_url + "/api/orc", "question", question="What does the Wren cost?")
    greeting, short = lines_of(simulator, {"greeting"})
    question, *calls = lines_of(simulator, {"question"})
    assert list(greeting["stages"]) == ["history", "triage", "generation", "persist"]
    assert list(question["stages"]) == ["history", "triage", "retrieval", "generation", "groundedness", "persist"]
    assert short["completion_tokens"] == 5
    assert [call["completion_tokens"] for call in calls] == [20, 8]


def test_a_client_that_leaves_stops_the_stream(simulator: Simulator) -> None:
    headers = {"x-api-key": API_KEY, "x-ms-client-request-id": "leaves"}
    url = simulator.rag_url + "/orchestrator"
    with (
        httpx2.Client(trust_env=False) as http,
        http.stream("POST", url, json={"ask": "What does the Wren cost?"}, headers=headers) as reply,
    ):
        next(reply.iter_raw())
    lines = {line["target"]: line for line in lines_of(simulator, {"leaves"})}
    assert lines["orchestrator"]["outcome"] == "client_gone"
    assert lines["chat"]["outcome"] == "client_gone"


def test_the_chat_targets_throttling_is_the_orchestrators_failure() -> None:
    with running_simulator(CONFIG + 'deployment = "small"\n') as simulator:
        answer = post(simulator.rag_url + "/api/orc", question="What does the Wren cost?").json()["answer"]
        text = post(simulator.rag_url + "/orchestrator", ask="What does the Wren cost?").text
        lines = simulator.truth()
    assert "RAG flow: exception: Error code: 429" in answer
    assert "event: error\ndata: Error code: 429" in text
    assert Counter((line["target"], line["outcome"], line["reason"]) for line in lines if line["target"] != "chat") == {
        ("orc", "in_band_error", "chat 429"): 1,
        ("orchestrator", "in_band_error", "chat 429"): 1,
    }


def test_a_stop_ends_answers_in_progress_and_the_truth_says_how() -> None:
    slow = CONFIG.replace("tbt_ms = 1", "tbt_ms = 500")
    with running_simulator(slow) as simulator, ThreadPoolExecutor(2) as threads:
        headers = {"x-api-key": API_KEY}
        v1 = threads.submit(post, simulator.rag_url + "/api/orc", "v1", question="What does the Wren cost?")
        with (
            httpx2.Client(trust_env=False) as http,
            http.stream("POST", simulator.rag_url + "/orchestrator", json={"ask": "Hi"}, headers=headers) as v2,
        ):
            pieces = v2.iter_raw()
            while simulator.admin("GET", "/admin/truth")["in_flight"] < 4:  # both, and the chat call of each
                next(pieces)
            simulator.process.terminate()
            with pytest.raises(httpx2.RemoteProtocolError):
                list(pieces)
        assert v1.result().status_code == 503
        assert simulator.process.wait(60) == 0
        lines = [json.loads(line) for line in simulator.truth_path.read_text().splitlines()]
        log = (simulator.truth_path.parent / "log.txt").read_text()
    told = {line["target"]: (line["status"], line["outcome"], line["reason"]) for line in lines}
    assert told["orc"] == (503, "http_error", "shutdown")
    assert told["orchestrator"] == (200, "cut", "shutdown")
    assert "simulator/rag.py" not in log  # no traceback through the orchestrator
