"""Defaults and examples of the option page, against what the settings make of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.config.option_docs import DOCS, INTERNAL, find, near
from tokenswarm.config.options import BY_NAME, Option
from tokenswarm.config.settings import Settings
from tokenswarm.userinput import BadInput
from tokenswarm.workload.distributions import Length

ROOT = Path(__file__).resolve().parents[3]
BESIDE = {
    "arrival": {"rate": "10"},
    "arrival-smoothness": {"arrival": "gamma", "rate": "10"},
    "stages": {"shape": "step"},
    "shape": {"stages": "by=10, every=1m, to=50"},
    "earlier-turns": {"endpoint": "responses"},
    "search": {"failure-criteria": "p95(ttft_ms) > 1000"},
    "max-cost": {"price-prompt": "2", "price-completion": "8"},
    **{name: {"trace": "scenarios/traces/sample-azure.csv"} for name in ("trace-speed", "trace-window")},
    "tool-results": {"extra-body": '{"tools": [{"type": "function", "name": "get_weather"}]}'},
    "tool-rounds": {
        "tool-results": "scenarios/tool-results.json",
        "extra-body": '{"tools": [{"type": "function", "name": "get_weather"}]}',
    },
    "shared-prefix-tokens": {"dataset": "", "context-tokens": "9000"},
    "documents": {"dataset": "", "context-tokens": "9000"},
    "document-tokens": {"dataset": "", "context-tokens": "9000", "documents": "5"},
    "document-zipf": {"dataset": "", "context-tokens": "9000", "documents": "5"},
    "fan-out": {"dataset": "", "steps": "3..5"},
    "skip-bad": {"requests": "scenarios/traces/sample-requests.jsonl"},
    **{
        name: {
            "endpoint": "app",
            "app-body": '["{{question}}"]',
            "app-text": "text",
        }
        for name in BY_NAME
        if name.startswith("app-")
    },
}
"""What an option needs beside it."""

ELSEWHERE = {"env-file", "auth", "auth-scope", "ca-file", "server-failure-criteria", "price-table"}
"""Read before the settings, or needing a file or an account."""


def settings_with(**given: str) -> Settings:
    options = {"host": "http://127.0.0.1:9/v1", "dataset": "scenarios/dataset.csv", **given}
    targets = {"chat", "rag"}
    if "requests" in given:  # they are asked in place of questions, and of the chat target alone
        options, targets = {**options, "dataset": ""}, {"chat"}
    if not options["dataset"]:
        targets = {"chat"}
    environment = Environment({"ORCHESTRATOR_FUNCTION_KEY": "k" * 20, "ORCHESTRATOR_APP_APIKEY": "k" * 20}, {})
    values = {name.replace("-", "_"): value for name, value in options.items()}
    return build_settings(values, environment, targets, "smoke.conf")


def facts(settings: Settings) -> dict[str, object]:
    found = {name: getattr(settings, name) for name in Settings.__slots__ if name != "sending"}
    # The text of an option has a bound of its own; what is drawn is the same.
    found = {name: replace(value, upper=0) if isinstance(value, Length) else value for name, value in found.items()}
    return found | {
        "timeout_s": settings.sending.timeout_s,
        "retry": settings.sending.retry,
    }


def test_every_option_is_documented_and_no_other() -> None:
    assert DOCS.keys() == BY_NAME.keys() - INTERNAL


@pytest.mark.parametrize("option", find(None), ids=lambda option: option.name)
def test_the_example_is_accepted(option: Option, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert not option.choices or DOCS[option.name].example in option.choices
    if option.name not in ELSEWHERE:
        settings_with(**BESIDE.get(option.name, {}) | {option.name: DOCS[option.name].example})


@pytest.mark.parametrize("option", [o for o in find(None) if DOCS[o.name].default], ids=lambda option: option.name)
def test_the_default_is_what_holds_without_the_option(option: Option, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    beside = {name: value for name, value in BESIDE.get(option.name, {}).items() if name != option.name}
    default = DOCS[option.name].default
    assert facts(settings_with(**beside)) == facts(settings_with(**beside, **{option.name: default}))


def test_words_find_options() -> None:
    assert {option.name for option in find("tokens")} >= {"context-tokens", "max-tokens", "quota-tpm"}
    assert near("context-token")[0] == "context-tokens"
    assert {option.name for option in find(None)}.isdisjoint(INTERNAL)


def test_a_wrong_example_would_be_noticed() -> None:
    with pytest.raises(BadInput):
        settings_with(**{"think-time": "soon"})
