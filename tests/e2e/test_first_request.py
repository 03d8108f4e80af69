"""Before the load: a real run against a GPT-5-class service, and against services that would refuse all of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.locust_process import locust_process
from tests.tokenswarm.preflight.test_first_request import (
    NO_MODEL,
    NO_PATH,
    WRONG_KEY,
    Answer,
    Service,
    gpt5,
    listing,
)


def run(tmp_path: Path, service: Service, *more: str) -> tuple[int, str, dict[str, Any], list[dict[str, str]]]:
    """Exit code, output, run.json and rows of `smoke` for 2 s with nothing but URL and key in the environment."""
    variables = {"OPENAI_BASE_URL": service.url + "/v1", "OPENAI_API_KEY": "key-1234567", "LOCUST_PREFLIGHT": "full"}
    command = ["--config", "scenarios/smoke.conf", "--headless", "-u", "1", "-r", "1", "-t", "2s"]
    command += ["--think-time", "0.2", "--results-dir", str(tmp_path), *more]
    with locust_process(command, variables, tmp_path / "log.txt") as process:
        process.wait(timeout=60)
    output = (tmp_path / "log.txt").read_text()
    directory = next(iter(tmp_path.glob("smoke/*")), None)
    if directory is None:
        return process.returncode, output, {}, []
    with (directory / "requests.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return process.returncode, output, json.loads((directory / "run.json").read_text()), rows


def test_smoke_passes_on_a_service_that_refuses_max_tokens(tmp_path: Path) -> None:
    with Service(gpt5) as service:
        service.models = listing("gpt-5")
        _, output, facts, rows = run(tmp_path, service)
    assert not facts["verdict"]["has_failed"], output
    assert {row["outcome"] for row in rows} == {"ok"}
    said = "the limit of completion tokens is sent as max_completion_tokens: the service refuses max_tokens"
    assert facts["preflight"]["adapted"] == [said] and said in output
    assert all("max_completion_tokens" in body for body in service.bodies[1:])
    assert len(service.bodies) - 2 == len(rows)
    assert not {row["call_id"] for row in rows} & {each["call_id"] for each in facts["preflight"]["requests"]}


@pytest.mark.parametrize(
    ("endpoint", "answer", "problem"),
    [
        ("chat", WRONG_KEY, "API key: "),
        ("chat", NO_MODEL, "deployment: "),
        ("chat", NO_PATH, "endpoint: "),
        ("responses", NO_PATH, "endpoint: "),
        ("embeddings", NO_MODEL, "deployment: "),
        ("completions", WRONG_KEY, "API key: "),
        ("messages", WRONG_KEY, "API key: "),
    ],
)
def test_a_service_that_refuses_everything_is_asked_once(
    tmp_path: Path, endpoint: str, answer: Answer, problem: str
) -> None:
    with Service(lambda *_: answer) as service:
        code, output, facts, _ = run(tmp_path, service, "--endpoint", endpoint, "--deployment", "gpt-5")
    assert (code, facts, len(service.bodies)) == (2, {}, 1), output
    assert output.count("  - ") == 1 and f"  - {problem}" in output
    assert "Traceback" not in output and "key-1234567" not in output
