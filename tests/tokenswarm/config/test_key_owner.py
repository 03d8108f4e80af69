"""A key goes to the endpoint it came with, and nowhere else unless somebody says so."""

from __future__ import annotations

from typing import Any

import pytest

from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.config.key_owner import ENTRA_TOKEN, KeyOwner, parse_endpoints
from tokenswarm.config.settings import Settings
from tokenswarm.userinput import BadInput

LAB = "https://lab.openai.azure.com"
EVIL = "https://evil.example"
KEY = {"AZURE_OPENAI_API_KEY": "canary-key-1"}
PAIR = {"AZURE_OPENAI_ENDPOINT": LAB, **KEY}
RAG = {"ORCHESTRATOR_FUNCTION_KEY": "canary-key-2"}
RAG_HOST = "https://fn.azurewebsites.net"


def environment(**values: str) -> Environment:
    return Environment(values, {})


@pytest.mark.parametrize(
    ("key", "values", "endpoint", "launched", "may"),
    [
        ("AZURE_OPENAI_API_KEY", PAIR, LAB, None, True),
        ("AZURE_OPENAI_API_KEY", PAIR, LAB + "/openai/v1", None, True),
        ("AZURE_OPENAI_API_KEY", PAIR, "https://LAB.openai.azure.com:443/", None, True),
        ("AZURE_OPENAI_API_KEY", PAIR, EVIL, None, False),
        ("AZURE_OPENAI_API_KEY", PAIR, EVIL, (EVIL,), False),  # a flag
        ("AZURE_OPENAI_API_KEY", PAIR, LAB + ":8443", None, False),
        ("AZURE_OPENAI_API_KEY", PAIR, LAB + ".evil.example", None, False),
        ("AZURE_OPENAI_API_KEY", PAIR, "http://lab.openai.azure.com", None, False),
        ("AZURE_OPENAI_API_KEY", PAIR, "http://127.0.0.1:8000", None, False),
        ("AZURE_OPENAI_API_KEY", {"AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:1"}, "http://localhost:1", None, True),
        ("AZURE_OPENAI_API_KEY", {"AZURE_OPENAI_ENDPOINT": "http://gate.local"}, "https://gate.local", None, True),
        ("AZURE_OPENAI_API_KEY", KEY, EVIL, (EVIL,), True),  # no endpoint but the flag's
        ("AZURE_OPENAI_API_KEY", KEY, EVIL, (LAB,), False),  # a form
        ("AZURE_OPENAI_API_KEY", KEY, EVIL, (), False),
        ("AZURE_OPENAI_API_KEY", KEY, EVIL, None, True),  # a worker: the master has checked
        ("AZURE_OPENAI_API_KEY", {"OPENAI_BASE_URL": LAB + "/openai/v1", **KEY}, LAB, None, True),
        ("OPENAI_API_KEY", {"AOAI_ENDPOINT": LAB}, LAB, None, True),
        ("OPENAI_API_KEY", {**PAIR, "OPENAI_BASE_URL": EVIL}, LAB, None, False),
        (ENTRA_TOKEN, {"AZURE_OPENAI_ENDPOINT": LAB}, EVIL, (EVIL,), False),
        ("ORCHESTRATOR_FUNCTION_KEY", {**PAIR, "ORCHESTRATOR_ENDPOINT": RAG_HOST}, LAB, None, False),
        ("ORCHESTRATOR_BEARER_TOKEN", {"ORCHESTRATOR_APP_ENDPOINT": RAG_HOST}, RAG_HOST, None, True),
    ],
)  # fmt: skip
def test_where_a_key_may_go(
    key: str, values: dict[str, str], endpoint: str, launched: tuple[str, ...] | None, may: bool
) -> None:
    problem = KeyOwner(launched).problem(key, endpoint, environment(**values))
    assert (problem is None) == may, problem
    assert "canary" not in (problem or "")


def test_an_explicit_yes_opens_https_and_this_machine_but_never_plain_http() -> None:
    values = environment(**PAIR)
    for url, may in ((EVIL, True), ("http://127.0.0.1:8000", True), ("http://evil.example", False)):
        assert (KeyOwner(None, [url]).problem("AZURE_OPENAI_API_KEY", url, values) is None) == may
    assert KeyOwner(None, [LAB]).problem("AZURE_OPENAI_API_KEY", EVIL, values)


def settings(given: dict[str, Any], values: dict[str, str], targets: str, launched: tuple[str, ...]) -> Settings:
    return build_settings(given, environment(**values), set(targets.split()), None, None, launched)


def test_settings_refuse_a_key_for_another_host_and_name_both() -> None:
    values = {"AZURE_OPENAI_ENDPOINT": LAB, "ORCHESTRATOR_ENDPOINT": RAG_HOST, **KEY, **RAG}
    options = {"host": EVIL, "rag_host": EVIL, "deployment": "d", "dataset": "scenarios/dataset.csv"}
    with pytest.raises(BadInput) as caught:
        settings(options, values, "chat rag", (EVIL,))
    assert [problem.split(" (")[0] for problem in caught.value.problems] == [
        f"API key: expected one of {EVIL}'s own, got AZURE_OPENAI_API_KEY, which came with {LAB}",
        f"API key: expected one of {EVIL}'s own, got ORCHESTRATOR_FUNCTION_KEY, which came with {RAG_HOST}",
    ]
    allowed = settings({**options, "send_keys_to": f"{EVIL}, {LAB}"}, values, "chat rag", (EVIL,))
    assert allowed.chat is not None and allowed.chat.endpoint == EVIL


def test_a_host_without_any_key_needs_none() -> None:
    chat = settings({"host": "http://127.0.0.1:1/v1"}, PAIR, "chat", ()).chat
    assert chat is not None and chat.key == "none", "an OpenAI-compatible server gets no Azure key"


def test_the_list_of_further_hosts_is_checked() -> None:
    assert parse_endpoints(" https://a , http://b:1 ", "send-keys-to") == ("https://a", "http://b:1")
    with pytest.raises(BadInput, match="send-keys-to: expected an http or https URL"):
        parse_endpoints("a.example", "send-keys-to")
