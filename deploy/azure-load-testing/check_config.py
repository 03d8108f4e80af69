"""Check a load-test configuration of Azure Load Testing against the keys its reference documents.

`python deploy/azure-load-testing/check_config.py FILE...` prints every problem with its place; exit code 2 if any.
Source: "Load test YAML reference" of Azure Load Testing, as of 2026; the service refuses unknown keys.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tokenswarm.redaction import write_line

Check = Callable[[Any], str | None]
"""What was expected instead of a value; `None` when it is good."""

CLIENT_METRICS = {
    "response_time_ms": r"avg|min|max|p50|p75|p90|p95|p96|p97|p98|p99|p999|p9999",
    "latency": r"avg|min|max|p50|p75|p90|p95|p96|p97|p98|p99|p999|p9999",
    "error": "percentage",
    "requests_per_sec": "avg",
    "requests": "count",
}
_CRITERION = re.compile(r"(\w+)\((\w+)\)\s*([<>])\s*(\d+(?:\.\d+)?)(?:,\s*\w+)?")
_SECRET = re.compile(r"https://[a-z0-9-]{3,24}\.vault\.[a-z.]+/secrets/[A-Za-z0-9-]{1,127}(/[a-f0-9]+)?")
_RESOURCE = re.compile(r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+(/[^/]+/[^/]+)+", re.IGNORECASE)
_NAME = r"[A-Za-z_][A-Za-z0-9_-]*"


def text(pattern: str = ".+", said: str = "text") -> Check:
    return lambda value: None if isinstance(value, str) and re.fullmatch(pattern, value, re.DOTALL) else said


def choice(*values: str) -> Check:
    return lambda value: None if value in values else " or ".join(values)


def whole(least: int, most: int) -> Check:
    def check(value: Any) -> str | None:
        good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return None if good else f"a whole number from {least} to {most}"

    return check


def yes_no(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


FILE_NAME = text(r"[^/\\]+", "a bare file name: everything lies in one flat folder")
RESOURCE_ID = text(_RESOURCE.pattern, "a resource id (/subscriptions/.../providers/...)")

KEYS: dict[str, Check | dict[str, Check] | list[Any]] = {
    "version": choice("v0.1"),
    "testId": text(r"[a-z0-9_-]{2,50}", "2 to 50 of a-z 0-9 _ -"),
    "displayName": text(r".{2,50}", "2 to 50 characters"),
    "description": text(r".{1,99}", "fewer than 100 characters"),
    "testType": choice("URL", "JMX", "Locust"),
    "testPlan": text(),
    "engineInstances": whole(1, 400),
    "configurationFiles": [FILE_NAME],
    "zipArtifacts": [FILE_NAME],
    "properties": {"userPropertyFile": text(r"[^/\\]+\.(conf|ini|toml|properties)", "a .conf, .ini or .toml file")},
    "env": [{"name": text(_NAME, "a variable name"), "value": text(r".*", "text (in quotes)")}],
    "secrets": [{"name": text(_NAME, "a variable name"), "value": text(_SECRET.pattern, "a Key Vault secret URI")}],
    "certificates": [{"name": text(), "value": text(r"https://.+/certificates/.+", "a Key Vault certificate URI")}],
    "splitAllCSVs": yes_no,
    "autoStop": {"errorPercentage": whole(0, 100), "timeWindow": whole(1, 86400)},
    "appComponents": [
        {
            "resourceId": RESOURCE_ID,
            "resourceName": text(),
            "kind": text(),
            "metrics": [
                {
                    "name": text(),
                    "namespace": text(r"[\w.]+(/\w+)+", "a metric namespace"),
                    "aggregation": choice("Average", "Count", "Minimum", "Maximum", "Total", "None"),
                }
            ],
        }
    ],
    "regionalLoadTestConfig": [{"region": text(r"[a-z0-9]+", "a region"), "engineInstances": whole(1, 400)}],
    "keyVaultReferenceIdentity": RESOURCE_ID,
    "referenceIdentities": [
        {
            "kind": choice("KeyVault", "Metrics", "Engine"),
            "type": choice("SystemAssigned", "UserAssigned"),
            "value": RESOURCE_ID,
        }
    ],
    "subnetId": RESOURCE_ID,
    "publicIPDisabled": yes_no,
}
REQUIRED = ("version", "testId", "testPlan", "testType", "engineInstances")


def check_config(config: Any) -> list[str]:
    """Every problem of a parsed configuration, each with its place."""
    if not isinstance(config, dict):
        return ["configuration: expected keys and values, got something else"]
    problems = [f"{key}: expected it, got none" for key in REQUIRED if key not in config]
    plain = {key: value for key, value in config.items() if key != "failureCriteria"}
    if plain.get("autoStop") == "disable":
        del plain["autoStop"]
    problems += _check("", plain, KEYS)
    problems += _check_criteria(config.get("failureCriteria") or [])
    return problems or list(_contradictions(config))


def _check(place: str, value: Any, expected: Any) -> list[str]:
    if isinstance(expected, dict):
        if not isinstance(value, dict):
            return [f"{place}: expected keys and values ({', '.join(expected)}), got {_shown(place, value)}"]
        return [
            problem
            for key, inner in value.items()
            for problem in (
                _check(f"{place}.{key}".lstrip("."), inner, expected[key])
                if key in expected
                else [f"{place}.{key}".lstrip(".") + ": expected a documented key, got this one"]
            )
        ]
    if isinstance(expected, list):
        if not isinstance(value, list):
            return [f"{place}: expected a list, got {_shown(place, value)}"]
        return [problem for at, one in enumerate(value) for problem in _check(f"{place}[{at}]", one, expected[0])]
    said = expected(value)
    return [f"{place}: expected {said}, got {_shown(place, value)}"] if said else []


def _shown(place: str, value: Any) -> str:
    return "something else, which may be the secret itself" if place.startswith("secrets") else repr(value)


def _check_criteria(criteria: Any) -> list[str]:
    if isinstance(criteria, dict):
        if unknown := set(criteria) - {"clientMetrics", "serverMetrics"}:
            return [f"failureCriteria: expected clientMetrics and serverMetrics, got {', '.join(sorted(unknown))}"]
        criteria = criteria.get("clientMetrics") or []
    if not isinstance(criteria, list):
        return [f"failureCriteria: expected a list, got {criteria!r}"]
    problems = [] if len(criteria) <= 50 else [f"failureCriteria: expected at most 50, got {len(criteria)}"]
    for at, criterion in enumerate(criteria):
        body = next(iter(criterion.values())) if isinstance(criterion, dict) and len(criterion) == 1 else criterion
        match = _CRITERION.fullmatch(body.strip()) if isinstance(body, str) else None
        if not match or not re.fullmatch(CLIENT_METRICS.get(match[2], "(?!)"), match[1]):
            problems.append(
                f"failureCriteria[{at}]: expected [Name:] aggregation(metric) > value with a client metric of the "
                f"service ({', '.join(CLIENT_METRICS)}), got {criterion!r}"
            )
    return problems


def _contradictions(config: dict[str, Any]) -> Iterator[str]:
    if config["testType"] == "Locust" and not config["testPlan"].endswith(".py"):
        yield f"testPlan: expected a .py file for Locust, got {config['testPlan']!r}"
    names = [entry.get("name") for key in ("env", "secrets") for entry in config.get(key, [])]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"env, secrets: expected each name once, got {name} {names.count(name)} times"
    regions = config.get("regionalLoadTestConfig")
    if regions and (len(regions) < 2 or sum(one["engineInstances"] for one in regions) != config["engineInstances"]):
        yield "regionalLoadTestConfig: expected two or more regions that add up to engineInstances"
    for entry in config.get("env", []):
        if entry["name"] == "TOKENSWARM_ENGINE_COUNT" and entry["value"] != str(config["engineInstances"]):
            yield f"env: expected TOKENSWARM_ENGINE_COUNT = engineInstances, got {entry['value']}"
    if len(config.get("zipArtifacts", [])) > 5:
        yield f"zipArtifacts: expected at most 5, got {len(config['zipArtifacts'])}"


def main(paths: list[str]) -> int:
    problems = [
        f"{path}: {problem}"
        for path in paths
        for problem in check_config(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    ]
    write_line("\n".join(problems), sys.stderr, end="\n" if problems else "")
    return 2 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
