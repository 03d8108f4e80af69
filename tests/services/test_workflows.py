"""The GitHub workflows: linted by actionlint and ShellCheck, and their shell run here as the runner would."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.run_health import code_of_run

PROJECT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
TOOLS = Path(sys.executable).parent


def steps(workflow: str) -> dict[str, dict[str, Any]]:
    """The steps of the workflow's one job, by name."""
    parsed = yaml.safe_load((PROJECT / ".github" / "workflows" / workflow).read_text())
    (job,) = parsed["jobs"].values()
    return {step.get("name", step.get("uses")): step for step in job["steps"]}


class Runner:
    """Runs `run:` blocks with bash as GitHub does, keeping the files for outputs, environment and summary."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        for name in ("output", "env", "summary"):
            (folder / name).touch()
        self.environment = {
            "PATH": f"{folder / 'bin'}:{TOOLS}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": str(PROJECT),
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_ENV": str(folder / "env"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            **environment,
        }
        for name in ("analysis", "deploy", "locustfiles", "scenarios", "simulator", "tokenswarm"):
            (folder / name).symlink_to(PROJECT / name)
        for path in PROJECT.glob("requirements*.txt"):
            (folder / path.name).symlink_to(path)

    def run(self, step: dict[str, Any], **environment: str) -> subprocess.CompletedProcess[str]:
        script = self.folder / "step.sh"
        script.write_text(step["run"])
        known = self.read("env")
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.folder,
            env={**self.environment, **known, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def read(self, name: str) -> dict[str, str]:
        lines = (self.folder / name).read_text().splitlines()
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    @property
    def summary(self) -> str:
        return (self.folder / "summary").read_text()

    def command(self, name: str, script: str) -> None:
        """A stand-in for a program that needs an account."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)


def test_there_are_five_workflows() -> None:
    names = ["azure-load-testing.yml", "loadtest.yml", "release.yml", "scenario.yml", "tests.yml"]
    assert [path.name for path in WORKFLOWS] == names


