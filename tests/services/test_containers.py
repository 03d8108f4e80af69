"""Containers without an engine: files linted, manifests validated, and their commands run here as processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.ports import free_port
from tests.run_health import code_of_run

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
DOCKER = PROJECT / "deploy" / "docker"
KUBERNETES = PROJECT / "deploy" / "kubernetes"


def manifests() -> list[dict[str, Any]]:
    return [one for path in sorted(KUBERNETES.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())]


def find(kind: str, name: str) -> dict[str, Any]:
    (found,) = (one for one in manifests() if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def container(kind: str, name: str) -> dict[str, Any]:
    (only,) = find(kind, name)["spec"]["template"]["spec"]["containers"]
    return only


COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())


def test_hadolint_finds_nothing() -> None:
    command = [TOOLS / "hadolint", DOCKER / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_nobody_and_copies_what_exists() -> None:
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    assert "USER 10001" in lines
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    for name in (name for names in copied for name in names):
        assert (PROJECT / name).exists(), name


def test_the_pinned_versions_are_the_required_ones() -> None:
    pins = dict(line.split("==") for line in (DOCKER / "constraints.txt").read_text().split() if "==" in line)
    for path in (PROJECT / "requirements.txt", PROJECT / "requirements-azure.txt"):
        for line in path.read_text().splitlines():
            if text := line.partition("#")[0].strip():
                requirement = Requirement(text)
                assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), line


def test_nothing_the_pinned_packages_need_is_left_unpinned() -> None:
    pins = {line.split("==")[0] for line in (DOCKER / "constraints.txt").read_text().split() if "==" in line}
    for name in pins:
        for needed in metadata.requires(name) or []:
            requirement = Requirement(needed)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            assert not wanted or canonicalize_name(requirement.name) in pins, f"{name} needs {needed}"


@pytest.mark.parametrize("manifest", manifests(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_the_manifests_fit_the_schema_of_kubernetes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_a_manifest_with_a_wrong_key_would_not() -> None:
    wrong = find("Job", "tokenswarm-master")
    wrong["spec"]["backofLimit"] = 0
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.31", strict=True)


def test_services_select_what_the_manifests_run() -> None:
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in manifests() if "template" in one["spec"]]
    for service in (one for one in manifests() if one["kind"] == "Service"):
        assert service["spec"]["selector"] in labels


def test_master_and_workers_agree() -> None:
    master, worker = container("Job", "tokenswarm-master"), container("Job", "tokenswarm-worker")
    expected = master["args"][master["args"].index("--expect-workers") + 1]
    assert find("Job", "tokenswarm-worker")["spec"]["parallelism"] == int(expected)
    assert worker["args"][-1] == find("Service", "tokenswarm-master")["metadata"]["name"]
    assert master["env"] == worker["env"]
    assert {name: COMPOSE["services"][name]["image"] for name in ("master", "worker")} == dict.fromkeys(
        ("master", "worker"), "tokenswarm"
    )


def locally(words: list[str], port: int, results: Path, **names: str) -> list[str]:
    """A container's command for this machine: names of services become addresses, the port a free one."""
    words = [re.sub(r"\$\((\w+)\)", lambda match: names[match[1]], word) for word in words]
    words = [names.get(word, word) for word in words]
    side = ["--master-port", str(port)] if "--worker" in words else ["--master-bind-port", str(port)]
    return [str(TOOLS / words[0]), *words[1:], *side, "--results-dir", str(results)]


def run_together(commands: list[list[str]], environment: dict[str, str]) -> list[tuple[int, str]]:
    """Run processes side by side; exit code and log of each. None is left behind."""
    running = [
        subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    watchdog = threading.Timer(60, lambda: [process.send_signal(signal.SIGKILL) for process in running])
    watchdog.start()
    try:
        logs = [process.communicate()[0] for process in running]
    finally:
        watchdog.cancel()
    return [(process.returncode, log) for process, log in zip(running, logs, strict=True)]


def run_directory(results: Path) -> Path:
    (path,) = results.glob("smoke/*/run.json")
    return path.parent


def test_the_jobs_of_kubernetes_run_a_test_to_its_verdict(chat_target: str, tmp_path: Path) -> None:
    port = free_port()
    master, worker = container("Job", "tokenswarm-master"), container("Job", "tokenswarm-worker")
    names = {"SCENARIO": master["env"][0]["value"], "tokenswarm-master": "127.0.0.1"}
    commands = [
        locally(one["command"] + one["args"], port, tmp_path / folder, **names)
        for one, folder in ((master, "results"), (worker, "one"), (worker, "two"))
    ]
    commands[0] += ["--run-time", "2s"]
    secret = {  # what `kubectl create secret --from-env-file` puts into the environment
        "AZURE_OPENAI_ENDPOINT": chat_target,
        "AZURE_OPENAI_API_KEY": "simulator-key",
        "AZURE_OPENAI_DEPLOYMENT": "gpt-4.1-mini-200k",
        "LOCUST_FAILURE_CRITERIA": "count(requests) < 1",
        "LOCUST_REPORT": "no",
    }
    ended = run_together(commands, secret)
    expected = code_of_run(tmp_path / "results", 0)
    assert [code for code, _ in ended] == [expected, 0, 0], ended[0][1] + ended[1][1]
    rows = (run_directory(tmp_path / "results") / "requests.csv").read_text().splitlines()
    assert len(rows) > 2


def test_compose_runs_what_kubernetes_runs() -> None:
    headless = {"--headless", "--expect-workers", "2", "--expect-workers-max-wait", "300"}
    for name in ("master", "worker"):
        words = [word.replace("$(SCENARIO)", "smoke") for word in container("Job", f"tokenswarm-{name}")["args"]]
        words = [word.replace("tokenswarm-master", "master") for word in words if word not in headless]
        assert COMPOSE["services"][name]["command"] == words
        assert COMPOSE["services"][name]["environment"].keys() == COMPOSE["services"]["master"]["environment"].keys()


def test_the_simulators_command_is_one_it_understands() -> None:
    service = COMPOSE["services"]["simulator"]
    of_kubernetes = container("Deployment", "simulator")
    assert service["entrypoint"] + service["command"] == of_kubernetes["command"] + of_kubernetes["args"]
    done = subprocess.run(
        [sys.executable, *service["entrypoint"][1:], *service["command"], "--help"],
        cwd=PROJECT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
