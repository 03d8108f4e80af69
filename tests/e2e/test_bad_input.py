"""A user's mistakes: one message with all of them, exit code 2, no traceback, nothing sent, nothing written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.locust_process import Finished, Target, credentials, run_locust, scenario
from tests.simulator_process import ROOT


def refused(arguments: list[str], variables: Mapping[str, str], target: Target, folder: Path) -> list[str]:
    """Run what must not start; the lines of the message. A refused try is all that a service may have seen."""
    finished: Finished = run_locust(arguments, variables, folder)
    assert finished.code == 2, finished.output
    assert "Traceback" not in finished.output
    assert [line for line in target.truth() if line["status"] != 401] == [] and len(target.truth()) <= 1
    assert not list(finished.results.rglob("*"))
    return finished.output.splitlines()


def test_a_missing_key(target: Target, tmp_path: Path) -> None:
    variables = credentials(target)
    del variables["AZURE_OPENAI_API_KEY"]
    lines = refused(scenario("smoke"), variables, target, tmp_path)
    assert lines[-2:] == [
        "Not started:",
        "  - API key: expected a key or --auth entra, got none (no key was given; looked for AZURE_OPENAI_API_KEY and "
        "OPENAI_API_KEY in the environment and env files)",
    ]


def test_a_wrong_key(target: Target, tmp_path: Path) -> None:
    lines = refused(scenario("smoke"), {**credentials(target), "AZURE_OPENAI_API_KEY": "not-it"}, target, tmp_path)
    assert lines[-1].startswith("  - API key: expected one that 127.0.0.1")


def test_an_unknown_deployment(target: Target, tmp_path: Path) -> None:
    lines = refused(scenario("smoke", "--deployment", "gpt-36"), credentials(target), target, tmp_path)
    assert lines[-1].startswith("  - deployment: expected one of 127.0.0.1")
    assert "'gpt-36'" in lines[-1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "expected"), (b"id,question\n1,Wo ist das B\xfcro?\n", "UTF-8"), (b'question\n"open\n', "quote")],
    ids=["empty", "latin-1", "quote"],
)
def test_an_unusable_dataset(content: bytes, expected: str, target: Target, tmp_path: Path) -> None:
    dataset = tmp_path / "questions.csv"
    dataset.write_bytes(content)
    lines = refused(scenario("rag-peak", "--dataset", str(dataset)), credentials(target), target, tmp_path)
    assert str(dataset) in lines[-1]
    assert expected in lines[-1]


@pytest.mark.parametrize("rate", ["-1", "0", "nan", "many", "1e99"])
def test_an_impossible_rate(rate: str, target: Target, tmp_path: Path) -> None:
    lines = refused(scenario("paygo-gpt35-4rpm", f"--rate={rate}"), credentials(target), target, tmp_path)
    assert lines[-1].startswith("  - rate: expected")
    assert repr(rate) in lines[-1]


def test_an_unknown_scenario_key(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "mine.conf"
    path.write_text((ROOT / "scenarios" / "smoke.conf").read_text() + "max-tokenz = 7\n")
    lines = refused(["--config", str(path)], credentials(target), target, tmp_path)
    assert any("max-tokenz" in line for line in lines)


@pytest.mark.parametrize("kind", ["missing", "directory", "binary", "grammar"])
def test_an_unreadable_env_file(kind: str, target: Target, tmp_path: Path) -> None:
    path = tmp_path / "lab.env"
    if kind == "directory":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(b"\xff\xfe\x00\x01" if kind == "binary" else b"OPENAI_API_KEY='open\nnonsense here\n")
    lines = refused(scenario("smoke", "--env-file", str(path)), credentials(target), target, tmp_path)
    assert any(str(path) in line or path.name in line for line in lines if line.startswith("  - "))


def test_several_mistakes_at_once_are_all_told(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "mine.conf"
    path.write_text(
        "locustfile = locustfiles/chat_completions.py\nrate = -1\ncontext-tokens = lots\ndataset = nowhere.csv\n"
        "failure-criteria = p95(ttft) > 1; p95(ttft_ms) > soon\nauto-stop = 200%\nseed = 1.5\nwarm-up = later\n"
    )
    variables = credentials(target)
    del variables["AZURE_OPENAI_API_KEY"], variables["AZURE_OPENAI_DEPLOYMENT"]
    lines = refused(["--config", str(path)], variables, target, tmp_path)
    message = "\n".join(lines[lines.index("Not started:") + 1 :])
    for part in ("rate", "context-tokens", "nowhere.csv", "'ttft'", "soon", "200%", "seed", "warm-up", "API key"):
        assert part in message, part
    assert "deployment" in message


def test_a_scenario_that_is_not_there(target: Target, tmp_path: Path) -> None:
    finished = run_locust(["--config", str(tmp_path / "nowhere.conf")], credentials(target), tmp_path)
    assert finished.code != 0
    assert "nowhere.conf" in finished.output
    assert "Traceback" not in finished.output
    assert target.truth() == []


def test_two_processes_refuse_as_one(target: Target, tmp_path: Path) -> None:
    lines = refused(
        scenario("smoke", "--processes", "2", "--deployment", "gone"), credentials(target), target, tmp_path
    )
    assert sum("'gone'" in line for line in lines) == 1


BLANK = "failure-criteria: expected a value, got a blank one"


@pytest.mark.parametrize(
    ("flags", "variables", "expected"),
    [
        pytest.param([], {"LOCUST_FAILURE_CRITERIA": ""}, BLANK, id="variable"),
        pytest.param(["--failure-criteria="], {}, BLANK, id="option"),
        pytest.param(["--failure-criteria", ";;;"], {}, "failure criteria: expected", id="semicolons"),
        pytest.param(
            ["--failure-criteria", "percentage(error) > 1", "--failure-criteria=percentage(error) > 90"],
            {},
            "--failure-criteria: expected it once, got it 2 times",
            id="twice",
        ),
    ],
)
def test_criteria_that_would_be_lost(
    flags: list[str], variables: dict[str, str], expected: str, target: Target, tmp_path: Path
) -> None:
    lines = refused(scenario("smoke", *flags), {**credentials(target), **variables}, target, tmp_path)
    assert any(expected in line for line in lines)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("failure-criteria = p95(ttft_ms) > 9000 ; percentage(error) > 1", "expected no blank before ';'"),
        ("failure-criteria = percentage(error) > 1\nfailure-criteria = percentage(error) > 90", "got it in line"),
        ("failure-criteria =", BLANK),
    ],
)
def test_criteria_that_a_scenario_file_would_lose(line: str, expected: str, target: Target, tmp_path: Path) -> None:
    text = (ROOT / "scenarios" / "smoke.conf").read_text()
    kept = [each for each in text.splitlines() if not each.startswith("failure-criteria")]
    path = tmp_path / "mine.conf"
    path.write_text("\n".join([*kept, line]).replace("../", f"{ROOT}/") + "\n")
    lines = refused(["--config", str(path)], credentials(target), target, tmp_path)
    assert any(expected in each for each in lines)
