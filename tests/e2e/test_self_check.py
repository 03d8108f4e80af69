"""A stored self-check, held against runs that carry more than it found accurate."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.locust_process import Target, credentials, run_locust, scenario
from tests.simulator_process import ROOT
from tests.tokenswarm.generator.test_selfcheck_result import RIGHT, WRONG
from tokenswarm.generator.selfcheck_result import SelfCheck, SelfCheckLevel, store, this_machine


def text_report(directory: Path) -> str:
    command = [sys.executable, "-m", "analysis", "report", str(directory), "--no-html"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


def keep_self_check(cache: Path) -> dict[str, str]:
    """This machine is right up to 2 streams and wrong beyond; the environment in which that is known."""
    levels = [SelfCheckLevel(2, 1e6, 10.0, RIGHT, 100.0), SelfCheckLevel(4, 2e6, 20.0, WRONG, 100.0)]
    store(SelfCheck(time.time(), this_machine(), 0.0, levels), cache / "tokenswarm" / "selfcheck.json")
    return {"XDG_CACHE_HOME": str(cache)}


@pytest.mark.parametrize(
    "load",
    [
        ["-u", "3", "-r", "3"],
        ["-u", "40", "-r", "40", "--rate", "1200"],  # 20 requests/s of 850 ms
        ["-u", "8", "-r", "8", "--processes", "2"],
    ],
    ids=["closed loop", "open load", "two workers"],
)
def test_a_run_beyond_the_self_check_warns_and_its_report_says_so(
    target: Target, tmp_path: Path, load: list[str]
) -> None:
    flags = [*load, "-t", "4s", "--max-tokens", "40", "--deployment", "slow"]
    variables = {**credentials(target), **keep_self_check(tmp_path / "cache")}
    finished = run_locust(scenario("smoke", *flags), variables, tmp_path)
    run = finished.run()
    assert "Self-check: " in finished.output
    assert "is beyond what this machine measures accurately: 2 streams" in finished.output
    assert len(run.facts["generator"]["self_checks"]) == 1
    assert all("right up to 2 streams" in line for line in run.facts["generator"]["self_checks"])
    assert 1 <= len(run.facts["generator"]["beyond_self_check"]) <= 2
    report = " ".join(text_report(run.directory).split())
    assert "A worker carried too much: " in report
    assert "Self-check (" in report


def test_a_run_within_it_only_carries_its_line(target: Target, tmp_path: Path) -> None:
    variables = {**credentials(target), **keep_self_check(tmp_path / "cache")}
    finished = run_locust(scenario("smoke", "-u", "2", "-t", "3s", "--deployment", "slow"), variables, tmp_path)
    run = finished.run()
    assert "Self-check:" not in finished.output
    assert run.facts["generator"]["beyond_self_check"] == []
    assert len(run.facts["generator"]["self_checks"]) == 1
