"""The chat target over real HTTP: what a client sees, and that the truth log says the same."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.simulator_process import API_KEY, Simulator, running_simulator
from tests.waiting import wait_until

FAST = "ttft_base_ms = 5\nttft_std_ms = 0\nttft_per_token_ms = 0\ntbt_ms = 1\ntbt_std_ms = 0\n"
CONFIG = f"""
[deployments.fast]
context_tokens = 4000
max_output_tokens = 1000
{FAST}
[deployments.chunky]
tokens_per_chunk = 4
obfuscation = true
{FAST}
[deployments.async-filter]
content_filter = "async"
{FAST}
[deployments.thinker]
reasoning = true
reasoning_tokens = 10
reasoning_std = 0
{FAST}
[deployments.small-quota]
tpm = 1000
minute_from = "first-request"
rpm_slices_s = [60]
rpm_per_1000_tpm = 1000
{FAST}
[deployments.few-calls]
tpm = 1000000
minute_from = "first-request"
rpm_per_1000_tpm = 0.001
rpm_slices_s = [60]
{FAST}
[deployments.provisioned]
ptu = 1
input_tpm_per_ptu = 600
bucket_s = 60
{FAST}
[deployments.one-place]
max_concurrent = 1
max_waiting = 1
{FAST}
[deployments.slow]
ttft_base_ms = 10
tbt_ms = 20
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def http(simulator: Simulator) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=simulator.chat_url, headers={"api-key": API_KEY}, timeout=20) as client:
        yield client


def azure(deployment: str, version: str = "2024-10-21") -> str:
    return f"/openai/deployments/{deployment}/chat/completions?api-version={version}"


