"""From lists of Azure resources to the names of a bundle, with a stand-in for `az`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "deploy" / "azure-load-testing"
PREFIX = "/subscriptions/S/resourceGroups/rg/providers"


def resource(name: str, type_: str, **more: Any) -> dict[str, Any]:
    tags = {"azd-env-name": "e", **({"azd-service-name": "orchestrator"} if "orchestrator" in name else {})}
    return {"id": f"{PREFIX}/{type_}/{name}", "name": name, "type": type_, "tags": tags, **more}


TWO_VAULTS = [resource(name, "Microsoft.KeyVault/vaults") for name in ("bastionkvabc", "kv0-abc")]
VERSION_2 = [
    resource("aif-1", "Microsoft.CognitiveServices/accounts", kind="AIServices"),
    resource("kv-e-01", "Microsoft.KeyVault/vaults"),
    resource("ca-orchestrator", "Microsoft.App/containerApps"),
    resource("srch", "Microsoft.Search/searchServices"),
    resource("cosmos", "Microsoft.DocumentDB/databaseAccounts"),
    resource("lt", "Microsoft.LoadTestService/loadtests"),
]


def find(
    folder: Path, resources: list[dict[str, Any]], az: str = "exit 1", **environment: str
) -> subprocess.CompletedProcess[str]:
    """What find_resources.py says, with a shell script for `az`."""
    (folder / "az").write_text(f"#!/bin/sh\n{az}\n")
    (folder / "az").chmod(0o755)
    return subprocess.run(
        [sys.executable, FOLDER / "find_resources.py"],
        input=json.dumps(resources),
        env={"PATH": f"{folder}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def names(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


HOLDS = """case "$*" in
  *"--vault-name kv0-abc "*) echo '["orchestrator-host--functionKey", "azureOpenAIKey"]' ;;
  *"--vault-name bastionkvabc "*) echo '["vmUserInitialPassword"]' ;;
esac"""


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("kind", ["rag", "chat", ""])
def test_of_two_vaults_it_is_the_one_that_holds_the_secret(tmp_path: Path, order: int, kind: str) -> None:
    found = names(find(tmp_path, TWO_VAULTS[::order], HOLDS, KIND=kind))
    assert found == {"KEY_VAULT_NAME": "kv0-abc"}


@pytest.mark.parametrize("az", ["exit 1", "echo '[\"azureOpenAIKey\"]'", "echo '[]'", "echo nonsense", "echo 5"])
def test_where_that_does_not_decide_both_are_named(tmp_path: Path, az: str) -> None:
    done = find(tmp_path, TWO_VAULTS, az)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "KEY_VAULT_NAME: expected one resource, got bastionkvabc, kv0-abc "
        "(set KEY_VAULT_NAME to the one that is meant)\n"
    )


def test_a_vault_that_is_named_is_taken(tmp_path: Path) -> None:
    assert names(find(tmp_path, TWO_VAULTS, KEY_VAULT_NAME="kv0-abc")) == {"KEY_VAULT_NAME": "kv0-abc"}


def test_of_several_alike_of_any_type_none_is_taken_for_its_name(tmp_path: Path) -> None:
    accounts = [resource(name, "Microsoft.CognitiveServices/accounts", kind="OpenAI") for name in ("oai-a", "oai-b")]
    done = find(tmp_path, [*TWO_VAULTS, *accounts])
    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["AZURE_OPENAI_NAME", "KEY_VAULT_NAME"]


def test_a_container_app_has_its_contract_type_key_and_address(tmp_path: Path) -> None:
    az = '[ "$1 $2" = "resource show" ] && echo ca-orchestrator.kind-sea.eastus.azurecontainerapps.io'
    found = names(find(tmp_path, VERSION_2, az))
    assert found["ORCHESTRATOR_ENDPOINT"] == "https://ca-orchestrator.kind-sea.eastus.azurecontainerapps.io"
    assert found["ORCHESTRATOR_TYPE"] == "Microsoft.App/containerApps"
    assert found["ORCHESTRATOR_CONTRACT"] == "v2"
    assert found["ORCHESTRATOR_KEY_NAME"] == "ORCHESTRATOR_APP_APIKEY"
    assert found["KEY_VAULT_NAME"] == "kv-e-01"


def test_an_address_that_is_not_known_is_said(tmp_path: Path) -> None:
    done = find(tmp_path, VERSION_2)
    assert "ORCHESTRATOR_ENDPOINT: expected the address of ca-orchestrator from az, got none" in done.stderr
    assert "ORCHESTRATOR_ENDPOINT" not in names(done)
    assert names(find(tmp_path, VERSION_2, ORCHESTRATOR_ENDPOINT="https://a"))["ORCHESTRATOR_ENDPOINT"] == "https://a"


@pytest.mark.parametrize("contract_from", ["resources", "scenario"])
def test_the_bundle_of_a_container_app(tmp_path: Path, contract_from: str) -> None:
    found = names(find(tmp_path, VERSION_2, ORCHESTRATOR_ENDPOINT="https://ca.azurecontainerapps.io"))
    scenario = (PROJECT / "scenarios" / "rag-peak.conf").read_text()
    if contract_from == "scenario":
        scenario += "rag-contract = v2\n"
        found = {name: value for name, value in found.items() if name != "ORCHESTRATOR_CONTRACT"}
    (tmp_path / "peak.conf").write_text(scenario)
    command = [sys.executable, FOLDER / "bundle.py", "rag", "--scenario", tmp_path / "peak.conf"]
    done = subprocess.run(
        [*command, "--output", tmp_path / "bundle"],
        env={"PATH": os.environ["PATH"], **found},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "bundle" / "config.yaml").read_text()
    config = yaml.safe_load(text)
    assert {"name": "LOCUST_RAG_CONTRACT", "value": "v2"} in config["env"]
    secret = "https://kv-e-01.vault.azure.net/secrets/ORCHESTRATOR-APP-APIKEY"
    assert config["secrets"] == [{"name": "ORCHESTRATOR_APP_APIKEY", "value": secret}]
    component = config["appComponents"][0]
    assert component["resourceId"] == f"{PREFIX}/Microsoft.App/containerApps/ca-orchestrator"
    assert {metric["namespace"] for metric in component["metrics"]} == {"Microsoft.App/containerApps"}
    assert "Microsoft.Web" not in text
