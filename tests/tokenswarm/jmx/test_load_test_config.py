from __future__ import annotations

from pathlib import Path

import pytest

from tests.tokenswarm.jmx.jmeter_plans import PEAK_LOAD, VIRTUAL_TESTERS, conf_values
from tokenswarm.jmx.__main__ import main
from tokenswarm.jmx.load_test_config import read_config
from tokenswarm.metrics.criteria import parse_criteria
from tokenswarm.userinput import BadInput

CONFIG = """
version: v0.1
testPlan: loadtest.jmx
engineInstances: 2
properties:
  userPropertyFile: user.properties
failureCriteria:
  - avg(response_time_ms) > 5000
  - percentage(error) > 20
  - HTTP Request: p95(response_time_ms) > 10000
  - "Login: p95(response_time_ms) > 1"
autoStop:
  errorPercentage: 80
  timeWindow: 60
"""


def test_the_configuration_of_a_load_test_gives_its_criteria(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "loadtest.jmx").write_bytes(VIRTUAL_TESTERS)
    (tmp_path / "user.properties").write_text(PEAK_LOAD)
    assert main([str(tmp_path / "config.yaml")]) == 0
    output = capsys.readouterr()
    values = conf_values(output.out)
    criteria = "avg(response_time_ms) > 5000; percentage(error) > 20; orchestrator: p95(response_time_ms) > 10000"
    assert values["failure-criteria"] == criteria
    assert (values["auto-stop"], values["users"]) == ("80% / 60s", "10")
    assert parse_criteria(criteria) is not None
    assert "engineInstances is 2: each engine runs all threads of the plan, 20 users in all" in output.err
    assert "criterion Login: p95(response_time_ms) > 1 is not taken over" in output.err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "expected the YAML of a load test"),
        ("testPlan: locustfile.py", "expected a testPlan that is a JMeter plan (.jmx), got 'locustfile.py'"),
        ("[]", "expected a testPlan that is a JMeter plan (.jmx), got None"),
        ("testPlan: a.jmx\nengineInstances: 0", "engineInstances: expected a whole number from 1, got 0"),
        (
            "testPlan: a.jmx\nfailureCriteria: [fast]",
            "failureCriteria[0]: expected [Name:] aggregation(metric) > value",
        ),
    ],
)
def test_a_configuration_that_is_none(text: str, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_config(text, "config.yaml")
    assert caught.value.problems[0].startswith(f"config.yaml: {problem}")


@pytest.mark.parametrize(
    ("criteria", "stop"),
    [
        ("failureCriteria: {clientMetrics: ['p95(latency) > 9'], serverMetrics: []}", "autoStop: disable"),
        ("failureCriteria: ['p95(latency)  >  9']", "autoStop: [{errorPercentage: 90}, {timeWindow: 30}]"),
    ],
)
def test_other_forms_of_the_configuration(criteria: str, stop: str) -> None:
    config = read_config(f"testPlan: a.jmx\n{criteria}\n{stop}", "c")
    assert config.criteria == (("", "p95(latency) > 9"),)
    assert config.auto_stop == ("disable" if "disable" in stop else "90% / 30s")