def body(text: str = "how are you", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


def stream(http: httpx2.Client, deployment: str, **more: Any) -> list[dict[str, Any]]:
    """The events of a stream without [DONE]."""
    answer = http.post(azure(deployment), json=body(stream=True, **more))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def truth_of(simulator: Simulator, client_request_id: str) -> dict[str, Any]:
    (row,) = [row for row in simulator.truth() if row["client_request_id"] == client_request_id]
    return row


def test_a_stream_has_azures_sequence_of_events(http):
    events = stream(http, "fast", max_tokens=5, stream_options={"include_usage": True})
    filtered, role, *content, finish, usage = events
    assert filtered["choices"] == []
    assert filtered["id"] == ""
    assert filtered["prompt_filter_results"][0]["content_filter_results"]["jailbreak"]["detected"] is False
    assert role["choices"][0]["delta"] == {"content": "", "refusal": None, "role": "assistant"}
    assert [set(event["choices"][0]["delta"]) for event in content] == [{"content"}] * 5
    assert len("".join(event["choices"][0]["delta"]["content"] for event in content).split()) == 5
    assert content[0]["choices"][0]["content_filter_results"]["hate"] == {"filtered": False, "severity": "safe"}
    assert finish["choices"][0] | {"content_filter_results": None} == {
        "content_filter_results": None,
        "delta": {},
        "finish_reason": "length",
        "index": 0,
        "logprobs": None,
    }
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens"] == 3 + 4 + 3
    assert usage["usage"]["completion_tokens"] == 5
    assert usage["usage"]["total_tokens"] == 15
    assert [event["usage"] for event in events[1:-1]] == [None] * 7
    assert list(role) == sorted(role)


def test_without_include_usage_there_is_no_usage(http):
    assert all("usage" not in event for event in stream(http, "fast", max_tokens=2))


def test_chunks_of_several_tokens_with_padding(http):
    events = stream(http, "chunky", max_tokens=10)
    events = [e for e in events if e["choices"] and e["choices"][0]["delta"].get("content")]
    assert [len(e["choices"][0]["delta"]["content"].split()) for e in events] == [4, 4, 2]
    assert all(len(e["obfuscation"]) > 0 for e in events)


def test_verdicts_of_the_asynchronous_filter_come_apart_and_without_delta(http):
    events = stream(http, "async-filter", max_tokens=12)
    apart = [e for e in events if e["choices"] and "delta" not in e["choices"][0]]
    assert len(apart) == 2
    assert [e["id"] for e in apart] == ["", ""]
    assert events[-1] is apart[-1]  # after the finish event
    assert events[-2]["choices"][0]["finish_reason"] == "length"
    assert apart[-1]["choices"][0]["content_filter_offsets"]["end_offset"] == len(text_of(events))


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(c.get("delta", {}).get("content", "") for e in events for c in e["choices"])


def test_several_choices_are_interleaved_and_all_counted(http):
    events = stream(http, "fast", max_tokens=3, n=2, stream_options={"include_usage": True})
    indexes = [c["index"] for e in events for c in e["choices"] if c["delta"].get("content")]
    assert sorted(indexes) == [0, 0, 0, 1, 1, 1]
    assert indexes != sorted(indexes)
    assert events[-1]["usage"]["completion_tokens"] == 6


def test_an_answer_in_one_body(http):
    answer = http.post(azure("fast"), json=body(max_tokens=4), headers={"x-ms-client-request-id": "whole-1"})
    completion = answer.json()
    assert completion["object"] == "chat.completion"
    assert completion["choices"][0]["finish_reason"] == "length"
    assert len(completion["choices"][0]["message"]["content"].split()) == 4
    assert completion["usage"]["total_tokens"] == 14
    assert answer.headers["x-ms-region"] == "Sweden Central"
    assert answer.headers["x-ms-client-request-id"] == "whole-1"
    assert answer.headers["apim-request-id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("address", ["azure", "azure-v1", "openai"])
def test_the_openai_sdk_reads_a_stream_from_each_address(simulator, address):
    if address == "azure":
        client: Any = openai.AzureOpenAI(
            azure_endpoint=simulator.chat_url, api_key=API_KEY, api_version="2024-10-21", max_retries=0
        )
    else:
        path = {"azure-v1": "/openai/v1/", "openai": "/v1/"}[address]
        client = openai.OpenAI(base_url=simulator.chat_url + path, api_key=API_KEY, max_retries=0)
    with client:
        chunks = list(
            client.chat.completions.create(
                model="fast",
                messages=[{"role": "user", "content": "one two three"}],
                max_tokens=6,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        whole = client.chat.completions.create(
            model="fast", messages=[{"role": "user", "content": "one two three"}], max_tokens=6
        )
    assert len([c for c in chunks if c.choices and c.choices[0].delta.content]) == 6
    assert chunks[-1].usage.completion_tokens == 6
    assert whole.usage.prompt_tokens == chunks[-1].usage.prompt_tokens == 10
    assert (chunks[0].choices == []) == (address != "openai")


@pytest.mark.parametrize(
    "headers",
    [{"api-key": API_KEY}, {"authorization": f"Bearer {API_KEY}"}, {"authorization": "bearer simulator-token"}],
)
def test_a_key_or_a_token_opens(simulator, headers):
    answer = httpx2.post(simulator.chat_url + azure("fast"), json=body(max_tokens=1), headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("headers", [{}, {"api-key": "wrong"}, {"authorization": "Bearer wrong"}, {"api-key": "ké"}])
def test_anything_else_is_401(simulator, headers):
    raw = {name: value.encode() for name, value in headers.items()}
    answer = httpx2.post(simulator.chat_url + azure("fast"), json=body(max_tokens=1), headers=raw)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "401"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (azure("nobody"), 404, "DeploymentNotFound"),
        (azure("fast", ""), 404, "404"),
        (azure("fast", "yesterday"), 404, "404"),
        ("/openai/deployments/fast/completions", 404, "404"),
        ("/openai/v1/chat/completions", 404, "DeploymentNotFound"),
        ("/v1/chat/completions", 404, "model_not_found"),
    ],
)
def test_wrong_addresses(simulator, http, path, status, code):
    mark = f"wrong-{path}"
    answer = http.post(path, json=body(model="nobody"), headers={"x-client-request-id": mark})
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    row = truth_of(simulator, mark)
    assert (row["status"], row["outcome"]) == (status, "http_error")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1001}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, None),
        ({"n": 129}, "n"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": "high"}, "top_p"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"colour": "red"}, None),
    ],
)
def test_invalid_requests(http, changes, param):
    answer = http.post(azure("fast"), json=body() | changes)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_json_object(http, content):
    assert http.post(azure("fast"), content=content).status_code == 400


