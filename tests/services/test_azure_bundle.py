"""The bundle on engines as Azure Load Testing has them.

Each engine is a process of its own with one flat folder, another working directory, only what requirements.txt names
on its path, its settings in the environment, and its part of the users. Nothing connects the engines.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
import venv
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.linked_packages import link_packages, pin
from tests.run_health import note
from tests.simulator_process import Simulator
from tokenswarm.metrics.criteria import AZURE_METRICS, parse_criteria

PROJECT = Path(__file__).resolve().parents[2]
ENGINES = 2
NAMES = {
    "AZURE_OPENAI_DEPLOYMENT": "gpt-4.1-mini-200k",
    "AZURE_OPENAI_NAME": "oai-1",
    "AZURE_OPENAI_KEY_SECRET": "aoai-key",
    "AZURE_SEARCH_NAME": "search-1",
    "AZURE_COSMOS_NAME": "db-1",
    "KEY_VAULT_NAME": "kv-1",
    "ORCHESTRATOR_NAME": "fnorch-1",
    "ORCHESTRATOR_KEY_SECRET": "function-key",
    "AZURE_SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000001",
    "AZURE_RESOURCE_GROUP": "rg",
}
SECRETS = {"AZURE_OPENAI_API_KEY": "simulator-key", "ORCHESTRATOR_FUNCTION_KEY": "simulator-function-key"}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bundle = load(PROJECT / "deploy" / "azure-load-testing" / "bundle.py")

CHAT = """
locustfile = locustfiles/chat_completions.py
dataset = scenarios/dataset.csv
users = 4
spawn-rate = 4
run-time = 4s
stop-timeout = 20
rate = 300
max-tokens = 5
failure-criteria = p95(e2e_ms) > 60000; percentage(error) > 1
"""
RAG = """
locustfile = locustfiles/rag_orchestrator.py
dataset = scenarios/dataset.csv
users = 8
spawn-rate = 8
run-time = 4s
stop-timeout = 30
rag-contract = v1
rate = 150
failure-criteria = p95(response_time_ms) > 60000; percentage(error) > 5
"""


def build(kind: str, scenario: str, folder: Path, simulator: Simulator) -> dict[str, Any]:
    path = folder / f"{kind}-test.conf"
    path.write_text(scenario)
    environment = {
        **NAMES,
        "AZURE_OPENAI_ENDPOINT": simulator.chat_url,
        "ORCHESTRATOR_ENDPOINT": simulator.rag_url,
    }
    bundle.build(kind, path, ENGINES, folder / "bundle", environment)
    return yaml.safe_load((folder / "bundle" / "config.yaml").read_text())


def make_interpreter(folder: Path, requirements: Path) -> Path:
    """A Python that has the packages of requirements.txt and what they need, and nothing else."""
    venv.create(folder, with_pip=False, symlinks=True)
    link_packages(folder, pin.read_requirements(requirements))
    return folder / "bin" / "python"


def run_engines(config: dict[str, Any], folder: Path, split: bool) -> list[Path]:
    """Run every engine at the same time, as the service would; their run directories."""
    python = make_interpreter(folder / "python", folder / "bundle" / "requirements.txt")
    settings = {entry["name"]: entry["value"] for entry in config["env"]}
    settings |= {entry["name"]: SECRETS[entry["name"]] for entry in config["secrets"]}
    settings["LOCUST_USERS"] = str(int(settings["LOCUST_USERS"]) // ENGINES)
    settings["LOCUST_SPAWN_RATE"] = str(float(settings["LOCUST_SPAWN_RATE"]) / ENGINES)
    running = []
    for number in range(ENGINES):
        engine = folder / f"engine{number}"
        engine.mkdir()
        for name in [config["testPlan"], config["properties"]["userPropertyFile"], *config["configurationFiles"]]:
            content = (folder / "bundle" / name).read_bytes()
            if split and name.endswith(".csv"):
                content = b"".join(content.splitlines(keepends=True)[number::ENGINES])
            (engine / name).write_bytes(content)
        results = folder / f"engine{number}_results.csv"
        plans = f"{engine / config['testPlan']},{PROJECT / 'tests' / 'services' / 'engine_listener.py'}"
        conf = str(engine / config["properties"]["userPropertyFile"])
        running.append(
            subprocess.Popen(
                [python, "-m", "locust", "-f", plans, "--config", conf, "--headless", "--only-summary"],
                cwd=folder,
                env={
                    "PATH": os.environ["PATH"],
                    "ENGINE_RESULTS": str(results),
                    "LOCUST_RESULTS_DIR": str(folder / f"kept{number}"),
                    "LOCUST_REPORT": "no",
                    **settings,
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        logs = [process.communicate(timeout=90)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    found = [path.parent for number in range(ENGINES) for path in (folder / f"kept{number}").rglob("run.json")]
    assert len(found) == ENGINES, "\n".join(logs)
    for process, directory in zip(running, found, strict=True):
        facts = json.loads((directory / "run.json").read_text())
        note(directory, facts)
        # In a run of seconds, one arrival that is due while it ends makes it "not delivered".
        assert {each["kind"] for each in facts["verdict"]["reasons"]} <= {"saturated", "not_delivered"}, facts[
            "verdict"
        ]
        assert process.returncode == facts["verdict"]["exit_code"] and not facts["verdict"]["has_failed"]
    return found


def report(folder: Path) -> str:
    """What `analysis` makes of the files that the service offers for download."""
    download = folder / "loadTest"
    download.mkdir()
    for path in folder.glob("engine*_results.csv"):
        path.rename(download / path.name)
    command = [sys.executable, "-m", "analysis", "report", str(download), "--no-html"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return (download / "report.md").read_text()


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "requests.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def gaps_s(rows: list[dict[str, str]]) -> list[float]:
    """Seconds between the instants at which an engine's requests were due."""
    due = sorted(float(row["scheduled_at"]) for row in rows)
    return [later - earlier for earlier, later in pairwise(due)]


