"""From the resources of an azd environment to the names that the bundle needs.

    az resource list --tag azd-env-name=NAME | python deploy/azure-load-testing/find_resources.py >> "$GITHUB_ENV"

azd tags everything it makes with `azd-env-name`, and a service's own resource with `azd-service-name`. What the list
does not tell is asked with `az`: which of several key vaults holds the secret, and the address of a container app. A
variable that is set already wins; of several resources alike none is taken for its name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bundle import ORCHESTRATORS

from tokenswarm.redaction import one_line, write_line

Resource = dict[str, Any]
Ask = Callable[..., str | None]
"""What `az` says to some arguments; `None` when it cannot be asked or refuses."""

CONTAINER_APPS = "microsoft.app/containerapps"
TYPES: dict[str, tuple[str, ...]] = {
    "AZURE_OPENAI_NAME": ("microsoft.cognitiveservices/accounts",),
    "KEY_VAULT_NAME": ("microsoft.keyvault/vaults",),
    "ORCHESTRATOR_NAME": ("microsoft.web/sites", CONTAINER_APPS),
    "AZURE_SEARCH_NAME": ("microsoft.search/searchservices",),
    "AZURE_COSMOS_NAME": ("microsoft.documentdb/databaseaccounts",),
    "LOAD_TEST_NAME": ("microsoft.loadtestservice/loadtests",),
}
OPENAI_KINDS = ("openai", "aiservices")


class Ambiguous(Exception):
    """Several resources of which one is meant, one line each."""


def _matches(variable: str, resource: Resource) -> bool:
    if resource["type"].lower() not in TYPES[variable]:
        return False
    if variable == "AZURE_OPENAI_NAME":
        return (resource.get("kind") or "").lower() in OPENAI_KINDS
    tags = resource.get("tags") or {}
    return variable != "ORCHESTRATOR_NAME" or tags.get("azd-service-name") == "orchestrator"


def name_resources(resources: Iterable[Resource], environment: Mapping[str, str], ask: Ask) -> dict[str, str]:
    """Variable to value; what is not there is left out. Raises `Ambiguous`."""
    resources = list(resources)
    found: dict[str, Resource] = {}
    problems = []
    for variable in TYPES:
        candidates = [resource for resource in resources if _matches(variable, resource)]
        try:
            if candidates:
                found[variable] = _choose(variable, candidates, environment, ask)
        except Ambiguous as error:
            problems.append(str(error))
    if problems:
        raise Ambiguous("\n".join(problems))
    names = {variable: str(resource["name"]) for variable, resource in found.items()}
    if openai := found.get("AZURE_OPENAI_NAME"):
        parts = openai["id"].split("/")
        names |= {"AZURE_SUBSCRIPTION_ID": parts[2], "AZURE_RESOURCE_GROUP": parts[4]}
        names["AZURE_OPENAI_ENDPOINT"] = f"https://{openai['name']}.openai.azure.com"
    if orchestrator := found.get("ORCHESTRATOR_NAME"):
        names |= _name_orchestrator(orchestrator, environment, ask)
    return names


def _choose(variable: str, candidates: list[Resource], environment: Mapping[str, str], ask: Ask) -> Resource:
    given = environment.get(variable)
    if given:
        candidates = [resource for resource in candidates if resource["name"] == given] or candidates
    elif len(candidates) > 1 and variable == "KEY_VAULT_NAME":
        wanted = wanted_secrets(environment)
        candidates = [each for each in candidates if _holds(each, wanted, ask)] or candidates
    if len(candidates) == 1:
        return candidates[0]
    found = ", ".join(sorted(str(resource["name"]) for resource in candidates))
    raise Ambiguous(f"{variable}: expected one resource, got {found} (set {variable} to the one that is meant)")


def wanted_secrets(environment: Mapping[str, str]) -> set[str]:
    """Names of the secrets that the bundle refers to, of the kind (`KIND`: chat or rag) that is built."""
    openai = {environment.get("AZURE_OPENAI_KEY_SECRET") or "azureOpenAIKey"}
    given = environment.get("ORCHESTRATOR_KEY_SECRET")
    orchestrator = {given} if given else {secret for _, _, secret, _, _ in ORCHESTRATORS.values()}
    return {"chat": openai, "rag": orchestrator}.get(environment.get("KIND", ""), openai | orchestrator)


def _holds(vault: Resource, wanted: set[str], ask: Ask) -> bool:
    text = ask(
        "keyvault", "secret", "list", "--vault-name", str(vault["name"]), "--query", "[].name", "--output", "json"
    )
    try:
        return bool(wanted & set(json.loads(text or "[]")))
    except (ValueError, TypeError):
        return False


def _name_orchestrator(resource: Resource, environment: Mapping[str, str], ask: Ask) -> dict[str, str]:
    """Address, contract, type and key of an orchestrator: a function app of version 1, a container app from 2 on."""
    given = environment.get("ORCHESTRATOR_ENDPOINT")
    if resource["type"].lower() != CONTAINER_APPS:
        return {"ORCHESTRATOR_ENDPOINT": given or f"https://{resource['name']}.azurewebsites.net"}
    kind, key_name, secret, _, _ = ORCHESTRATORS["v2"]
    names = {"ORCHESTRATOR_CONTRACT": "v2", "ORCHESTRATOR_TYPE": kind, "ORCHESTRATOR_KEY_NAME": key_name}
    names["ORCHESTRATOR_KEY_SECRET"] = environment.get("ORCHESTRATOR_KEY_SECRET") or secret
    if endpoint := given or _address(resource, ask):
        names["ORCHESTRATOR_ENDPOINT"] = endpoint
    else:
        expected = f"ORCHESTRATOR_ENDPOINT: expected the address of {resource['name']} from az, got none"
        write_line(f"{expected} (set it to https://APP...azurecontainerapps.io)", sys.stderr)
    return names


def _address(resource: Resource, ask: Ask) -> str | None:
    """The https address of a container app; `None` when it is not known."""
    query = "properties.configuration.ingress.fqdn"
    name = ask("resource", "show", "--ids", str(resource["id"]), "--query", query, "--output", "tsv")
    return f"https://{name.strip()}" if name and name.strip() else None


def ask_az(*arguments: str) -> str | None:
    """Ask the Azure CLI."""
    try:
        done = subprocess.run(["az", *arguments], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def main() -> int:
    try:
        names = name_resources(json.load(sys.stdin), os.environ, ask_az)
    except Ambiguous as error:
        write_line(str(error), sys.stderr)
        return 2
    if not names:
        write_line("resources: expected some with the tag azd-env-name, got none (which environment?)", sys.stderr)
        return 2
    # Names of resources, for $GITHUB_ENV: one line each, and not redacted (`..._SECRET=` is the name of one).
    sys.stdout.writelines(f"{name}={one_line(value)}\n" for name, value in names.items())
    return 0


if __name__ == "__main__":
    sys.exit(main())
