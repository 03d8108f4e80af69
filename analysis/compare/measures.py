"""What one side of a comparison measured, in a form that is small enough for a baseline file.

A side is one run or several repeats. Each metric is a distribution (a value per request), a rate (per minute, known
with its spread over blocks of the window) or a share (hits of n).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.compare.bootstrap import Floats, Sample, block_rates, inflation
from analysis.figures.accounting import account
from analysis.figures.metrics import METRICS, PER_REQUEST, is_good, values_of
from analysis.figures.populations import (
    call_latencies,
    due,
    ended,
    estimated_tokens,
    is_failed,
    is_judged,
    is_offered,
    is_ok,
    is_sent,
    is_wrong,
    outcome_is,
    started,
    usage_tokens,
    used_tokens,
)
from analysis.figures.window import Window, window_of
from analysis.findings.verdict import distrust, goodput_of
from analysis.sources.run import Run
from analysis.statistics import finite
from tokenswarm.metrics.goodput import Goodput
from tokenswarm.record import GIVEN_UP, Outcome
from tokenswarm.userinput import BadInput, parse_json

BASELINE_VERSION = 1
_LOCAL_PORT = re.compile(r"(//(?:localhost|127\.0\.0\.1|\[::1\])):\d+")
OVERALL = ""
RATES = ("rpm_offered", "rpm_started", "rpm", "goodput_rpm", "tpm_prompt", "tpm_generated", "tpm", "tpm_estimated")
SHARES = ("error_pct", "throttled_pct", "dropped_pct", "goodput_pct", "wrong_pct", "calls_ok_pct")
DISTRIBUTIONS = (*PER_REQUEST, "call_e2e_ms")


@dataclass(frozen=True, slots=True)
class Share:
    """Hits among n requests (all runs of a side together), and for how many times too many rows they count."""

    hits: int
    n: int
    inflation: float = 1.0


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate per minute over the windows of all runs, from `n` requests, and its values in blocks of them."""

    value: float
    n: int
    blocks: Sample


@dataclass(frozen=True, slots=True)
class Measures:
    """All metrics of one population (all requests, or those of one name) on one side."""

    distributions: Mapping[str, Sample]
    rates: Mapping[str, Rate]
    shares: Mapping[str, Share]


@dataclass(frozen=True, slots=True)
class Side:
    """One side: its runs' labels and settings, whether they can be trusted, and what they measured per request name.

    `settings` has one mapping per run; `warnings` the reasons why a run's own verdict is untrusted.
    """

    label: str
    runs: Sequence[str]
    settings: Sequence[Mapping[str, Any]]
    warnings: Sequence[str]
    groups: Mapping[str, Measures]

    @property
    def overall(self) -> Measures:
        """The measures of all requests."""
        return self.groups[OVERALL]


@dataclass(frozen=True, slots=True)
class _Part:
    """One run cut to its window: requests that started in it, all rows (for what counts by its end), the window."""

    inside: pd.DataFrame
    rows: pd.DataFrame
    window: Window
    goodput: Goodput | None

    def of(self, name: str) -> _Part:
        return _Part(_named(self.inside, name), _named(self.rows, name), self.window, self.goodput)


