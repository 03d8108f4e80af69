from __future__ import annotations

from typing import Any

import pytest

from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.preflight.target_line import describe_targets

RESOURCE = "https://r.openai.azure.com"


def line(variables: dict[str, str], sources: dict[str, str] | None = None, **options: Any) -> str:
    environment = Environment(variables, sources or {})
    settings = build_settings(options, environment, {"chat"})
    (text,) = describe_targets(settings, options, environment)
    assert not [value for name, value in variables.items() if name.endswith("KEY") and value in text]
    return text


@pytest.mark.parametrize(
    ("variables", "options", "expected"),
    [
        (
            {"AZURE_OPENAI_ENDPOINT": RESOURCE, "AZURE_OPENAI_API_KEY": "secret-1", "AZURE_OPENAI_DEPLOYMENT": "d"},
            {},
            f"Target: POST {RESOURCE}/openai/v1/chat/completions "
            "(host from AZURE_OPENAI_ENDPOINT (lab.env:1)), api azure-v1 (inferred); key AZURE_OPENAI_API_KEY "
            "(environment) in authorization; model d (AZURE_OPENAI_DEPLOYMENT (environment))",
        ),
        (
            {"OPENAI_API_KEY": "secret-1"},
            {"host": "http://h:1/v1", "deployment": "m", "api": "openai", "headers": "x-team: one"},
            "Target: POST http://h:1/v1/chat/completions (host from --host), api openai (as given); key OPENAI_API_KEY "
            "(environment) in authorization; model m (--deployment); further headers x-team",
        ),
        (
            {},
            {"host": "http://h:1", "deployment": "m"},
            "Target: POST http://h:1/v1/chat/completions (host from --host), api openai (inferred); no key; "
            "model m (--deployment)",
        ),
        (
            {"AZURE_OPENAI_ENDPOINT": "https://gw/openai2", "AZURE_OPENAI_API_KEY": "secret-1"},
            {"host": "https://gw/openai2", "deployment": "m"},
            "Target: POST https://gw/openai2/openai/deployments/m/chat/completions?api-version=2024-10-21 (host from "
            "AZURE_OPENAI_ENDPOINT (lab.env:1)), api azure (inferred); key AZURE_OPENAI_API_KEY (environment) in "
            "api-key; model m (--deployment)",
        ),
    ],
)
def test_what_was_inferred_is_said(variables: dict[str, str], options: dict[str, str], expected: str) -> None:
    assert line(variables, {"AZURE_OPENAI_ENDPOINT": "lab.env:1"}, **options) == expected


def test_an_orchestrator(tmp_path: Any) -> None:
    environment = Environment({"ORCHESTRATOR_ENDPOINT": "http://h:1", "ORCHESTRATOR_FUNCTION_KEY": "secret-1"}, {})
    settings = build_settings({"dataset": "scenarios/dataset.csv"}, environment, {"rag"})
    assert describe_targets(settings, {}, environment) == [
        "Target: POST http://h:1/api/orc (host from ORCHESTRATOR_ENDPOINT (environment)), contract v1; "
        "x-functions-key from ORCHESTRATOR_FUNCTION_KEY (environment)"
    ]
