from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "deploy" / "azure-load-testing"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


check_config = load("check_config").check_config

GOOD: dict[str, Any] = yaml.safe_load(
    """
    version: v0.1
    testId: t-1
    displayName: A test
    testType: Locust
    testPlan: load_test.py
    engineInstances: 2
    configurationFiles: [requirements.txt]
    properties: {userPropertyFile: scenario.conf}
    env: [{name: TOKENSWARM_ENGINE_COUNT, value: "2"}]
    secrets: [{name: KEY, value: "https://team.vault.azure.net/secrets/key"}]
    failureCriteria:
      - avg(response_time_ms) > 300
      - Chat: p99(latency) > 10
      - percentage(error) > 5
      - requests_per_sec: avg(requests_per_sec) < 2
    autoStop: {errorPercentage: 90, timeWindow: 60}
    regionalLoadTestConfig: [{region: eastus, engineInstances: 1}, {region: westus, engineInstances: 1}]
    """
)


def test_a_good_configuration_has_no_problems() -> None:
    assert check_config(GOOD) == []
    assert check_config(GOOD | {"autoStop": "disable", "failureCriteria": {"clientMetrics": []}}) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"surprise": 1}, "surprise: expected a documented key"),
        ({"version": 1}, "version"),
        ({"testId": "No"}, "testId"),
        ({"engineInstances": True}, "engineInstances"),
        ({"engineInstances": 3, "env": []}, "regionalLoadTestConfig"),
        ({"configurationFiles": ["data/a.csv"]}, "configurationFiles[0]"),
        ({"testPlan": "plan.jmx"}, "testPlan"),
        ({"env": [{"name": "A", "value": 5}]}, "env[0].value"),
        ({"env": [{"name": "TOKENSWARM_ENGINE_COUNT", "value": "9"}]}, "env: expected TOKENSWARM_ENGINE_COUNT"),
        ({"env": [{"name": "KEY", "value": "x"}]}, "env, secrets: expected each name once"),
        ({"secrets": [{"name": "KEY", "value": "the-key-itself"}]}, "secrets[0].value"),
        ({"failureCriteria": ["p95(ttft_ms) > 1"]}, "failureCriteria[0]"),
        ({"failureCriteria": ["p94(latency) > 1"]}, "failureCriteria[0]"),
        ({"failureCriteria": {"serverMetric": []}}, "failureCriteria"),
        ({"autoStop": "never"}, "autoStop"),
        ({"properties": "scenario.conf"}, "properties"),
        ({"zipArtifacts": ["a.zip"] * 6}, "zipArtifacts"),
        ({"appComponents": [{"resourceId": "aoai"}]}, "appComponents[0].resourceId"),
    ],
)
def test_a_mistake_is_named_with_its_place(change: dict[str, Any], place: str) -> None:
    (problem,) = check_config(copy.deepcopy(GOOD) | change)
    assert problem.startswith(place)


def test_required_keys_are_required() -> None:
    assert len(check_config({})) == 5
    assert check_config("text") == ["configuration: expected keys and values, got something else"]


@pytest.mark.parametrize("secrets", [[{"name": "KEY", "value": "canary-4711"}], ["canary-4711"], "canary-4711"])
def test_a_key_in_place_of_its_address_is_not_told_back(tmp_path: Path, secrets: Any) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(copy.deepcopy(GOOD) | {"secrets": secrets}))
    command = [sys.executable, FOLDER / "check_config.py", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "secrets" in done.stderr and "may be the secret itself" in done.stderr
    assert "canary" not in done.stdout + done.stderr
