"""Logs of azure-openai-benchmark (`--output-format jsonl`): one line of running statistics a second or so.

Only the last line is taken for the run, as that tool's users do. Its counts and E2E are of the whole run, its RPM,
TPM, TTFT and TBT of the last aggregation window (60 s by default).
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.sources.run import COLUMNS, MINUTE_S, Given, Run
from analysis.statistics import Distribution, Estimate, Group, finite, given_group
from tokenswarm.metrics.samples import carries
from tokenswarm.userinput import BadInput, parse_json

WINDOW_S = 60.0
BLIND_SPOTS = [
    "TTFT: its clock stops at the first data line, which is the content filter's or the role's, so TTFT is too low",
    "generated tokens: it counts data lines, filter, role, finish and [DONE] included (about 4 too many an answer), "
    "and too few where a chunk holds several tokens; TPM and TBT inherit that",
    "the run as a whole: RPM, TPM, TTFT, TBT and utilization are of the last window, which may be the drain",
    "latency of failures and 429s: they are left out; with retries, E2E hides the wait for them",
    "p50 and p99: only the average and the 95th percentile are logged",
]


def is_log(head: str) -> bool:
    """Whether some line of the head is a line of statistics."""
    return any(_line(text) is not None for text in head.splitlines())


def load(path: Path, files: Sequence[Path]) -> Run:
    """The run that wrote this log. Raises `BadInput` for several logs in one directory."""
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise BadInput([f"{path}: expected one azure-openai-benchmark log, got {len(files)} ({names}): name one"])
    texts = files[0].read_text(encoding="utf-8-sig", errors="replace").splitlines()
    lines = [line for line in map(_line, texts) if line is not None]
    last = lines[-1]
    _check_counts(files[0], last)
    _check_one_run(files[0], lines)
    end = _instant(last)
    start = None if end is None else end - (_number(last.get("run_seconds")) or 0.0)
    return Run(
        path=path,
        label=files[0].stem,
        source="azure-openai-benchmark",
        given=Given(_group(last), {}, _minutes(lines), start, end),
        blind_spots=list(BLIND_SPOTS),
        notes=["times of day in the log have no zone and are read as UTC"],
        skipped_lines=0 if texts[-1].strip() == "" or _line(texts[-1]) or not texts[-1].startswith("{") else 1,
    )


def _check_counts(file: Path, line: Mapping[str, Any]) -> None:
    """Refuse a log whose last line does not say how many requests it has and how many of them failed."""
    sent, bad, throttled = (_number(line.get(key)) for key in ("completed", "failures", "throttled"))
    known = None not in (sent, bad, throttled) and all(count % 1 == 0 for count in (sent, bad, throttled) if count)
    if not known or not 0 <= (throttled or 0) <= (bad or 0) <= (sent or 0):
        got = ", ".join(f"{key} {line.get(key)!r}" for key in ("completed", "failures", "throttled"))
        raise BadInput([f"{file}: expected counts of completed, of them failures, of them throttled, got {got}"])


def _check_one_run(file: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a log to which another run was appended: only the last line counts, so that it would hide the first."""
    seconds = [second for line in lines if (second := _number(line.get("run_seconds"))) is not None]
    for before, after in pairwise(seconds):
        if after < before:
            expected = f"{file}: expected the log of one run, whose run_seconds grow"
            raise BadInput([f"{expected}, got {after:g} after {before:g}: give each run a file of its own"])


def _line(text: str) -> dict[str, Any] | None:
    """One line of statistics, also behind a log prefix; `None` for anything else."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        found = parse_json(text[start:])
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"run_seconds", "rpm", "tpm"} <= found.keys() else None


def _group(line: Mapping[str, Any]) -> Group:
    sent, bad, throttled = (int(_number(line.get(key)) or 0) for key in ("completed", "failures", "throttled"))
    rpm = _number(line.get("rpm"))
    in_window = round((rpm or 0.0) * min(WINDOW_S, _number(line.get("run_seconds")) or 0.0) / 60.0)
    rates = {
        "rpm": rpm,
        "tpm_prompt": _at(line, "tpm", "context"),
        "tpm_generated": _at(line, "tpm", "gen"),
        "tpm": _at(line, "tpm", "total"),
    }
    found = (
        _distribution("e2e_ms", line, "e2e", sent - bad, 1000.0),
        _distribution("ttft_ms", line, "ttft", in_window, 1000.0),
        _distribution("tbt_ms", line, "tbt", in_window, 1000.0),
        _distribution("utilization_pct", line, "util", in_window, 1.0),
    )
    return given_group("", sent, bad, throttled, rates, filter(None, found))


def _distribution(metric: str, line: Mapping[str, Any], key: str, n: int, factor: float) -> Distribution | None:
    average, p95 = _at(line, key, "avg"), _at(line, key, "95th")
    if average is None or n <= 0:
        return None
    carried = p95 is not None and carries(n, 95.0)
    return Distribution(
        metric,
        n,
        Estimate(average * factor),
        percentiles={"p95": Estimate(p95 * factor if carried and p95 is not None else None)},
    )


def _minutes(lines: Sequence[Mapping[str, Any]]) -> pd.DataFrame | None:
    """The last line of each clock minute: its running totals, and its window's figures."""
    last = {int(at // MINUTE_S) * MINUTE_S: line for line in lines if (at := _instant(line)) is not None}
    if not last:
        return None
    made = pd.DataFrame({column: np.full(len(last), np.nan) for column in COLUMNS})
    made["minute"], made["full"] = list(last), [True] * (len(last) - 1) + [False]
    for column, key in (("started", "completed"), ("bad", "failures"), ("throttled", "throttled")):
        made[column] = np.diff([_number(line.get(key)) or 0.0 for line in last.values()], prepend=0.0)
    made["completed"] = made["started"] - made["bad"]
    made["failed"] = made["bad"] - made["throttled"]
    made["tokens"] = [_or_nan(_at(line, "tpm", "total")) for line in last.values()]
    made["e2e_ms_p95"] = [1000.0 * _or_nan(_at(line, "e2e", "95th")) for line in last.values()]
    made["ttft_ms_p95"] = [1000.0 * _or_nan(_at(line, "ttft", "95th")) for line in last.values()]
    made["utilization_pct_avg"] = [_or_nan(_at(line, "util", "avg")) for line in last.values()]
    return made[list(COLUMNS)]


def _instant(line: Mapping[str, Any]) -> float | None:
    try:
        return float(calendar.timegm(time.strptime(str(line.get("timestamp")), "%Y-%m-%d %H:%M:%S")))
    except ValueError:
        return None


def _at(line: Mapping[str, Any], key: str, inner: str) -> float | None:
    part = line.get(key)
    return _number(part.get(inner)) if isinstance(part, Mapping) else None


def _number(value: Any) -> float | None:
    """A number, also as "12.8%"; `None` for "n/a" and for what is below 0, as none of these can be."""
    found = finite(value.strip().removesuffix("%") if isinstance(value, str) else value)
    return found if found is not None and found >= 0 else None


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
