"""What a scenario file states stands beside what a run is held against, however Locust reads the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.config.given_options import Agreed, agreed_of_files, agreed_of_launch, replaced
from tokenswarm.config.settings import Settings

STRICT = "p95(ttft_ms) > 1000; percentage(error) > 1"


def settings(**options: str) -> Settings:
    given = {"host": "http://localhost:1/v1", "api": "openai", "deployment": "m", **options}
    return build_settings(given, Environment({}, {}), {"chat"})


def said(agreed: Agreed | None, **options: str) -> list[tuple[str, str | None]]:
    return [(each.criterion, each.by) for each in replaced(agreed, settings(**options))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.conf", f"# a comment\nusers = 5\nfailure-criteria = {STRICT}\n"),
        ("x.conf", f"--failure_criteria: {STRICT}  # as agreed\n"),
        ("x.toml", f'[tool.locust]\nfailure-criteria = "{STRICT}"\n'),
    ],
)
def test_criteria_are_found_in_each_format(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    agreed = agreed_of_files([None, tmp_path / "missing.conf", tmp_path / name])
    assert agreed == Agreed(str(tmp_path / name), {"failure-criteria": STRICT})
    assert said(agreed, failure_criteria=STRICT) == []
    lax = said(agreed, failure_criteria="percentage(error) > 99")
    assert lax == [("p95(ttft_ms) > 1000", None), ("percentage(error) > 1", "percentage(error) > 99")]
    assert [by for _, by in said(agreed)] == [None, None]


@pytest.mark.parametrize("text", ["", "users = 5\n", "[tool\n", "\0"])
@pytest.mark.parametrize("name", ["x.conf", "x.toml"])
def test_a_file_that_states_nothing(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert agreed_of_files([tmp_path / name]) is None
    assert said(None, failure_criteria=STRICT) == []


def test_goodput_and_auto_stop_are_stated_too() -> None:
    agreed = agreed_of_launch({"goodput": "ttft_ms < 100", "auto_stop": "50% / 10s", "rate": "5"})
    assert agreed is not None
    assert said(agreed, goodput="ttft_ms < 90, tbt_ms < 5", auto_stop="50% / 10s") == []
    assert said(agreed, goodput="ttft_ms < 900", auto_stop="disable") == [
        ("goodput ttft_ms < 100", "ttft_ms<900"),
        ("auto-stop 50% / 10s", None),
    ]
    assert said(agreed_of_launch({"auto_stop": "disable"}), auto_stop="90% / 60s") == []


def test_a_criterion_of_the_file_that_is_none_is_not_lost_either() -> None:
    assert said(Agreed("x.conf", {"failure-criteria": "p95(x"}), failure_criteria=STRICT) == [("p95(x", STRICT)]


def test_nothing_is_stated_without_options() -> None:
    assert agreed_of_launch({"failure_criteria": " ", "goodput": None}) is None
