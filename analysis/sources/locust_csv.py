"""Locust's own CSVs (`--csv`): `*_stats.csv`, `*_stats_history.csv`, `*_failures.csv`. No rows, only aggregates.

Content sizes are not read: a locustfile may report bytes, tokens or nothing there, and the file does not say which.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.sources.run import COLUMNS, MINUTE_S, Given, Run
from analysis.statistics import Distribution, Estimate, Group, finite, given_group, per_minute
from tokenswarm.metrics.samples import carries
from tokenswarm.userinput import BadInput

STATS = {"Type", "Name", "Request Count", "Failure Count", "Average Content Size"}
HISTORY = {"Timestamp", "Name", "Total Request Count", "Total Failure Count", "Total Average Content Size"}
AGGREGATED = "Aggregated"
BLIND_SPOTS = [
    "exact percentiles: Locust keeps response times to two digits (from 1 s on to 100 ms, from 10 s on to 1 s)",
    "failures apart from answers: response times are of both together",
    "tokens, TTFT and TBT: its content size may be bytes or tokens, so there is no TPM",
    "a warm-up: the figures are of the whole run, ramp included",
]
_THROTTLED = re.compile(r"\b429\b")
_Key = tuple[str, str]
"""Method and request name."""


def is_stats(head: str) -> bool:
    """Whether a file begins as `*_stats.csv`."""
    return _columns(head) >= STATS


def is_history(head: str) -> bool:
    """Whether a file begins as `*_stats_history.csv`."""
    return _columns(head) >= HISTORY


def load(path: Path, files: Sequence[Path]) -> Run:
    """The run that left these files. Raises `BadInput` without a readable `*_stats.csv` or history."""
    stats, histories = _one_each(path, files)
    history = _history(histories) if histories is not None else []
    _check_one_run(path, history)
    start, end = (float(history[0]["Timestamp"]), float(history[-1]["Timestamp"])) if history else (None, None)
    throttled, failures_known = _throttled(_beside(stats or histories, "_failures.csv"))
    rows = _rows(stats) if stats is not None else []
    overall_row = next((row for row in rows if row["Name"] == AGGREGATED), None) or (
        _as_stats(history[-1]) if history else None
    )
    if overall_row is None:
        raise BadInput([f"{path}: expected a line {AGGREGATED} in Locust's CSV, got none"])
    seconds = _seconds(overall_row, start, end)
    _check_counts(path, rows, overall_row)
    by_name = _by_name(rows, seconds, throttled, failures_known)
    overall = _group("", overall_row, seconds, sum(throttled.values()), failures_known)
    notes = [] if start is not None else ["no history: the length of the run is taken from its rate"]
    notes += [f"{name} is the sum of its methods, which have lines of their own" for name in _shared(rows)]
    return Run(
        path=path,
        label=_label(path, stats or histories),
        source="locust",
        given=Given(overall, by_name, _minutes(history), start, end),
        blind_spots=list(BLIND_SPOTS),
        skipped_lines=sum(_cut_lines(file) for file in (stats, histories) if file is not None),
        notes=notes + ([] if failures_known else ["no *_failures.csv: 429s are among the failures"]),
    )


def _check_counts(path: Path, rows: Sequence[Mapping[str, str]], overall: Mapping[str, str]) -> None:
    """Refuse counts that are none, and a last line that is not the sum of the others: a file that was cut, or several
    put together."""
    expected = f"{path}: expected a Request Count and a Failure Count that is no more"
    if wrong := [row for row in rows or [overall] if not _are_counts(row)]:
        pairs = ((row["Name"], row.get("Request Count"), row.get("Failure Count")) for row in wrong)
        raise BadInput([f"{expected}, got {sent!r} and {bad!r} ({name})" for name, sent, bad in pairs])
    parts = [row for row in rows if row["Name"] != AGGREGATED]
    whole = [row for row in rows if row["Name"] == AGGREGATED]
    expected = f"{path}: expected as many requests in the line {AGGREGATED} as in the others together"
    of_parts, stated = (sum(int(float(row["Request Count"])) for row in some) for some in (parts, whole))
    if parts and of_parts != stated:
        raise BadInput([f"{expected}, {of_parts}, got {stated}"])


def _are_counts(row: Mapping[str, str]) -> bool:
    sent, bad = finite(row.get("Request Count")), finite(row.get("Failure Count"))
    return sent is not None and bad is not None and 0 <= bad <= sent and sent % 1 == bad % 1 == 0


def _time(cell: str | None) -> float | None:
    """A time in ms; `None` for what cannot be one."""
    found = finite(cell)
    return found if found is not None and found >= 0 else None


def _by_name(
    rows: Sequence[Mapping[str, str]], seconds: float, throttled: Mapping[_Key, int], failures_known: bool
) -> dict[str, Group]:
    """Groups by request name; a name with several methods is one group with their sum, and one for each method."""
    shared = _shared(rows)
    found: dict[str, Group] = {}
    for row in rows:
        method, name = row.get("Type") or "", row["Name"]
        if name == AGGREGATED:
            continue
        key = f"{method} {name}".strip() if name in shared else name
        found[key] = _group(key, row, seconds, throttled.get((method, name), 0), failures_known)
    for name in shared:
        parts = [row for row in rows if row["Name"] == name]
        refused = sum(n for (_, of), n in throttled.items() if of == name)
        found[name] = _group(name, _summed(parts), seconds, refused, failures_known)
    return found


def _shared(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Names under which several methods were asked."""
    names = [row["Name"] for row in rows if row["Name"] != AGGREGATED]
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def _summed(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The lines of several methods as one. Percentiles of parts are not those of the whole: they are left out."""
    sent = [finite(part["Request Count"]) or 0.0 for part in parts]
    failed = sum(finite(part["Failure Count"]) or 0.0 for part in parts)
    times = [(finite(part.get("Average Response Time")) or 0.0) * n for part, n in zip(parts, sent, strict=True)]
    made = {"Request Count": str(sum(sent)), "Failure Count": str(failed)}
    if sum(sent):
        made["Average Response Time"] = str(sum(times) / sum(sent))
    for column, choose in (("Min Response Time", min), ("Max Response Time", max)):
        known = [value for part in parts if (value := finite(part.get(column))) is not None]
        made |= {column: str(choose(known))} if known else {}
    return made


def _columns(head: str) -> set[str]:
    return set(next(csv.reader(head.splitlines()[:1]), []))


def _one_each(path: Path, files: Sequence[Path]) -> tuple[Path | None, Path | None]:
    """The statistics and the history; of a single file given, the other one beside it."""
    stats = [file for file in files if file.name.endswith("_stats.csv")]
    histories = [file for file in files if file.name.endswith("_stats_history.csv")]
    if len(stats) > 1 or len(histories) > 1:
        names = ", ".join(file.name for file in (*stats, *histories))
        raise BadInput([f"{path}: expected the CSVs of one Locust run, got several ({names}): name one *_stats.csv"])
    found, history = next(iter(stats), None), next(iter(histories), None)
    if found is not None and history is None:
        history = _beside(found, "_stats_history.csv")
    if history is not None and found is None:
        found = _beside(history, "_stats.csv")
    if found is None and history is None:
        found = files[0]
    return found, history


def _beside(file: Path | None, suffix: str) -> Path | None:
    if file is None:
        return None
    stem = re.sub(r"_stats(_history)?\.csv$", "", file.name)
    other = file.with_name(stem + suffix)
    return other if other.exists() and other != file else None


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
        return [row for row in csv.DictReader(opened) if row.get("Name") and None not in row.values()]


def _cut_lines(file: Path) -> int:
    """How many lines end before their last column, as of a process that was killed."""
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
        text = opened.read()
    short = sum(None in row.values() for row in csv.DictReader(io.StringIO(text, newline="")))
    return max(short, int(bool(text) and not text.endswith(("\n", "\r"))))


def _check_one_run(path: Path, history: Sequence[Mapping[str, str]]) -> None:
    """Refuse a history to which that of an earlier run was appended."""
    for before, after in pairwise(history):
        if float(after["Timestamp"]) < float(before["Timestamp"]):
            expected = f"{path}: expected the history of one run, whose timestamps grow"
            raise BadInput([f"{expected}, got {after['Timestamp']} after {before['Timestamp']}"])


def _history(file: Path) -> list[dict[str, str]]:
    """The lines of all requests together, in time; a cut one is left out."""
    return [row for row in _rows(file) if row["Name"] == AGGREGATED and finite(row.get("Timestamp")) is not None]


def _as_stats(row: Mapping[str, str]) -> dict[str, str]:
    """A history line in the words of the statistics."""
    return {re.sub("^Total ", "", key): value for key, value in row.items()}


def _throttled(file: Path | None) -> tuple[dict[_Key, int], bool]:
    """429s by method and request name, by the text of the failures; and whether they could be told at all."""
    if file is None:
        return {}, False
    found: dict[_Key, int] = {}
    for row in _rows(file):
        if _THROTTLED.search(row.get("Error") or ""):
            key = (row.get("Method") or "", row["Name"])
            found[key] = found.get(key, 0) + int(finite(row.get("Occurrences")) or 0)
    return found, True


def _seconds(row: Mapping[str, str], start: float | None, end: float | None) -> float:
    if start is not None and end is not None and end > start:
        return end - start
    rate = finite(row.get("Requests/s"))
    return (finite(row.get("Request Count")) or 0.0) / rate if rate else 0.0


def _group(key: str, row: Mapping[str, str], seconds: float, throttled: int, failures_known: bool) -> Group:
    sent, bad = int(float(row["Request Count"])), int(float(row["Failure Count"]))
    rates = {"rpm_started": per_minute(sent, seconds), "rpm": per_minute(sent - bad, seconds)}
    refused = throttled if failures_known else None
    return given_group(key, sent, bad, refused, rates, [_response_times(row, sent)] if sent else [])


def _response_times(row: Mapping[str, str], n: int) -> Distribution:
    percentiles = {}
    for column, cell in row.items():
        match = re.fullmatch(r"([\d.]+)%", column)
        if match and float(match[1]) < 100:
            percent = float(match[1])
            percentiles[f"p{percent:g}"] = Estimate(_time(cell) if carries(n, percent) else None)
    average = Estimate(_time(row.get("Average Response Time")))
    lowest, highest = _time(row.get("Min Response Time")), _time(row.get("Max Response Time"))
    return Distribution("response_time_ms", n, average, lowest, highest, percentiles)


def _minutes(history: list[dict[str, str]]) -> pd.DataFrame | None:
    """Differences of the running totals at the ends of clock minutes."""
    if not history:
        return None
    last: dict[int, tuple[float, float]] = {}
    for at, totals in _totals(history):
        last[int(at // MINUTE_S) * MINUTE_S] = totals
    made = pd.DataFrame({column: np.full(len(last), np.nan) for column in COLUMNS})
    made["minute"], made["full"] = list(last), _full(list(last), history)
    sent, failed = (np.diff(np.array(series), prepend=0.0) for series in zip(*last.values(), strict=True))
    made["completed"], made["failed"], made["started"] = sent - failed, failed, sent
    return made


def _totals(history: list[dict[str, str]]) -> Iterator[tuple[float, tuple[float, float]]]:
    for row in history:
        totals = finite(row["Total Request Count"]) or 0.0, finite(row["Total Failure Count"]) or 0.0
        yield float(row["Timestamp"]), totals


def _full(minutes: list[int], history: list[dict[str, str]]) -> list[bool]:
    start, end = float(history[0]["Timestamp"]), float(history[-1]["Timestamp"])
    return [start <= minute and minute + MINUTE_S <= end for minute in minutes]


def _label(path: Path, file: Path | None) -> str:
    name = re.sub(r"_?stats(_history)?\.csv$", "", file.name) if file is not None else ""
    return name or path.resolve().name
