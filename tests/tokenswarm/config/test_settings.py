"""Options made into settings: `build_settings`, with the load and the checks that it uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.config.options import OPTIONS
from tokenswarm.config.settings import Settings
from tokenswarm.userinput import BadInput
from tokenswarm.workload.arrivals import RatePlan

KEY = {"AZURE_OPENAI_API_KEY": "azure-key-123", "AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:1"}
KEY_ALONE = {"AZURE_OPENAI_API_KEY": "azure-key-123"}
LAB = {
    "OPENAI_API_KEY": "lab-key-456",
    "AOAI_ENDPOINT": "https://lab.openai.azure.com/",
    "AOAI_DEPLOYMENT": "gpt-4.1-nano",
    "TEST_NAME": "lab-test",
    "CONTEXT_TOKENS": "4500",
    "MAX_TOKENS": "500",
    "RETRY": "none",
    "RATE": "50",
    "DURATION": "180",
}


def settings(variables: dict[str, str] | None = None, targets: str = "chat", **options: Any) -> Settings:
    environment = Environment(KEY if variables is None else variables, {})
    given_options = {"deployment": "gpt", **options} if variables is None else options
    return build_settings(given_options, environment, set(targets.split()), "scenarios/smoke.conf")


def problems(variables: dict[str, str] | None = None, targets: str = "chat", **options: Any) -> list[str]:
    with pytest.raises(BadInput) as raised:
        settings(variables, targets, **options)
    return raised.value.problems


def test_arrivals_without_a_rate_are_no_closed_loop() -> None:
    """A parameter file without RATE would start 100 users who never end."""
    no_rate = {name: value for name, value in LAB.items() if name != "RATE"}
    assert problems(no_rate, arrival="constant") == [
        "rate: expected one beside arrival = constant (--rate 50, or RATE in the env file: requests per minute), or "
        "rate-stages, trace or search, got none"
    ]
    assert settings(LAB, arrival="constant").plan == RatePlan("constant", 50.0, 1, 1.0, settings(LAB).plan.lengths)
    assert problems(arrival="poisson", shape="stages", stages="1m:5")
    assert settings(arrival="poisson", rate="5").plan is not None


def test_defaults() -> None:
    made = settings()
    assert made.chat is not None
    assert (made.chat.api, made.chat.deployment, made.chat.key) == ("azure", "gpt", "azure-key-123")
    assert made.rag is None
    assert made.plan is None
    assert (made.max_lag_s, str(made.turns), made.seed, made.test_name) == (10.0, "1", 1, "smoke")
    assert (made.sending.timeout_s, made.sending.retry) == (120.0, "none")
    assert made.criteria == []
    assert made.secrets == ["azure-key-123"]
    assert "azure-key-123" not in repr(made)


def test_the_labs_parameter_file_needs_nothing_else() -> None:
    made = settings(LAB)
    assert made.chat is not None
    assert (made.chat.api, made.chat.deployment) == ("azure-v1", "gpt-4.1-nano")
    assert made.test_name == "lab-test"
    assert isinstance(made.plan, RatePlan)
    assert made.plan.rate == 50.0
    assert (made.context.mean(), made.output.mean() if made.output else None) == (4500, 500)


def test_an_option_wins_over_the_environment() -> None:
    made = settings(LAB, rate="4", test_name="mine", context_tokens="uniform(10, 20)")
    assert isinstance(made.plan, RatePlan)
    assert (made.plan.rate, made.test_name, str(made.context)) == (4.0, "mine", "uniform(10, 20)")


@pytest.mark.parametrize(
    ("host", "variables", "api", "endpoint"),
    [
        ("http://127.0.0.1:8000", {}, "openai", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1", {}, "openai", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000", KEY_ALONE, "azure", "http://127.0.0.1:8000"),
        ("https://r.openai.azure.com", KEY_ALONE, "azure-v1", "https://r.openai.azure.com/openai/v1"),
        ("https://r.openai.azure.com/openai/v1/", KEY_ALONE, "azure-v1", "https://r.openai.azure.com/openai/v1"),
        (None, {"OPENAI_BASE_URL": "http://h:1/v1"}, "openai", "http://h:1/v1"),
    ],
)
def test_the_api_is_inferred(host: str | None, variables: dict[str, str], api: str, endpoint: str) -> None:
    chat = settings(variables, host=host, deployment="d").chat
    assert chat is not None
    assert (chat.api, chat.endpoint) == (api, endpoint)


def test_azure_v1_gets_its_path() -> None:
    chat = settings(KEY_ALONE, host="http://h", api="azure-v1", deployment="d").chat
    assert chat is not None and chat.endpoint == "http://h/openai/v1"


def test_all_problems_at_once() -> None:
    found = problems(
        {"AZURE_OPENAI_ENDPOINT": "http://h"},
        rate="-1",
        max_tokens="0",
        temperature="5",
        failure_criteria="p95(speed) > 1; nonsense",
        auto_stop="often",
        timeout="soon",
        shape="stages",
        stages="1m",
        goodput="ttft > 1",
        seed="1.5",
        warm_up="-3",
    )
    text = "\n".join(found)
    for part in ("API key", "deployment", "rate", "max-tokens", "temperature", "speed", "nonsense", "auto-stop"):
        assert part in text
    for part in ("timeout", "stages", "goodput", "seed", "warm-up"):
        assert part in text
    assert len(found) >= 13


TOOLS = "scenarios/tool-results.json"


def test_problems_name_where_the_value_comes_from() -> None:
    environment = Environment({**LAB, "RATE": "fast"}, {"RATE": "lab.env:8"})
    with pytest.raises(BadInput) as raised:
        build_settings({}, environment, {"chat"})
    (problem,) = raised.value.problems
    assert "rate, RATE (lab.env:8)" in problem
    assert "'fast'" in problem


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"rate": "5", "rate_stages": "1m:5"}, "expected one of rate"),
        ({"rate": "5", "shape": "stages", "stages": "1m:5"}, "expected no rate"),
        ({"stages": "1m:5"}, "expected a shape beside it"),
        *(
            ({"shape": kind, **stages}, f"shape: expected stages beside {kind}")
            for kind in ("stages", "spike", "step", "soak", "thread-group")
            for stages in ({}, {"stages": ""}, {"stages": " "})
        ),
        ({"context_tokens": "dataset"}, "expected --dataset"),
        ({"max_tokens": "trace"}, "expected --trace"),
        ({"trace": "/nowhere.csv"}, "/nowhere.csv"),
        ({"dataset": "/nowhere.csv"}, "/nowhere.csv"),
        ({"ca_file": "/nowhere.pem"}, "ca-file"),
        ({"ca_file": "\ud800"}, "ca-file: expected text, got half of a surrogate pair"),
        ({"test_name": "a\udfff\ud800"}, "expected text, got half of a surrogate pair"),
        ({"test_name": "a\nb"}, "test-name: expected at most 120 characters that can be printed"),
        ({"search": "10..120"}, "failure-criteria"),
        ({"search": "120..10"}, "lowest..highest"),
        ({"search": "1..8 users", "rate": "5", "failure_criteria": "p95(ttft_ms) > 1"}, "one of rate, rate-stages"),
        (
            {"search": "1..8 sessions", "arrivals_of": "requests", "failure_criteria": "p95(ttft_ms) > 1"},
            "got sessions",
        ),
        ({"search": "1..8 rpm", "arrivals_of": "sessions", "failure_criteria": "p95(ttft_ms) > 1"}, "got rpm"),
        ({"tool_results": TOOLS}, "tool-results: expected tools with a name in extra-body beside it, got none"),
        ({"tool_results": TOOLS, "extra_body": '{"tools": [{"name": "x"}]}'}, "expected a result of 'x', got none"),
        ({"tool_results": TOOLS, "endpoint": "embeddings"}, "tool-results: expected endpoint = chat, responses"),
        ({"tool_results": TOOLS, "arrivals_of": "requests"}, "arrivals-of: expected sessions for steps and tools"),
        ({"tool_results": "/nowhere.json"}, "tool-results /nowhere.json"),
        (
            {"endpoint": "responses", "earlier_turns": "previous_response_id", "extra_body": '{"store": false}'},
            "extra-body: expected no store = false beside earlier-turns",
        ),
        (
            {"endpoint": "responses", "stream": "no", "extra_body": '{"background": true}'},
            "extra-body: expected stream = yes beside background",
        ),
        ({"tool_rounds": "3"}, "tool-rounds: expected tool-results beside it"),
        ({"requests": "scenarios/traces/sample-requests.jsonl", "trace_window": "1h..2h"}, "got 1h..2h"),
        (
            {"requests": "scenarios/traces/sample-requests.jsonl", "trace_speed": "2", "rate": "60"},
            "trace-speed: expected a trace, or requests with timestamps and no rate, got neither",
        ),
        ({"rate": "60", "trace_window": "1s..2s"}, "trace-window: expected a trace or requests beside it, got none"),
        ({"tool_results": TOOLS, "requests": "scenarios/traces/sample-requests.jsonl"}, "expected no tool-results"),
        ({"host": "ftp://h"}, "http"),
        ({"n": "0"}, "from 1 to 128"),
    ],
)
def test_what_does_not_go_together(options: dict[str, str], part: str) -> None:
    assert part in "\n".join(problems(**options))


def test_an_orchestrator_needs_its_key_and_questions() -> None:
    found = "\n".join(problems({}, "rag", host="http://h"))
    assert "ORCHESTRATOR_FUNCTION_KEY" in found
    assert "dataset" in found


def test_both_orchestrator_contracts(tmp_path: Path) -> None:
    dataset = tmp_path / "q.csv"
    dataset.write_text("id,question\n1,Who?\n")
    v1 = settings({"functionKey": "fk-12345"}, "rag", host="http://h/", dataset=str(dataset)).rag
    assert v1 is not None
    assert (v1.url, dict(v1.headers)) == ("http://h/api/orc", {"x-functions-key": "fk-12345"})
    v2 = settings(
        {"ORCHESTRATOR_APP_APIKEY": "ak-12345"}, "rag", host="http://h", dataset=str(dataset), rag_contract="v2"
    ).rag
    assert v2 is not None
    assert (v2.url, dict(v2.headers)) == ("http://h/orchestrator", {"X-API-KEY": "ak-12345"})


NAMES = [option.attribute for option in OPTIONS if option.name not in ("env-file", "trace", "dataset", "ca-file")]


@settings_of_hypothesis(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES), st.text(max_size=12) | st.sampled_from(["1", "0", "-1", "nan", "1e999"]))
)
def test_any_text_is_taken_or_refused_with_reasons(options: dict[str, str]) -> None:
    try:
        build_settings(options, Environment(KEY, {}), {"chat", "rag"})
    except BadInput as error:
        assert error.problems
        assert all(problem.strip() for problem in error.problems)


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_a_socks_proxy_is_told_before_the_start_unless_the_target_is_excepted(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv(variable, "socks5h://user:hush-hush@127.0.0.1:1080")
    (problem,) = problems()
    assert problem.startswith(f"proxy for 127.0.0.1:1: {variable}: expected an HTTP proxy") and "SOCKS" in problem
    assert "hush-hush" not in problem
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    assert settings().chat is not None


@pytest.mark.parametrize(
    ("given", "unit", "sessions", "open_load"),
    [
        ({"search": "10..120"}, "RPM", False, True),
        ({"search": "10..120 sessions"}, "sessions/min", True, True),
        ({"search": "10..120", "arrivals_of": "sessions"}, "sessions/min", True, True),
        ({"search": "1..12 users"}, "users", False, False),
        ({"search": "1..12 users", "arrivals_of": "sessions"}, "users", True, False),
    ],
)
def test_what_a_search_is_over(given: dict[str, str], unit: str, sessions: bool, open_load: bool) -> None:
    found = settings(**given, failure_criteria="p95(ttft_ms) > 1000")
    assert found.search is not None and found.search.unit == unit
    assert (found.traffic.sessions, found.open_load) == (sessions, open_load)
