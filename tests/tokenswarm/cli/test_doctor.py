"""What `tokenswarm doctor` says of keys and endpoints, by what is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenswarm.cli.doctor import chat_findings, examine
from tokenswarm.config.environment import Environment

KEYS = {"OPENAI_API_KEY": "sk-of-the-model-1", "OPENAI_BASE_URL": "https://models.example.com/v1"}


def found(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], values: dict[str, str]) -> dict[str, str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    problems: list[str] = []
    findings = chat_findings(Environment(values, dict.fromkeys(values, "lab.env:1")), problems)
    assert problems == []
    return {finding.what: f"{finding.value} ({finding.source})" for finding in findings}


def test_an_application_needs_no_key_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"LOCUST_ENDPOINT": "app", "LOCUST_APP_PRESET": "ag-ui", "LOCUST_HOST": "http://127.0.0.1:9"}
    said = found(monkeypatch, variables, KEYS)
    assert said["endpoint"] == "http://127.0.0.1:9/ag-ui (LOCUST_HOST)"
    assert said["API"] == "app-preset ag-ui (LOCUST_ENDPOINT)"
    assert said["key"] == "none was given (an application's are in headers)"
    assert "model" not in said and "OPENAI" not in str(said) and "proxy" in said


def test_an_applications_headers_are_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "LOCUST_ENDPOINT": "app",
        "LOCUST_APP_PRESET": "dify",
        "LOCUST_HEADERS": "Authorization: Bearer abc-12345",
    }
    said = found(monkeypatch, variables, {"ORCHESTRATOR_ENDPOINT": "http://127.0.0.1:9"})
    assert said["endpoint"].startswith("http://127.0.0.1:9/v1/chat-messages (ORCHESTRATOR_ENDPOINT")
    assert said["key"] == "in headers: Authorization (LOCUST_HEADERS)" and "abc-12345" not in str(said)


def test_messages_take_anthropics_key(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"ANTHROPIC_API_KEY": "sk-ant-123456", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    said = found(monkeypatch, {"LOCUST_ENDPOINT": "messages", "LOCUST_DEPLOYMENT": "m"}, values)
    assert said["key"] == "given, not shown (ANTHROPIC_API_KEY, lab.env:1)"


def test_a_chat_service_shows_where_its_key_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    said = found(monkeypatch, {"LOCUST_DEPLOYMENT": "m"}, KEYS)
    assert said["key"] == "given, not shown (OPENAI_API_KEY, lab.env:1)"


def test_all_environment_files_are_read_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.environ", {})
    endpoint, model = tmp_path / "endpoint.env", tmp_path / "model.env"
    endpoint.write_text("OPENAI_BASE_URL=http://127.0.0.1:9/v1\nOPENAI_MODEL=first\n")
    model.write_text("OPENAI_MODEL=second\n")
    examine([endpoint, model], request=False)
    said = capsys.readouterr().out
    assert f"{endpoint}, {model}" in said and "second" in said and "first" not in said