def test_a_prompt_longer_than_the_context(simulator, http):
    answer = http.post(azure("fast"), json=body("word " * 4000), headers={"x-ms-client-request-id": "long"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert "4008 tokens" in answer.json()["error"]["message"]
    assert truth_of(simulator, "long")["reason"] == "context_length"


def test_a_prompt_that_the_content_filter_refuses(http):
    error = http.post(azure("fast"), json=body("[[simulate content filter]]")).json()["error"]
    assert (error["code"], error["param"], error["status"]) == ("content_filter", "prompt", 400)
    assert error["innererror"]["content_filter_result"]["hate"]["filtered"] is True


def test_a_reasoning_model_counts_its_thoughts_and_refuses_max_tokens(http):
    refused = http.post(azure("thinker"), json=body(max_tokens=20)).json()["error"]
    assert (refused["code"], refused["param"]) == ("unsupported_parameter", "max_tokens")
    cold = http.post(azure("thinker"), json=body(temperature=0.5)).json()["error"]
    assert cold["param"] == "temperature"
    usage = http.post(azure("thinker"), json=body(max_completion_tokens=15)).json()["usage"]
    assert usage["completion_tokens"] == 15
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 10
    events = stream(http, "thinker", max_completion_tokens=15)
    assert len(text_of(events).split()) == 5
    silent = stream(http, "thinker", max_completion_tokens=8, stream_options={"include_usage": True})
    assert text_of(silent) == ""
    assert silent[-1]["usage"]["completion_tokens"] == 8


def test_the_token_limit(simulator, http):
    simulator.admin("POST", "/admin/reset")
    answers = [http.post(azure("small-quota"), json=body(max_tokens=490)) for _ in range(3)]
    while {a.status_code for a in answers} == {200}:  # a minute began between them
        answers = [http.post(azure("small-quota"), json=body(max_tokens=490)) for _ in range(3)]
    refused = answers[-1]
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "RateLimitReached"
    assert "token rate limit" in refused.json()["error"]["message"]
    assert refused.headers["policy-id"] == "DeploymentRatelimit-Token"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert int(refused.headers["retry-after-ms"]) <= 60_000
    assert refused.headers["x-ratelimit-limit-tokens"] == "1000"
    row = simulator.truth()[-1]
    assert (row["status"], row["outcome"], row["reason"], row["estimated_tokens"]) == (429, "throttled", "tokens", 500)


def test_the_call_limit(http):
    answers = [http.post(azure("few-calls"), json=body(max_tokens=1)) for _ in range(3)]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert "call rate limit" in refused.json()["error"]["message"]
    assert refused.headers["policy-id"] == "DeploymentRatelimit-Call"


def test_utilization_of_a_provisioned_deployment(simulator, http):
    simulator.admin("POST", "/admin/reset")
    first = http.post(azure("provisioned"), json=body("word " * 500, max_tokens=100))  # 508 + 400 of 600
    second = http.post(azure("provisioned"), json=body("word " * 500, max_tokens=100))
    assert first.headers["azure-openai-deployment-utilization"] == "151.3%"
    assert "x-ratelimit-limit-tokens" not in first.headers
    assert second.status_code == 429
    assert int(second.headers["retry-after-ms"]) > 0
    rows = simulator.truth()[-2:]
    assert [row["reason"] for row in rows] == [None, "utilization"]
    assert rows[0]["utilization_pct"] == pytest.approx(151.3, abs=0.1)


def test_a_repeated_long_prompt_is_cached(http):
    def cached(text: str) -> int:
        usage = http.post(azure("fast"), json=body(text, max_tokens=1)).json()["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"]

    assert [cached("same " * 1500) for _ in range(2)] == [0, 1408]
    assert cached("same " * 1030 + "other " * 500) == 1024


def test_who_finds_no_place_waits_and_who_finds_no_room_to_wait_is_refused(simulator, http):
    stalled = http.build_request(
        "POST", azure("one-place"), json=body(max_tokens=2, stream=True), headers={"x-simulate-fault": "stall::0"}
    )
    first = http.send(stalled, stream=True)  # its headers are there: it has the place, and keeps it
    waiting = _post_in_background(simulator, "one-place")
    wait_until(lambda: simulator.admin("GET", "/admin/truth")["in_flight"] == 2, "two under way")
    refused = http.post(azure("one-place"), json=body(max_tokens=1))
    assert refused.status_code == 429
    assert "high demand" in refused.json()["error"]["message"]
    assert waiting.is_alive()
    first.close()
    waiting.join()
    outcomes = [(row["outcome"], row["reason"]) for row in simulator.truth()[-3:]]
    assert sorted(outcomes, key=str) == [("ok", None), ("stalled", "stall"), ("throttled", "capacity")]


def _post_in_background(simulator: Simulator, deployment: str) -> threading.Thread:
    def post() -> None:
        httpx2.post(simulator.chat_url + azure(deployment), json=body(max_tokens=1), headers={"api-key": API_KEY})

    thread = threading.Thread(target=post)
    thread.start()
    return thread


def test_a_client_that_leaves_is_noticed_with_what_it_got(simulator, http):
    request = http.build_request(
        "POST", azure("slow"), json=body(max_tokens=500, stream=True), headers={"x-ms-client-request-id": "leaver"}
    )
    answer = http.send(request, stream=True)
    seen = 0
    for line in answer.iter_lines():
        seen += '"delta":{"content":" ' in line
        if seen == 5:
            break
    answer.close()
    row = truth_of(simulator, "leaver")
    assert (row["outcome"], row["status"]) == ("client_gone", 200)
    assert seen < row["chunks"] <= row["completion_tokens"] < 100
    assert row["tokens_before_left"] + row["tokens_after_left"] == row["completion_tokens"]
    assert seen <= row["tokens_before_left"] <= row["chunks"]
    assert row["received_at"] < row["client_left_at"] <= row["finished_at"]


def test_the_truth_is_what_was_received(simulator, http):
    request = http.build_request(
        "POST", azure("slow"), json=body(max_tokens=20, stream=True), headers={"x-ms-client-request-id": "7-1"}
    )
    sent = time.time()
    answer = http.send(request, stream=True)
    stamps = [time.time() for line in answer.iter_lines() if '"content":"' in line and '"role"' not in line]
    row = truth_of(simulator, "7-1")
    assert len(stamps) == row["chunks"] == row["completion_tokens"] == 20
    order = ["received_at", "headers_at", "first_token_at", "last_token_at", "finished_at"]
    assert [row[name] for name in order] == sorted(row[name] for name in order)
    # What was read had been written; 2 s cover a busy machine, not a wrong clock.
    assert 0 <= row["received_at"] - sent < 2
    assert -0.05 <= stamps[0] - row["first_token_at"] < 2
    assert -0.05 <= stamps[-1] - row["last_token_at"] < 2
    assert (row["stream"], row["prompt_tokens"], row["max_tokens"], row["estimated_tokens"]) == (True, 10, 20, 30)
    # 19 gaps of 20 ms on average; what a busy machine adds has no bound.
    assert row["last_token_at"] - row["first_token_at"] > 0.3


def test_the_counters_equal_the_log(simulator, http):
    http.post(azure("fast"), json=body(max_tokens=3))
    rows = simulator.truth()
    counters = simulator.admin("GET", "/admin/truth")
    assert counters["lines"] == len(rows)
    assert counters["in_flight"] == 0
    for name, counted in counters["deployments"].items():
        mine = [row for row in rows if (row["deployment"] or row["target"]) == name]
        assert counted["requests"] == len(mine)
        assert counted["completion_tokens"] == sum(row["completion_tokens"] or 0 for row in mine)
        assert counted["statuses"].get("200", 0) == sum(row["status"] == 200 for row in mine)


def test_models_are_listed(http):
    assert "fast" in [model["id"] for model in http.get("/v1/models").json()["data"]]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/openai/deployments/{}?api-version=2024-10-21", "DeploymentNotFound"),
        ("/openai/v1/models/{}", "DeploymentNotFound"),
        ("/v1/models/{}", "model_not_found"),
    ],
)
def test_a_deployment_can_be_looked_up(http, path, code):
    key = {"api-key": API_KEY}
    assert http.get(path.format("fast"), headers=key).json()["id"] == "fast"
    missing = http.get(path.format("nowhere"), headers=key)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, code)
    assert http.get(path.format("fast"), headers={"api-key": "wrong"}).status_code == 401
