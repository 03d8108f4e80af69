"""Each of these lost a criterion without a word: the run passed."""

from __future__ import annotations

import io

import pytest
from configargparse import DefaultConfigFileParser

from tests.simulator_process import ROOT
from tokenswarm.config.given_options import blank_options, repeated_options, scenario_problems

SCENARIOS = sorted((ROOT / "scenarios").glob("*.conf"))


@pytest.mark.parametrize("value", ["", "  ", "\t"])
def test_a_blank_option_is_refused(value: str) -> None:
    (problem,) = blank_options({"failure_criteria": value, "auto_stop": None, "rate": ""})
    assert problem.startswith("failure-criteria: expected a value, got a blank one")


def test_an_option_given_twice_is_refused() -> None:
    arguments = ["--failure-criteria", "a", "--rate", "1", "--rate", "2", "--failure-criteria=b"]
    (problem,) = repeated_options(arguments)
    assert problem.startswith("--failure-criteria: expected it once, got it 2 times")
    assert repeated_options(["--failure-criteria", "a"]) == []


@pytest.mark.parametrize(
    "line",
    [
        "failure-criteria = p95(ttft_ms) > 1000 ; percentage(error) > 1",
        "failure-criteria: p95(ttft_ms) > 1000 ;percentage(error) > 1",
        "--failure-criteria p95(ttft_ms) > 1000 # percentage(error) > 1",
        "goodput = ttft_ms < 1000 ; tbt_ms < 50",
    ],
)
def test_a_criterion_that_the_parser_takes_for_a_comment(line: str) -> None:
    (kept,) = DefaultConfigFileParser().parse(io.StringIO(line)).values()
    assert "error" not in kept and "tbt" not in kept  # what Locust makes of it
    (problem,) = scenario_problems(line, "x.conf")
    assert "expected no blank before" in problem and "(x.conf, line 1)" in problem


@pytest.mark.parametrize(
    "line",
    [
        "failure-criteria = p95(ttft_ms) > 1000; percentage(error) > 1",
        "failure-criteria = p95(ttft_ms) > 1000  # as agreed",
        "rate = 50 ; requests per minute = 50",
        "; failure-criteria = a ; b > 1",
        "[section]",
    ],
)
def test_what_loses_nothing_is_left_alone(line: str) -> None:
    assert scenario_problems(line, "x.conf") == []


def test_a_key_given_twice_is_refused() -> None:
    text = "failure-criteria = percentage(error) > 1\nrate = 5\n\nfailure_criteria = percentage(error) > 90\n"
    assert scenario_problems(text, "x.conf") == [
        "failure-criteria: expected it once, got it in line 1 and again (x.conf, line 4)"
    ]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_scenarios_lose_nothing(path: object) -> None:
    assert scenario_problems(path.read_text(), str(path)) == []  # type: ignore[attr-defined]
