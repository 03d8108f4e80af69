"""Who served a request, whether it answered right, and what happened when nobody listened: headers and truth log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import jsonschema
import pytest

from simulator.config.settings import ConfigError, Settings
from tests.simulator_process import API_KEY, Simulator, running_simulator

FAST = "ttft_base_ms = 5\nttft_std_ms = 0\nttft_per_token_ms = 0\ntbt_ms = 1\ntbt_std_ms = 0\n"
CONFIG = f"""
region = "Sweden Central"
[deployments.ptu]
model = "gpt-4.1"
ptu = 1
input_tpm_per_ptu = 600
bucket_s = 60
spills_to = "standard"
{FAST}
[deployments.lone-ptu]
model = "gpt-4.1"
ptu = 1
input_tpm_per_ptu = 600
bucket_s = 60
{FAST}
[deployments.standard]
model = "gpt-4.1"
region = "East US 2"
tpm = 5000
minute_from = "first-request"
rpm_slices_s = [60]
rpm_per_1000_tpm = 1000
{FAST}
[deployments.doubtful]
wrong_above = 2
ttft_base_ms = 300
ttft_std_ms = 0
tbt_ms = 1
[deployments.stops]
ttft_base_ms = 5
tbt_ms = 10
[deployments.goes-on]
ttft_base_ms = 5
tbt_ms = 10
tbt_std_ms = 0
when_client_leaves = "finish"
"""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG) as simulator:
        yield simulator


@pytest.fixture
def http(simulator: Simulator) -> Iterator[httpx2.Client]:
    simulator.admin("POST", "/admin/reset")
    with httpx2.Client(base_url=simulator.chat_url, headers={"api-key": API_KEY}, timeout=20) as client:
        yield client


def ask(http: httpx2.Client, deployment: str, max_tokens: int = 200, **more: Any) -> httpx2.Response:
    headers = more.pop("headers", {})
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": max_tokens, "model": deployment, **more}
    return http.post("/openai/v1/chat/completions", json=body, headers=headers)


def test_what_a_provisioned_deployment_refuses_is_served_by_the_standard_one(simulator, http):
    before = len(simulator.truth())
    answers = [ask(http, "ptu") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    served = [answer.headers["x-ms-deployment-name"] for answer in answers]
    assert served == ["ptu", "standard", "standard", "standard"]
    assert answers[0].headers["x-ms-region"] == "Sweden Central"
    assert "x-ms-spillover-from-deployment" not in answers[0].headers
    assert answers[0].headers["azure-openai-deployment-utilization"] == "134.7%"
    for spilled in answers[1:]:
        assert spilled.headers["x-ms-spillover-from-deployment"] == "ptu"
        assert spilled.headers["x-ms-spillover-error"] == "429"
        assert spilled.headers["x-ms-region"] == "East US 2"
        assert spilled.headers["x-ratelimit-limit-tokens"] == "5000"
    rows = simulator.truth()[before:]
    assert [(row["deployment"], row["spilled_from"]) for row in rows] == [("ptu", None)] + [("standard", "ptu")] * 3
    assert [row["region"] for row in rows] == ["Sweden Central"] + ["East US 2"] * 3


def test_when_both_are_full_the_standard_ones_answer_is_sent_and_marked(http):
    answers = [ask(http, "ptu", 2500) for _ in range(4)]
    last = answers[-1]
    assert last.status_code == 429
    assert "token rate limit" in last.json()["error"]["message"]
    assert (last.headers["x-ms-spillover-from-deployment"], last.headers["x-ms-spillover-error"]) == ("ptu", "429")


def test_a_request_may_ask_for_spillover_itself(http):
    header = {"x-ms-spillover-deployment": "standard"}
    assert ask(http, "lone-ptu").status_code == 200
    assert ask(http, "lone-ptu").status_code == 429
    spilled = ask(http, "lone-ptu", headers=header)
    assert (spilled.status_code, spilled.headers["x-ms-spillover-from-deployment"]) == (200, "lone-ptu")
    assert ask(http, "lone-ptu", headers={"x-ms-spillover-deployment": "nobody"}).status_code == 429


@pytest.mark.parametrize("spills_to", ["nobody", "one"])
def test_spillover_needs_another_deployment_that_exists(spills_to):
    with pytest.raises(ConfigError, match="spills_to: expected another deployment"):
        Settings().patched({"deployments": {"one": {"ptu": 1, "spills_to": spills_to}}}, "a test")


def test_answers_are_wrong_while_more_are_in_progress_than_allowed(simulator, http):
    before = len(simulator.truth())
    more = {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
        "messages": [{"role": "user", "content": "hi"}],
    }
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(
                lambda n: ask(http, "doubtful", headers={"x-ms-client-request-id": f"wrong-{n}"}, **more), range(6)
            )
        )
    rows = {row["client_request_id"]: row for row in simulator.truth()[before:]}
    assert len(rows) == 6
    for number, answer in enumerate(answers):
        row = rows[f"wrong-{number}"]
        assert row["wrong"] == (row["in_progress"] > 2)
        value = json.loads(answer.json()["choices"][0]["message"]["content"])
        assert jsonschema.Draft202012Validator(SCHEMA).is_valid(value) == (not row["wrong"])
    assert Counter(row["wrong"] for row in rows.values())[True] >= 1
    said = {"messages": [{"role": "user", "content": "[[simulate answer: The capital is Oslo]]"}]}
    assert ask(http, "doubtful", 8, **said).json()["choices"][0]["message"]["content"].startswith("The capital is Oslo")


@pytest.mark.parametrize("deployment", ["stops", "goes-on"])
def test_the_truth_says_how_long_it_generated_for_nobody(simulator, http, deployment):
    mark = f"left-{deployment}"
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 100, "model": deployment, "stream": True}
    request = http.build_request(
        "POST", "/openai/v1/chat/completions", json=body, headers={"x-ms-client-request-id": mark}
    )
    answer = http.send(request, stream=True)
    for line in answer.iter_lines():
        if '"delta":{"content":" ' in line:
            break
    answer.close()
    (row,) = [row for row in simulator.truth() if row["client_request_id"] == mark]
    assert row["outcome"] == "client_gone"
    assert row["received_at"] < row["client_left_at"] <= row["finished_at"]
    assert row["tokens_before_left"] + row["tokens_after_left"] == row["completion_tokens"]
    assert 2 <= row["tokens_before_left"] < 100
    if deployment == "goes-on":
        assert row["completion_tokens"] == 100
        assert row["finished_at"] - row["received_at"] >= 0.99
    else:
        assert row["tokens_after_left"] < 60


def test_who_stays_leaves_no_trace_of_having_left(simulator, http):
    ask(http, "stops", 3)
    row = simulator.truth()[-1]
    assert (row["client_left_at"], row["tokens_before_left"], row["tokens_after_left"]) == (None, None, None)
    assert (row["wrong"], row["in_progress"]) == (False, 1)


def test_the_prompt_cache_is_each_deployments_own(simulator, http):
    long = {"messages": [{"role": "user", "content": "same " * 1500}]}
    cached = []
    for deployment in ("stops", "stops", "goes-on", "goes-on"):
        used = ask(http, deployment, 1, **long).json()["usage"]["prompt_tokens_details"]["cached_tokens"]
        cached.append((used, simulator.truth()[-1]["cached_tokens"]))
    assert cached == [(0, 0), (1408, 1408), (0, 0), (1408, 1408)]
