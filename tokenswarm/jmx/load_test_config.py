"""What Azure Load Testing's `config.yaml` says beside the JMeter plan: criteria, auto-stop, engines. No I/O.

Source: https://learn.microsoft.com/azure/load-testing/reference-test-config-yaml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tokenswarm.userinput import BadInput, format_number

_CRITERION = re.compile(r"(?:(?P<name>[^:()]+?)\s*:\s*)?(?P<rule>\w+\s*\([^()]*\)\s*[<>].*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LoadTestConfig:
    """`plan`, `properties`: files beside the configuration. `criteria`: (sampler's name, rule); the name is empty for
    all requests. `auto_stop`: as the option of that name takes it."""

    plan: str
    properties: str | None
    criteria: tuple[tuple[str, str], ...]
    auto_stop: str | None
    engines: int
    notes: tuple[str, ...]


def read_config(text: str, name: str) -> LoadTestConfig:
    """Read the text of a `config.yaml`; `name` is for messages. Raises `BadInput`."""
    try:
        config = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput([f"{name}: expected the YAML of a load test, got: {' '.join(str(error).split())}"]) from error
    plan = config.get("testPlan") if isinstance(config, dict) else None
    if not isinstance(plan, str) or not plan.lower().endswith(".jmx"):
        raise BadInput([f"{name}: expected a testPlan that is a JMeter plan (.jmx), got {plan!r:.80}"])
    properties = config.get("properties")
    user_properties = properties.get("userPropertyFile") if isinstance(properties, dict) else None
    engines = config.get("engineInstances", 1)
    criteria, problems = _criteria(config.get("failureCriteria"))
    if not isinstance(engines, int) or engines < 1:
        problems.append(f"engineInstances: expected a whole number from 1, got {engines!r:.40}")
    if problems:
        raise BadInput([f"{name}: {problem}" for problem in problems])
    return LoadTestConfig(
        plan=plan,
        properties=user_properties if isinstance(user_properties, str) else None,
        criteria=tuple(criteria),
        auto_stop=_auto_stop(config.get("autoStop")),
        engines=engines,
        notes=tuple(
            f"{key}: values are not taken over; put them into an env-file"
            for key in ("env", "secrets")
            if config.get(key)
        ),
    )


def _criteria(found: Any) -> tuple[list[tuple[str, str]], list[str]]:
    """The criteria of the client's metrics, and what is wrong with others. YAML makes a pair of `Name: rule`."""
    listed = found.get("clientMetrics") if isinstance(found, Mapping) else found
    criteria, problems = [], []
    for at, entry in enumerate(listed if isinstance(listed, list) else []):
        text = ": ".join(map(str, next(iter(entry.items()), ()))) if isinstance(entry, Mapping) else str(entry)
        match = _CRITERION.fullmatch(text.strip())
        if match is None:
            problems.append(f"failureCriteria[{at}]: expected [Name:] aggregation(metric) > value, got {text!r:.80}")
        else:
            criteria.append((match["name"] or "", " ".join(match["rule"].split())))
    return criteria, problems


def _auto_stop(found: Any) -> str | None:
    """`autoStop` as the option has it; `None` where nothing is said or it is none."""
    if found in ("disable", False):
        return "disable"
    merged: dict[str, Any] = {}
    for part in found if isinstance(found, list) else [found]:
        merged |= part if isinstance(part, dict) else {}
    share, window = merged.get("errorPercentage"), merged.get("timeWindow")
    if not isinstance(share, int | float) or not isinstance(window, int | float):
        return None
    return f"{format_number(share)}% / {format_number(window)}s"


def name_criteria(config: LoadTestConfig, sampler: str, request_name: str) -> tuple[list[str], list[str]]:
    """The criteria with the name that the scenario's requests have in place of the sampler's, and warnings of those
    that are about another sampler."""
    kept, warnings = [], []
    for name, rule in config.criteria:
        if name in ("", sampler):
            kept.append(f"{request_name}: {rule}" if name else rule)
        else:
            warnings.append(f"criterion {name}: {rule} is not taken over: the plan's request is named {sampler!r}")
    return kept, warnings