def test_engines_that_know_their_place_share_one_plan_and_one_dataset(simulator: Simulator, tmp_path: Path) -> None:
    config = build("chat", CHAT, tmp_path, simulator)
    first, second = (rows_of(run) for run in run_engines(config, tmp_path, split=True))
    for rows in (first, second):
        assert "ok" in {row["outcome"] for row in rows} <= {"ok", "dropped"}
        assert gaps_s(rows) == pytest.approx([0.4] * (len(rows) - 1), abs=0.001)  # 300 a minute, over both
    questions = [{row["question_id"] for row in rows if row["outcome"] == "ok"} for rows in (first, second)]
    assert questions[0] and questions[1] and not questions[0] & questions[1]
    answered = [row for row in first + second if row["outcome"] == "ok"]
    assert f"{len(answered)}" in report(tmp_path)


def test_engines_that_do_not_know_their_place_share_the_rate(simulator: Simulator, tmp_path: Path) -> None:
    config = build("rag", RAG, tmp_path, simulator)
    for run in run_engines(config, tmp_path, split=False):
        rows = rows_of(run)
        assert {row["target"] for row in rows} == {"rag"}
        assert "ok" in {row["outcome"] for row in rows} <= {"ok", "dropped"}
        assert gaps_s(rows) == pytest.approx([0.8] * (len(rows) - 1), abs=0.001)  # 150 a minute, over both


def test_the_folder_is_flat_and_holds_no_secret(simulator: Simulator, tmp_path: Path) -> None:
    config = build("chat", CHAT, tmp_path, simulator)
    files = sorted(path.name for path in (tmp_path / "bundle").iterdir())
    listed = [config["testPlan"], config["properties"]["userPropertyFile"], *config["configurationFiles"]]
    assert files == sorted([*listed, "config.yaml"])
    assert all(path.is_file() for path in (tmp_path / "bundle").iterdir())
    assert [name for name in files if name.endswith(".csv")] == ["engine.csv"]
    assert b"simulator-key" not in b"".join(path.read_bytes() for path in (tmp_path / "bundle").iterdir())


