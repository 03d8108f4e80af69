"""How much load one worker of this machine measures accurately, as the self-check found it. Pure.

The self-check compares measured with true figures at rising concurrency; the highest level up to which every level
was right is the machine's accurate maximum. A run beyond it is warned of.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tokenswarm.generator.accuracy import Accuracy
from tokenswarm.transport.connect import kernel_timestamps

SCHEMA_VERSION = 2

KEPT_UP_PCT = 90.0
"""A level that brings less of its chunks has found the end of its core."""
BUSY_PCT = 10.0
"""Other work on the machine above this (percent of one core) makes a self-check look worse than the machine is."""


@dataclass(frozen=True, slots=True)
class SelfCheckLevel:
    """What was found at one number of concurrent streams. `cpu_pct`: of one core, `None` when not sampled;
    `delivered_pct`: chunks that came, in percent of those that so many streams without a pause between them bring."""

    streams: int
    chunks_per_s: float
    cpu_pct: float | None
    accuracy: Accuracy | None  # None: no request began and ended in the window
    delivered_pct: float

    @property
    def accurate(self) -> bool:
        """Right, and keeping up: a generator that sends less than it is asked to can be right about that little."""
        return self.accuracy is not None and self.accuracy.accurate and self.delivered_pct >= KEPT_UP_PCT

    @property
    def cpu_us_per_chunk(self) -> float | None:
        if self.cpu_pct is None or not self.chunks_per_s:
            return None
        return self.cpu_pct / 100.0 / self.chunks_per_s * 1e6


@dataclass(frozen=True, slots=True)
class SelfCheckMachine:
    """Where a self-check ran. `clock`: kernel or user; `shared_core`: target and generator had to share one."""

    host: str
    cores: int
    python: str
    clock: str
    shared_core: bool


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """A self-check. `checked_at`: Unix s; `others_cpu_pct`: CPU of other work meanwhile, percent of one core."""

    checked_at: float
    machine: SelfCheckMachine
    others_cpu_pct: float
    levels: list[SelfCheckLevel]

    @property
    def best(self) -> SelfCheckLevel | None:
        """The highest level up to which every level was accurate; `None` when the lowest was not."""
        best = None
        for level in self.levels:
            if not level.accurate:
                break
            best = level
        return best


def warn_beyond(check: SelfCheck, streams: float, chunks_per_s: float | None = None) -> str | None:
    """A warning when a worker carries more than was found accurate on this machine, else `None`.

    `streams` and `chunks_per_s` are one worker's, its concurrent requests and chunks with tokens per second.
    """
    best = check.best
    if best is None:
        return "this machine measured wrongly at every load of its self-check: its figures are not to be trusted"
    if streams <= best.streams and (chunks_per_s or 0.0) <= best.chunks_per_s * 1.02:
        return None
    carried = f"{streams:.0f} streams" + ("" if chunks_per_s is None else f" ({chunks_per_s:,.0f} chunks/s)")
    return (
        f"{carried} on one worker is beyond what this machine measures accurately: {best.streams} streams "
        f"({best.chunks_per_s:,.0f} chunks/s) by its self-check; add workers (--processes) or machines"
    )


def describe(check: SelfCheck) -> str:
    """One line to put under a report."""
    machine = check.machine
    where = f"{machine.host}, {machine.cores} cores, Python {machine.python}, {machine.clock} timestamps"
    if machine.shared_core:
        where += "; target and generator shared a core"
    if check.others_cpu_pct > BUSY_PCT:
        where += f"; other work took {check.others_cpu_pct:.0f} % of a core meanwhile: repeat when it is quiet"
    best = check.best
    if best is None or best.accuracy is None:
        return f"Self-check ({where}): wrong at every load tried"
    return (
        f"Self-check ({where}): right up to {best.streams} streams ({best.chunks_per_s:,.0f} chunks/s) per "
        f"worker; there TTFT p95 is off by {best.accuracy.ttft_p95_ms:.2f} ms, E2E p95 by "
        f"{best.accuracy.e2e_p95_ms:.2f} ms, TBT by {_figure(best.accuracy.tbt_mean_ms, '+z.3f')} ms, tokens by 0"
    )


_COLUMNS = (
    ("streams", 8),
    ("chunks/s", 9),
    ("of due", 8),
    ("requests", 9),
    ("TTFT p95", 9),
    ("TTFT max", 9),
    ("TBT mean", 9),
    ("E2E p95", 9),
    ("tokens", 7),
    ("read lag p95", 13),
    ("CPU %", 6),
    ("us/chunk", 9),
    ("accurate", 9),
)


def table(check: SelfCheck) -> str:
    """One line for each level: measured less true (ms; `tokens`: requests with a wrong count)."""
    lines = ["".join(name.rjust(width) for name, width in _COLUMNS)]
    for level in check.levels:
        cells = zip(_cells(level), _COLUMNS, strict=True)
        lines.append("".join(cell.rjust(width) for cell, (_, width) in cells))
    return "\n".join(lines)


def _cells(level: SelfCheckLevel) -> list[str]:
    found = level.accuracy
    if found is None:
        errors = ["0", *["–"] * 6]
    else:
        errors = [
            str(found.requests),
            f"{found.ttft_p95_ms:.2f}",
            f"{found.ttft_max_ms:.2f}",
            _figure(found.tbt_mean_ms, "+z.3f"),
            f"{found.e2e_p95_ms:.2f}",
            str(found.tokens_wrong),
            _figure(found.read_lag_p95_ms, ".2f"),
        ]
    cost = [_figure(level.cpu_pct, ".0f"), _figure(level.cpu_us_per_chunk, ".1f")]
    delivered = f"{level.delivered_pct:.0f} %"
    return [
        str(level.streams),
        f"{level.chunks_per_s:,.0f}",
        delivered,
        *errors,
        *cost,
        "yes" if level.accurate else "no",
    ]


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def to_json(check: SelfCheck) -> dict[str, Any]:
    """For a file or a pipe; `from_json` reads it back. Adds what a reader wants without computing it."""
    best = check.best
    return {
        "schema_version": SCHEMA_VERSION,
        **dataclasses.asdict(check),
        "honest_streams": best.streams if best else 0,
        "honest_chunks_per_s": best.chunks_per_s if best else 0.0,
        "line": describe(check),
    }


def from_json(data: dict[str, Any]) -> SelfCheck:
    """Read back `to_json`. Raises `ValueError` for another schema version or missing parts."""
    if data.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"self-check result: expected schema_version {SCHEMA_VERSION}, got {data.get('schema_version')}"
        )
    try:
        accuracies = [level["accuracy"] and Accuracy(**level["accuracy"]) for level in data["levels"]]
        levels = [
            SelfCheckLevel(**{**level, "accuracy": accuracy})
            for level, accuracy in zip(data["levels"], accuracies, strict=True)
        ]
        return SelfCheck(data["checked_at"], SelfCheckMachine(**data["machine"]), data["others_cpu_pct"], levels)
    except (KeyError, TypeError) as error:
        raise ValueError(f"self-check result: {error}") from error


def stored_path() -> Path:
    """Where the last result is kept."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "tokenswarm" / "selfcheck.json"


def read_stored(path: Path | None = None) -> SelfCheck | None:
    """The last result for this machine; `None` when there is none, it cannot be read, or the machine has changed."""
    try:
        check = from_json(json.loads((path or stored_path()).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    here = this_machine()
    same = (check.machine.host, check.machine.cores, check.machine.python) == (here.host, here.cores, here.python)
    return check if same else None


def store(check: SelfCheck, path: Path) -> None:
    """Write the result, whole or not at all. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(to_json(check), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def this_machine() -> SelfCheckMachine:
    generator, target = core_sets()
    return SelfCheckMachine(
        host=platform.node(),
        cores=psutil.cpu_count() or 1,
        python=platform.python_version(),
        clock="kernel" if kernel_timestamps() else "user",
        shared_core=generator is not None and generator == target,
    )


def core_sets() -> tuple[set[int] | None, set[int] | None]:
    """(core of the load generator, core of the target); `None` where processes cannot be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return {usable[0]}, {usable[-1]}
