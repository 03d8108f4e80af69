"""Several targets of one run: what the option says, and whose keys go where."""

from __future__ import annotations

from typing import Any

import pytest

from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.config.settings import Settings
from tokenswarm.config.targets import parse_several
from tokenswarm.userinput import BadInput

LAB = "https://lab.openai.azure.com"
OTHER = "https://other.openai.azure.com"
KEYS = {"AZURE_OPENAI_ENDPOINT": LAB, "AZURE_OPENAI_API_KEY": "canary-key-1"}


def run_of(split: str, **options: Any) -> Settings:
    return build_settings({"targets": split, **options}, Environment(KEYS, {}), {"chat"})


def test_weights_priority_and_hosts() -> None:
    weighted, by_priority = parse_several(f"gpt-4.1 = 3, gpt-4.1 @ {OTHER} = 0.5, mini")
    assert not by_priority
    assert [(each.name, each.host, each.weight) for each in weighted] == [
        ("gpt-4.1", None, 3.0),
        ("gpt-4.1 @ other.openai.azure.com", OTHER, 0.5),
        ("mini", None, 1.0),
    ]
    ordered, by_priority = parse_several("ptu > standard")
    assert by_priority and [each.name for each in ordered] == ["ptu", "standard"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one", "expected 2 to 20 of them, got 1"),
        ("a, a", "expected each once, got 'a' again"),
        ("a = 0, b", "expected a weight above 0, got '0'"),
        ("a = much, b", "expected a weight above 0, got 'much'"),
        ("a = nan, b", "expected a weight above 0"),
        ("a > b = 2", "expected no weight beside >, got '2'"),
        ("a, , b", "expected a deployment, got ''"),
        ("a @ other.example, b", "targets: expected an http or https URL"),
        ("a > b, c", "expected a deployment, got 'b, c'"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_several(text)


def test_each_target_is_a_deployment_of_its_host() -> None:
    run = run_of("gpt-4.1 = 3, mini = 1")
    assert run.several is not None and run.chat is not None
    assert [(each.deployment, each.endpoint) for each in run.several.targets.values()] == [
        ("gpt-4.1", LAB + "/openai/v1"),
        ("mini", LAB + "/openai/v1"),
    ]
    assert (run.chat, run.several.weights, run.urls) == (
        run.several.targets["gpt-4.1"],
        [3.0, 1.0],
        [LAB + "/openai/v1"],
    )


def test_a_key_goes_to_no_other_host_unless_somebody_says_so() -> None:
    with pytest.raises(BadInput, match=f"API key: expected one of {OTHER}'s own, got AZURE_OPENAI_API_KEY") as caught:
        run_of(f"gpt-4.1, gpt-4.1 @ {OTHER}")
    assert "canary" not in str(caught.value)
    run = run_of(f"gpt-4.1, gpt-4.1 @ {OTHER}", send_keys_to=OTHER)
    assert run.several is not None
    assert [each.key for each in run.several.targets.values()] == ["canary-key-1"] * 2
    assert run.urls == [LAB + "/openai/v1", OTHER + "/openai/v1"]


def test_plain_http_gets_no_key_that_came_with_https() -> None:
    elsewhere = "http://other.openai.azure.com"
    with pytest.raises(BadInput, match="API key: expected https for AZURE_OPENAI_API_KEY"):
        run_of(f"gpt-4.1, gpt-4.1 @ {elsewhere}", send_keys_to=elsewhere)


@pytest.mark.parametrize(
    ("split", "options", "message"),
    [
        ("a, b", {"endpoint": "app"}, "targets: expected users of a model's API"),
        ("a, b", {"requests": "x.jsonl"}, "targets: expected no requests beside it"),
        (
            "a > b",
            {"endpoint": "responses", "earlier_turns": "previous_response_id"},
            "targets: expected weights beside earlier-turns",
        ),
    ],
)
def test_what_cannot_be_shared(split: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        run_of(split, **options)
    assert any(message in problem for problem in caught.value.problems)