@pytest.mark.parametrize("path", sorted((PROJECT / "scenarios").glob("*.conf")), ids=lambda path: path.stem)
def test_every_scenario_can_be_bundled(path: Path, tmp_path: Path) -> None:
    scenario = bundle.read_scenario(path)
    kind = "rag" if "rag" in scenario["locustfile"] else "chat"
    environment = {**NAMES, "AZURE_OPENAI_ENDPOINT": "https://oai-1.openai.azure.com"}
    environment["ORCHESTRATOR_ENDPOINT"] = "https://fnorch-1.azurewebsites.net"
    bundle.build(kind, path, 1, tmp_path / "bundle", environment)
    config = yaml.safe_load((tmp_path / "bundle" / "config.yaml").read_text())
    settings = {entry["name"]: entry["value"] for entry in config["env"]}
    assert settings.get("LOCUST_RUN_TIME") == scenario.get("run-time")  # a shape has an end of its own
    assert settings.get("LOCUST_USERS") == scenario.get("users")


def test_equal_sources_give_an_equal_archive(tmp_path: Path) -> None:
    for name in ("a", "b"):
        bundle.zip_package(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_missing_name_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.conf"
    path.write_text(CHAT)
    done = subprocess.run(
        [sys.executable, PROJECT / "deploy/azure-load-testing/bundle.py", "chat", "--scenario", path],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 7
    assert "KEY_VAULT_NAME: expected it in the environment, got none" in done.stderr


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("dataset = scenarios/dataset.csv", "dataset = nowhere.csv"), "dataset: expected a file, got 'nowhere.csv'"),
        (("locustfiles/chat_completions.py", "x.py"), "locustfile: expected a file, got 'x.py'"),
        (("rate = 300", "shape = spike"), "shape: expected --engines 1, got 2"),
    ],
)
def test_a_scenario_that_names_no_file_is_refused(tmp_path: Path, change: tuple[str, str], problem: str) -> None:
    path = tmp_path / "s.conf"
    path.write_text(CHAT.replace(*change))
    with pytest.raises(bundle.Problems) as caught:
        bundle.build("chat", path, ENGINES, tmp_path / "out", NAMES)
    assert str(caught.value.args[0][0]).startswith(problem)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "scenario"), [("rag", "rag-peak"), ("chat", "paygo-gpt35-50rpm")])
def test_a_bundle_is_judged_by_its_scenarios_criteria(kind: str, scenario: str) -> None:
    """A laptop and the service judged one run differently: the configuration had criteria of its own."""
    path = PROJECT / "scenarios" / f"{scenario}.conf"
    text = (PROJECT / "deploy" / "azure-load-testing" / f"{kind}.yaml").read_text()
    template = yaml.safe_load(text.replace("${ORCHESTRATOR_METRICS}", "kind: app"))  # lines of a kind
    assert template["failureCriteria"] == ["count(requests) < 1", "${FAILURE_CRITERIA}"]
    entries = bundle.criteria_entries(bundle.read_scenario(path), path).split("\n  - ")
    given = parse_criteria(bundle.read_scenario(path)["failure-criteria"])
    assert entries == [str(criterion) for criterion in given if criterion.metric in AZURE_METRICS]
    assert any(text.startswith("percentage(error)") for text in entries)


@pytest.mark.parametrize("criteria", ["", "p95(ttft_ms) > 1000"])
def test_a_bundle_without_a_criterion_that_the_service_can_judge_is_refused(criteria: str) -> None:
    with pytest.raises(bundle.Problems, match="failure"):
        bundle.criteria_entries({"failure-criteria": criteria}, Path("x.conf"))
