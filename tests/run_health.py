"""How the runs of this suite fared on this machine, and what they came to apart from that.

A machine that is busy with other work makes any run untrusted. Tests assert what its criteria came to all the same;
how many runs were saturated is printed at the end.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DISTRUST = {"lost", "accounting", "clock", "evidence", "search", "other"}
"""Reasons of an untrusted run that no busy machine brings about."""

_saturated: dict[Path, bool] = {}


def note(directory: Path, facts: dict[str, Any]) -> None:
    """A run was looked at."""
    _saturated[directory.resolve()] = bool(facts["generator"].get("saturated"))


def summary() -> str | None:
    """In a line; `None` where no run was looked at."""
    if not _saturated:
        return None
    return f"{sum(_saturated.values())} of {len(_saturated)} runs were saturated on this machine"


def code_apart_from_health(facts: dict[str, Any]) -> int:
    """The exit code that the run would have had on a machine with nothing else to do."""
    verdict = facts["verdict"]
    kinds = {each["kind"] for each in verdict["reasons"]}
    if kinds & DISTRUST or ("not_delivered" in kinds and "saturated" not in kinds):
        return 4
    if verdict["has_failed"]:
        return 3
    return 5 if facts["state"] == "interrupted" else 0


def check_code(facts: dict[str, Any], expected: int) -> int:
    """The exit code of a run that is to come to `expected`: that, or 4 where the machine was too busy to tell."""
    assert code_apart_from_health(facts) == expected, facts["verdict"]
    saturated = "saturated" in {each["kind"] for each in facts["verdict"]["reasons"]}
    assert saturated == bool(facts["generator"]["saturated"]), facts["generator"]
    return 4 if saturated else expected


def code_of_run(results: Path, expected: int) -> int:
    """`check_code` of the only run below a results directory."""
    (path,) = results.glob("*/*/run.json")
    facts = json.loads(path.read_text())
    note(path.parent, facts)
    return check_code(facts, expected)