def test_actionlint_and_shellcheck_find_nothing() -> None:
    command = [TOOLS / "actionlint", "-shellcheck", TOOLS / "shellcheck", *WORKFLOWS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("schema", "paths"), [("github-workflows", WORKFLOWS), ("github-actions", [PROJECT / "action.yml"])]
)
def test_they_fit_the_published_schemas(schema: str, paths: list[Path]) -> None:
    command = [TOOLS / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_summary_begins_with_the_verdict() -> None:
    """By `--step-summary`, which folds the figures after it; a whole report.md is appended nowhere."""
    for path in (*WORKFLOWS, PROJECT / "action.yml"):
        lines = path.read_text().splitlines()
        reports = [line for line in lines if " report " in line and ("analysis" in line or "tokenswarm" in line)]
        assert all("--step-summary" in line for line in reports), path
        assert not any("report.md" in line and "SUMMARY" in line for line in lines), path


def test_actionlint_would_find_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yml"
    path.write_text(WORKFLOWS[1].read_text().replace("steps.run.outputs", "steps.ran.outputs"))
    done = subprocess.run([TOOLS / "actionlint", path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert '"ran" is not defined' in done.stdout


def action_steps() -> dict[str, dict[str, Any]]:
    """The steps of the composite action, by name."""
    parsed = yaml.safe_load((PROJECT / "action.yml").read_text())
    return {step.get("name", step.get("uses")): step for step in parsed["runs"]["steps"]}


def test_the_actions_shell_is_clean(tmp_path: Path) -> None:
    """actionlint reads workflows only: the action's steps are linted as those of a job."""
    parsed = yaml.safe_load((PROJECT / "action.yml").read_text())
    inputs = {name: {"type": "string", **given} for name, given in parsed["inputs"].items()}
    job_steps = [{key: value for key, value in step.items() if key != "outputs"} for step in parsed["runs"]["steps"]]
    job = {"runs-on": "ubuntu-latest", "steps": job_steps}
    path = tmp_path / "action-steps.yml"
    path.write_text(yaml.safe_dump({"name": "x", "on": {"workflow_call": {"inputs": inputs}}, "jobs": {"job": job}}))
    command = [TOOLS / "actionlint", "-shellcheck", TOOLS / "shellcheck", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    for step in parsed["runs"]["steps"]:
        assert "${{" not in step.get("run", "") and ("run" not in step or step["shell"] == "bash")


def test_the_action_runs_reports_compares_and_judges(chat_target: str, tmp_path: Path) -> None:
    job = action_steps()
    bin_folder = tmp_path / "temp" / "tokenswarm" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "tokenswarm").write_text(f'#!/bin/bash\nexec {sys.executable} -m tokenswarm "$@"\n')
    (bin_folder / "tokenswarm").chmod(0o755)
    (tmp_path / "target.env").write_text(f"AZURE_OPENAI_ENDPOINT={chat_target}\nAOAI_DEPLOYMENT=gpt-4.1-mini-200k\n")
    runner = Runner(tmp_path, RUNNER_TEMP=str(tmp_path / "temp"), AZURE_OPENAI_API_KEY="simulator-key")
    options = "--run-time=2s\n\n--failure-criteria=p95(response_time_ms) > 1\n"
    ran = runner.run(job["Run the scenario"], SCENARIO="smoke", ENV_FILES="target.env", OPTIONS=options)
    assert ran.returncode == 0, ran.stderr
    outputs = runner.read("output")
    assert outputs["code"] == str(code_of_run(tmp_path / "results", 3)), ran.stdout
    reported = runner.run(job["Report"], RUN=outputs["run"])
    assert reported.returncode == 0, reported.stderr
    verdict, figures = runner.summary.split("<details><summary>All figures</summary>")
    shown = "Failed" if outputs["code"] == "3" else "Not to be trusted"  # of a machine that was too busy
    assert shown in verdict.partition("| ")[0], "the verdict comes first"
    assert "p95(response" in verdict
    assert "| " in figures and figures.rstrip().endswith("</details>")
    earlier = shutil.copytree(tmp_path / outputs["run"], tmp_path / "earlier" / "20260101T000000Z")
    same = {"RUN": outputs["run"], "BASELINE": str(earlier), "FAIL_IF": "p50(e2e_ms) worse > 100 %"}
    compared = runner.run(job["Compare with the baseline"], **same)
    assert compared.returncode == (4 if outputs["code"] == "4" else 0), compared.stderr
    assert runner.run(job["Verdict"], CODE=outputs["code"]).returncode == int(outputs["code"])


def test_the_action_ends_with_bad_input(tmp_path: Path) -> None:
    bin_folder = tmp_path / "temp" / "tokenswarm" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "tokenswarm").write_text(f'#!/bin/bash\nexec {sys.executable} -m tokenswarm "$@"\n')
    (bin_folder / "tokenswarm").chmod(0o755)
    runner = Runner(tmp_path, RUNNER_TEMP=str(tmp_path / "temp"))
    ran = runner.run(action_steps()["Run the scenario"], SCENARIO="smok", ENV_FILES="", OPTIONS="")
    assert ran.returncode == 2 and "did you mean smoke" in ran.stderr
    assert runner.read("output") == {"code": "2", "run": ""}


@pytest.mark.parametrize(
    ("tag", "changelog", "problem"),
    [
        ("v1.2.3", "# Changelog\n\n## [1.2.3] - 2026-01-01\n\n- one\n\n## [1.2.2]\n\n- old\n", ""),
        ("v1.2.4", "## [1.2.3]\n\n- one\n", "expected the tag v1.2.3 of pyproject.toml, got v1.2.4"),
        ("v1.2.3", "## [Unreleased]\n\n- one\n", "expected a section [1.2.3] in CHANGELOG.md, got none"),
    ],
)
def test_a_release_needs_tag_version_and_changelog_to_agree(
    tag: str, changelog: str, problem: str, tmp_path: Path
) -> None:
    runner = Runner(tmp_path, TAG=tag)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    checked = runner.run(steps("release.yml")["Check that tag, version and changelog agree"])
    assert (checked.returncode, checked.stderr.strip()) == (2 if problem else 0, problem)
    if not problem:
        assert (tmp_path / "notes.md").read_text().strip() == "- one"


def test_the_version_of_this_commit_can_be_released(tmp_path: Path) -> None:
    """All that is left to do is to tag it: the section of its version has a date and something in it."""
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    changelog = (PROJECT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE)
    runner = Runner(tmp_path, TAG=f"v{version}")
    for name in ("pyproject.toml", "CHANGELOG.md"):
        (tmp_path / name).symlink_to(PROJECT / name)
    checked = runner.run(steps("release.yml")["Check that tag, version and changelog agree"])
    assert (checked.returncode, checked.stderr) == (0, "")
    notes = (tmp_path / "notes.md").read_text()
    assert "\n- " in notes and "\n## [" not in notes


def test_what_is_used_elsewhere_is_the_tag_that_a_release_moves(tmp_path: Path) -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    runner = Runner(tmp_path, TAG=f"v{version}")
    runner.command("git", 'echo "$@" >> git.log')
    assert runner.run(steps("release.yml")["Move the tag of the major version"]).returncode == 0
    moved = (tmp_path / "git.log").read_text().splitlines()[0].split()[-1]
    for path in (PROJECT / "docs" / "ci.md", PROJECT / ".github" / "workflows" / "scenario.yml"):
        assert set(re.findall(r"OWNER/tokenswarm[\w./]*@(\w+)", path.read_text())) == {moved}, path


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_input_reaches_a_shell_as_text(path: Path) -> None:
    for step in steps(path.name).values():
        assert "${{" not in step.get("run", "")


def test_a_scenario_is_run_reported_and_judged(chat_target: str, tmp_path: Path) -> None:
    job = steps("loadtest.yml")
    runner = Runner(
        tmp_path,
        SCENARIO="smoke",
        HOST=chat_target,
        RUN_TIME="2s",
        AZURE_OPENAI_ENDPOINT="",
        AZURE_OPENAI_DEPLOYMENT="gpt-4.1-mini-200k",
        AZURE_OPENAI_API_KEY="simulator-key",
        LOCUST_FAILURE_CRITERIA="p95(response_time_ms) > 1",
    )
    ran = runner.run(job["Run the scenario"])
    assert ran.returncode == 0, ran.stderr
    outputs = runner.read("output")
    assert outputs["code"] == str(code_of_run(tmp_path / "results", 3))
    assert (tmp_path / outputs["run"] / "requests.csv").exists()
    reported = runner.run(job["Report"], RUN=outputs["run"])
    assert reported.returncode == 0, reported.stderr
    assert "p95(response" in runner.summary and "failed" in runner.summary
    assert runner.run(job["Verdict"], CODE=outputs["code"]).returncode == int(outputs["code"])

    shutil.copytree(tmp_path / outputs["run"], tmp_path / "baseline")
    compared = runner.run(job["Compare with the baseline"], RUN=outputs["run"], FAIL_IF="p50(e2e_ms) worse > 100 %")
    assert compared.returncode == (4 if outputs["code"] == "4" else 0), compared.stderr


def test_bad_input_ends_the_job_with_its_own_exit_code(tmp_path: Path) -> None:
    runner = Runner(tmp_path, SCENARIO="smoke", HOST="", RUN_TIME="")
    ran = runner.run(steps("loadtest.yml")["Run the scenario"])
    assert ran.returncode == 2
    assert "chat endpoint: expected" in ran.stderr
    assert runner.read("output") == {"code": "2", "run": ""}


def test_the_baseline_is_the_last_run_that_has_the_scenario(tmp_path: Path) -> None:
    runner = Runner(tmp_path, SCENARIO="smoke")
    runner.command("gh", 'if [ "$2" = list ]; then echo 30; echo 20; else echo "$@" >> asked; [ "$3" = 20 ]; fi')
    assert runner.run(steps("loadtest.yml")["Fetch the baseline"]).returncode == 0
    assert runner.read("output") == {"found": "yes"}
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [f"run download {number} --name run-smoke --dir baseline" for number in (30, 20)]


def test_without_a_baseline_the_job_goes_on(tmp_path: Path) -> None:
    runner = Runner(tmp_path, SCENARIO="smoke")
    runner.command("gh", '[ "$2" = list ]')
    assert runner.run(steps("loadtest.yml")["Fetch the baseline"]).returncode == 0
    assert (runner.read("output"), runner.summary[:31]) == ({}, "No earlier successful run of sm")


GROUP = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-dev/providers"


def resource(name: str, kind: str | None, type_name: str, **tags: str) -> dict[str, Any]:
    tags = {"azd-env-name": "dev", **{key.replace("_", "-"): value for key, value in tags.items()}}
    return {"id": f"{GROUP}/{type_name}/{name}", "name": name, "kind": kind, "type": type_name, "tags": tags}


RESOURCES = [
    resource("speech-1", "SpeechServices", "Microsoft.CognitiveServices/accounts"),
    resource("oai-1", "OpenAI", "Microsoft.CognitiveServices/accounts"),
    resource("kv-1", None, "Microsoft.KeyVault/vaults"),
    resource("fning-1", "functionapp,linux", "Microsoft.Web/sites", azd_service_name="dataIngest"),
    resource("fnorch-1", "functionapp,linux", "Microsoft.Web/sites", azd_service_name="orchestrator"),
    resource("search-1", None, "Microsoft.Search/searchServices"),
    resource("db-1", "GlobalDocumentDB", "Microsoft.DocumentDB/databaseAccounts"),
    resource("lt-1", None, "Microsoft.LoadTestService/loadTests"),
]


@pytest.mark.parametrize("kind", ["chat", "rag"])
def test_an_azd_environment_becomes_a_bundle(tmp_path: Path, kind: str) -> None:
    job = steps("azure-load-testing.yml")
    runner = Runner(tmp_path, KIND=kind, SCENARIO="smoke", ENGINES="2", ENV_NAME="dev")
    (tmp_path / "resources.json").write_text(json.dumps(RESOURCES))
    runner.command("az", '[ "$*" = "resource list --tag azd-env-name=dev --output json" ] && cat resources.json')
    found = runner.run(job["Find the resources"], AZURE_OPENAI_DEPLOYMENT="gpt-4o")
    assert found.returncode == 0, found.stderr
    assert runner.read("env") == {
        "AZURE_OPENAI_DEPLOYMENT": "gpt-4o",
        "AZURE_OPENAI_NAME": "oai-1",
        "KEY_VAULT_NAME": "kv-1",
        "ORCHESTRATOR_NAME": "fnorch-1",
        "AZURE_SEARCH_NAME": "search-1",
        "AZURE_COSMOS_NAME": "db-1",
        "LOAD_TEST_NAME": "lt-1",
        "AZURE_SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000001",
        "AZURE_RESOURCE_GROUP": "rg-dev",
        "AZURE_OPENAI_ENDPOINT": "https://oai-1.openai.azure.com",
        "ORCHESTRATOR_ENDPOINT": "https://fnorch-1.azurewebsites.net",
    }
    built = runner.run(job["Build the bundle"], AZURE_OPENAI_KEY_SECRET="key", ORCHESTRATOR_KEY_SECRET="function-key")
    assert built.returncode == 0, built.stderr
    config = yaml.safe_load((tmp_path / "bundle" / "config.yaml").read_text())
    assert config["engineInstances"] == 2
    assert config["secrets"][0]["value"].startswith("https://kv-1.vault.azure.net/secrets/")


def test_an_unknown_azd_environment_is_one_line(tmp_path: Path) -> None:
    runner = Runner(tmp_path, ENV_NAME="nope")
    runner.command("az", "echo []")
    found = runner.run(steps("azure-load-testing.yml")["Find the resources"], AZURE_OPENAI_DEPLOYMENT="")
    assert found.returncode == 2
    assert "got none (which environment?)" in found.stderr


def test_results_of_the_service_are_reported(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    (tmp_path / "loadTest").mkdir()
    rows = "".join(
        f"{1_800_000_000_000 + 1000 * second},{200 + second},chat,200,OK,user 1,text,true,,100,50,1,1,http://x,50,0,0\n"
        for second in range(120)
    )
    (tmp_path / "loadTest" / "engine1_results.csv").write_text(
        "timeStamp,elapsed,label,responseCode,responseMessage,threadName,dataType,success,failureMessage,bytes,"
        f"sentBytes,grpThreads,allThreads,URL,Latency,IdleTime,Connect\n{rows}"
    )
    reported = runner.run(steps("azure-load-testing.yml")["Report"])
    assert reported.returncode == 0, reported.stderr
    assert "120" in runner.summary


def test_no_results_are_no_failure_of_their_own(tmp_path: Path) -> None:
    done = Runner(tmp_path).run(steps("azure-load-testing.yml")["Report"])
    assert (done.returncode, done.stdout) == (0, "No results were downloaded.\n")