def _named(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    return rows[(rows["name"] == name).to_numpy(bool)]


def measure(label: str, runs: Sequence[Run]) -> Side:
    """Measure one side. Raises `BadInput` for runs that have no requests, only figures."""
    problems = [_unusable(run) for run in runs]
    parts = [_part(run) for run, problem in zip(runs, problems, strict=True) if problem is None]
    if any(problems) or not parts:
        raise BadInput(
            [problem for problem in problems if problem] or [f"{label}: expected at least one run, got none"]
        )
    names = sorted({str(name) for part in parts for name in part.inside["name"].dropna().unique()})
    groups = {OVERALL: _measures(parts)}
    if len(names) > 1:
        groups |= {name: _measures([part.of(name) for part in parts]) for name in names}
    return Side(
        label=label,
        runs=[run.label for run in runs],
        settings=[settings_of(run) for run in runs],
        warnings=[warning for run in runs for warning in _untrusted(run)],
        groups=groups,
    )


def settings_of(run: Run) -> dict[str, Any]:
    """The options of a run, with what it really talked to in place of what was left to the environment."""
    options = run.setting("options")
    settings = {str(key): value for key, value in options.items()} if isinstance(options, Mapping) else {}
    target = run.setting("target")
    if isinstance(target, Mapping):
        settings |= {key: target[key] for key in ("kind", "host", "api", "deployment") if target.get(key) is not None}
    settings.pop("prompt-salt", None)  # another for each run: their prompts differ in words, not in kind
    return {key: _without_port(value) for key, value in settings.items()} | {"source": run.source}


def _without_port(value: Any) -> Any:
    """A local stand-in takes another port each time and stays the same target."""
    return _LOCAL_PORT.sub(r"\1", value) if isinstance(value, str) else value


def _unusable(run: Run) -> str | None:
    if run.given is not None:
        return f"{run.label}: expected a run with its requests, got bare figures ({run.source}) without uncertainty"
    if not len(run.rows) or window_of(run) is None:
        return f"{run.label}: expected a run with requests, got none"
    return None


def _untrusted(run: Run) -> list[str]:
    warnings = []
    if reasons := distrust(run, account(run)):
        warnings.append(f"{run.label} is not to be trusted: {'; '.join(map(str, reasons))}")
    if run.state == "crashed":
        warnings.append(f"{run.label} did not end in order")
    return warnings


def _part(run: Run) -> _Part:
    window = window_of(run)
    assert window is not None
    inside = run.rows[window.contains(started(run.rows))]
    order = np.argsort(started(inside), kind="stable")
    return _Part(inside.iloc[order], run.rows, window, goodput_of(run))


def _measures(parts: Sequence[_Part]) -> Measures:
    distributions = {name: Sample.of(*(values_of(part.inside, name) for part in parts)) for name in PER_REQUEST}
    if any(has_retries(part.inside) for part in parts):
        distributions["call_e2e_ms"] = Sample.of(*(call_latencies(part.inside)[2] for part in parts))
    return Measures(
        {name: sample for name, sample in distributions.items() if sample.n},
        {name: rate for name in RATES if (rate := _rate(name, parts)) is not None},
        {name: share for name in SHARES if (share := _share(name, parts)) is not None},
    )


def _rate(name: str, parts: Sequence[_Part]) -> Rate | None:
    taken = [_events(name, part) for part in parts]
    if not all(taken) or any(part.window.length_s <= 0 for part in parts):
        return None
    blocks, total, n = [], 0.0, 0
    for part, events in zip(parts, taken, strict=True):
        assert events is not None
        instants, amounts = events
        counted = part.window.contains(instants) & np.isfinite(amounts)
        placed = np.clip(instants[counted], part.window.start, part.window.end)
        blocks.append(block_rates(placed, part.window.start, part.window.end, amounts[counted]))
        total += float(amounts[counted].sum())
        n += int(counted.sum())
    if name.startswith("tpm") and not n:
        return None
    minutes = sum(part.window.length_s for part in parts) / 60
    return Rate(total / minutes, n, Sample.of(*blocks))


def _events(name: str, part: _Part) -> tuple[Floats, Floats] | None:
    """Instants and amounts that a rate counts; `None` when the run cannot tell."""
    rows = part.rows
    if name == "rpm_offered":
        return due(rows), np.where(is_offered(rows), 1.0, np.nan)
    if name == "rpm_started":
        return started(rows), np.where(is_sent(rows), 1.0, np.nan)
    if name == "rpm":
        return ended(rows), np.where(is_ok(rows), 1.0, np.nan)
    if name == "goodput_rpm":
        return None if part.goodput is None else (started(rows), np.where(is_good(rows, part.goodput), 1.0, np.nan))
    if name == "tpm_estimated":
        return started(rows), estimated_tokens(rows)
    columns = {"tpm_prompt": "prompt_tokens", "tpm_generated": "completion_tokens"}
    tokens = used_tokens(rows) if name == "tpm" else usage_tokens(rows, columns[name])
    return ended(rows), tokens


def _share(name: str, parts: Sequence[_Part]) -> Share | None:
    flags = [_flags(name, part) for part in parts]
    if any(flag is None for flag in flags):
        return None
    known = [flag.astype(np.float64) for flag in flags if flag is not None]
    n = sum(len(flag) for flag in known)
    hits = int(sum(flag.sum() for flag in known))
    return Share(hits, n, inflation(known)) if n else None


def _flags(name: str, part: _Part) -> np.ndarray[Any, Any] | None:
    """Hit or not, one flag per request (or call) of the metric's base; `None` when the run cannot tell."""
    rows = part.inside
    settled = ~outcome_is(rows, *GIVEN_UP)
    if name == "error_pct":
        return is_failed(rows)[settled & is_sent(rows)]
    if name == "throttled_pct":
        return outcome_is(rows, Outcome.THROTTLED)[settled & is_sent(rows)]
    if name == "dropped_pct":
        return outcome_is(rows, Outcome.DROPPED)[is_offered(rows)]
    if name == "goodput_pct":
        return None if part.goodput is None else is_good(rows, part.goodput)[settled]
    if name == "wrong_pct":
        return is_wrong(rows)[is_judged(rows)]
    calls, answered, _ = call_latencies(rows)
    return np.arange(calls) < answered if has_retries(rows) else None


def has_retries(rows: pd.DataFrame) -> bool:
    """Whether any row is a second attempt; no rows, and rows that do not say, are none."""
    return bool((rows["attempt"].to_numpy(np.int64, na_value=1) > 1).any())


def save_side(side: Side, path: Path) -> None:
    """Write a baseline file."""
    path.write_text(json.dumps(to_json(side)) + "\n", encoding="utf-8")


def load_side(path: Path) -> Side:
    """Read a baseline file. Raises `BadInput` saying what was expected."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput([f"{path}: expected a baseline file (JSON), got {error}"]) from error
    if not isinstance(found, dict) or found.get("kind") != "tokenswarm-baseline":
        raise BadInput([f"{path}: expected a file written by compare --save-baseline, got something else"])
    if found.get("schema_version") != BASELINE_VERSION:
        raise BadInput([f"{path}: expected schema_version {BASELINE_VERSION}, got {found.get('schema_version')!r}"])
    try:
        return from_json(found)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput([f"{path}: expected a complete baseline file, got {type(error).__name__}: {error}"]) from error


def to_json(side: Side) -> dict[str, Any]:
    """A side as plain values."""
    return {
        "kind": "tokenswarm-baseline",
        "schema_version": BASELINE_VERSION,
        "label": side.label,
        "runs": list(side.runs),
        "settings": [dict(settings) for settings in side.settings],
        "doubts": list(side.warnings),
        "groups": {name: _measures_to_json(measures) for name, measures in side.groups.items()},
    }


def from_json(found: Mapping[str, Any]) -> Side:
    """The side that `to_json` wrote. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
    return Side(
        label=str(found["label"]),
        runs=[str(run) for run in found["runs"]],
        settings=[dict(settings) for settings in found["settings"]],
        warnings=[str(warning) for warning in found["doubts"]],
        groups={str(name): _measures_from_json(measures) for name, measures in found["groups"].items()},
    )


def _measures_to_json(measures: Measures) -> dict[str, Any]:
    return {
        "distributions": {name: _sample_to_json(sample) for name, sample in measures.distributions.items()},
        "rates": {
            name: {"value": rate.value, "n": rate.n, "blocks": _sample_to_json(rate.blocks)}
            for name, rate in measures.rates.items()
        },
        "shares": {
            name: {"hits": share.hits, "n": share.n, "inflation": share.inflation}
            for name, share in measures.shares.items()
        },
    }


def _measures_from_json(found: Mapping[str, Any]) -> Measures:
    return Measures(
        {name: _sample_from_json(sample) for name, sample in found["distributions"].items() if name in METRICS},
        {
            name: Rate(float(rate["value"]), int(rate["n"]), _sample_from_json(rate["blocks"]))
            for name, rate in found["rates"].items()
            if name in METRICS
        },
        {
            name: Share(int(share["hits"]), int(share["n"]), float(share["inflation"]))
            for name, share in found["shares"].items()
            if name in METRICS
        },
    )


def _sample_to_json(sample: Sample) -> dict[str, Any]:
    return {
        "n": sample.n,
        "mean": finite(sample.mean),
        "deviation": finite(sample.deviation),
        "inflation": sample.inflation,
        "levels": None if len(sample.values) == sample.n else [round(float(level), 9) for level in sample.levels],
        "values": [float(f"{value:.7g}") for value in sample.values],
    }


def _sample_from_json(found: Mapping[str, Any]) -> Sample:
    n = int(found["n"])
    values = np.asarray(found["values"], dtype=np.float64)
    levels = (np.arange(n) + 0.5) / max(n, 1) if found["levels"] is None else np.asarray(found["levels"], np.float64)
    if len(levels) != len(values) or (len(values) == 0) != (n == 0):
        raise ValueError(f"expected as many levels as values, got {len(levels)} and {len(values)}")
    mean, deviation = (math.nan if found[key] is None else float(found[key]) for key in ("mean", "deviation"))
    return Sample(n, levels, values, mean, deviation, float(found["inflation"]))
