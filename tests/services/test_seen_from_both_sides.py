"""One run against the simulator, scraped while it goes on and asked for afterwards: all three counts agree."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.__main__ import main
from tests.run_health import code_of_run
from tests.services.conftest import DEPLOYMENTS
from tests.simulator_process import API_KEY, Simulator, running_simulator
from tokenswarm.metrics.server_metrics import FILE_NAME, append_samples, parse_server_metrics, read_samples
from tokenswarm.results.prometheus import Scraper

PROJECT = Path(__file__).resolve().parents[2]
ACCOUNT = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers"
    "/Microsoft.CognitiveServices/accounts/stand-in"
)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One of its own: a minute of metrics is this run's."""
    with running_simulator(DEPLOYMENTS) as simulator:
        yield simulator


def run_smoke(simulator: Simulator, results: Path) -> Path:
    command = [Path(sys.executable).parent / "locust", "--config", "scenarios/smoke.conf", "--headless"]
    command += ["--host", simulator.chat_url, "--run-time", "2s", "--results-dir", results]
    environment = {
        **os.environ,
        "AZURE_OPENAI_API_KEY": API_KEY,
        "AZURE_OPENAI_DEPLOYMENT": "gpt-4.1-nano",
        "LOCUST_REPORT": "no",
    }
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code_of_run(results, 0), done.stderr
    (run,) = results.glob("smoke/*/run.json")
    return run.parent


def test_the_client_the_scrape_and_the_monitor_count_the_same(
    simulator: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{simulator.chat_url}/metrics every=500ms name=stand-in-metrics; {ACCOUNT} region=local"
    _, (endpoint,) = parse_server_metrics(text)
    scraper = Scraper(endpoint, tmp_path / "scraped.csv")
    scraper.start()
    run = run_smoke(simulator, tmp_path / "results")
    scraper.stop()
    append_samples(run / FILE_NAME, read_samples(tmp_path / "scraped.csv"))
    code = main(["azure-metrics", str(run), "--endpoint", simulator.chat_url, "--server-metrics", text])
    printed = capsys.readouterr().out
    assert code == 0
    compared = [line.split() for line in printed.splitlines() if line.startswith("chat ")]
    assert len(compared) == 7
    assert {words[-1] for words in compared} == {"agrees"}, printed
