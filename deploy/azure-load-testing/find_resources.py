"""From the resources of an azd environment to the names that the bundle needs.

    az resource list --tag azd-env-name=NAME | python deploy/azure-load-testing/find_resources.py >> "$GITHUB_ENV"

azd tags everything it makes with `azd-env-name`, and a service's own resource with `azd-service-name`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

Resource = dict[str, Any]


def _is_type(*types: str, kinds: tuple[str, ...] = (), service: str | None = None) -> Callable[[Resource], bool]:
    def matches(resource: Resource) -> bool:
        tags = resource.get("tags") or {}
        return (
            resource["type"].lower() in types
            and (not kinds or (resource.get("kind") or "").lower() in kinds)
            and (service is None or tags.get("azd-service-name") == service)
        )

    return matches


WANTED: dict[str, Callable[[Resource], bool]] = {
    "AZURE_OPENAI_NAME": _is_type("microsoft.cognitiveservices/accounts", kinds=("openai", "aiservices")),
    "KEY_VAULT_NAME": _is_type("microsoft.keyvault/vaults"),
    "ORCHESTRATOR_NAME": _is_type("microsoft.web/sites", "microsoft.app/containerapps", service="orchestrator"),
    "AZURE_SEARCH_NAME": _is_type("microsoft.search/searchservices"),
    "AZURE_COSMOS_NAME": _is_type("microsoft.documentdb/databaseaccounts"),
    "LOAD_TEST_NAME": _is_type("microsoft.loadtestservice/loadtests"),
}


def name_resources(resources: Iterable[Resource]) -> dict[str, str]:
    """Variable to value; what is not there is left out. Of several alike, the first by name."""
    resources = sorted(resources, key=lambda resource: str(resource["name"]))
    found = {variable: next(filter(matches, resources), None) for variable, matches in WANTED.items()}
    names = {variable: resource["name"] for variable, resource in found.items() if resource}
    if openai := found["AZURE_OPENAI_NAME"]:
        parts = openai["id"].split("/")
        names |= {"AZURE_SUBSCRIPTION_ID": parts[2], "AZURE_RESOURCE_GROUP": parts[4]}
        names["AZURE_OPENAI_ENDPOINT"] = f"https://{openai['name']}.openai.azure.com"
    if (orchestrator := found["ORCHESTRATOR_NAME"]) and orchestrator["type"].lower() == "microsoft.web/sites":
        names["ORCHESTRATOR_ENDPOINT"] = f"https://{orchestrator['name']}.azurewebsites.net"
    return names


def main() -> int:
    names = name_resources(json.load(sys.stdin))
    if not names:
        print("resources: expected some with the tag azd-env-name, got none (which environment?)", file=sys.stderr)
        return 2
    print("\n".join(f"{name}={value}" for name, value in names.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
