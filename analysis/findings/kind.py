"""What kind of run it was: its one plot, its tiles and its sentence depend on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from analysis.findings.summary import Summary

SOAK_S = 1800.0
"""A run of one load that was measured for so long looks for drift: a soak."""


class Kind(StrEnum):
    """Search: levels until one breaks. Steps: the load changes on purpose. Soak: one load for long. Else constant."""

    SEARCH = "search"
    STEPS = "steps"
    SOAK = "soak"
    CONSTANT = "constant"


def kind_of(summary: Summary) -> Kind:
    """The kind of a run, by its options; what is not known is constant."""
    options = options_of(summary)
    if isinstance(summary.settings.get("search"), Mapping):
        return Kind.SEARCH
    if any(options.get(name) for name in ("rate-stages", "stages")) or options.get("shape") in ("step", "spike"):
        return Kind.STEPS
    length = 0.0 if summary.window is None else summary.window.length_s
    return Kind.SOAK if options.get("shape") == "soak" or length >= SOAK_S else Kind.CONSTANT


def options_of(summary: Summary) -> Mapping[str, Any]:
    """The options that a run was given; empty for another tool's results."""
    options = summary.settings.get("options")
    return options if isinstance(options, Mapping) else {}


def tested(summary: Summary) -> str:
    """What was tested, in words: the load, for how long, against what."""
    parts = [_load(summary)]
    if kind_of(summary) is not Kind.SEARCH and summary.window is not None and summary.window.length_s > 0:
        parts.append(f"for {_length(summary.window.length_s)}")
    target = summary.settings.get("target")
    found = target if isinstance(target, Mapping) else {}
    named = found.get("deployment") or found.get("host")
    return " ".join([*parts, *([f"against {named}"] if named else [])])


def _load(summary: Summary) -> str:
    options = options_of(summary)
    if kind_of(summary) is Kind.SEARCH:
        unit = summary.settings["search"].get("unit") or "RPM"
        ends = re.match(r"\s*(.+?)\.\.(\S+)", str(options.get("search", "")))
        return f"a search over {ends[1]} to {ends[2]} {unit}" if ends else "a search"
    for name, words in (("rate", "{} RPM"), ("rate-stages", "rates of {} RPM"), ("trace", "the trace {}")):
        if given := options.get(name):
            return words.format(largest(str(given)) if name == "rate-stages" else given)
    if stages := options.get("stages"):
        return f"up to {largest(str(stages)).removeprefix('up to ')} users"
    users = options.get("users")
    return f"{users} user{'' if users == 1 else 's'}" if users else f"{summary.accounting.sent:,} requests"


def largest(stages: str) -> str:
    """`up to 360` of `20s:60,20s:360`, `up to 10` of thread groups of ten in all, `up to 40` of `by=5, every=1m,
    to=40`; the text itself when it is else."""
    if threads := re.findall(r"\bthreads\s*=\s*(\d+)", stages):
        return f"up to {sum(map(int, threads))}"
    if named := re.findall(r"\b(?:to|peak|users)\s*=\s*(\d+)", stages):
        return f"up to {max(map(int, named))}"
    try:
        most = max(float(part.rpartition(":")[2]) for part in stages.split(","))
    except ValueError:
        return stages
    return f"up to {most:g}"


def _length(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"
