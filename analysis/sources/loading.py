"""From a path to a `Run`.

A run directory of Tokenswarm, also one that a crash left behind; or the results of another tool, told apart by what is
in the files, not by their names alone. What is missing or cut is said in `notes`, never guessed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.sources import benchmark_log, jmeter_results, locust_csv
from analysis.sources.columns import EXTRA_OFFSETS, OFFSETS, empty_stages
from analysis.sources.rows import RowsFile, empty_rows, read_rows
from analysis.sources.rows import texts as row_texts
from analysis.sources.run import TOKENSWARM, Run
from tokenswarm.metrics.verdict import CHECKSUM, checksum_of
from tokenswarm.redaction import SECRETS
from tokenswarm.userinput import TOO_DEEP, BadInput, parse_json

RUN_SCHEMA_VERSION = 1
LONGEST_RUN_S = 60 * 86400.0
"""Requests further apart than this are no run, but a broken clock or a foreign line."""

_SNIFFED = 65536
_BLOCK = 1 << 20


def load_run(path: Path | str) -> Run:
    """Read a run from a directory or file. Raises `BadInput` when there is nothing that can be read as one."""
    path = Path(path)
    if not path.exists():
        raise BadInput([f"{path}: expected a run directory or a result file, got nothing of that name"])
    if path.is_dir() and _is_run_directory(path):
        return _load_directory(path)
    found = _load_other(path)
    if found is not None:
        return found
    latest = _latest_run(path) if path.is_dir() else None
    if latest is not None:
        return load_run(latest)
    if path.is_file() and path.suffix == ".csv":
        return _of_file(read_rows(path))
    expected = (
        "a run directory (run.json, requests.csv), Locust CSVs, JMeter result CSVs or an azure-openai-benchmark log"
    )
    raise BadInput([f"{path}: expected {expected}, got none of them"])


def load_runs(paths: Iterable[Path | str]) -> list[Run]:
    """Read several runs; `BadInput` lists the problems of all of them. Equal labels are told apart by their path."""
    runs: list[Run] = []
    problems: list[str] = []
    for path in paths:
        try:
            runs.append(load_run(path))
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    return runs


def texts(run: Run, positions: Iterable[int]) -> dict[int, dict[str, str]]:
    """All cells as text (request ids, conversation ids, whole errors) of the rows at `positions` of `run.rows`.

    Reads the files again; other tools' results have no more text than the table, for them it is empty.
    """
    chosen = run.rows.iloc[list(positions)]
    if run.source != TOKENSWARM or not len(chosen):
        return {}
    found: dict[int, dict[str, str]] = {}
    for name, part in chosen.groupby("file", observed=True):
        path = run.path / str(name) if run.path.is_dir() else run.path
        cells = row_texts(path, part["line"].tolist())
        found.update({int(at): cells[line] for at, line in zip(part.index, part["line"], strict=True) if line in cells})
    return found


def read_meta(directory: Path) -> tuple[dict[str, Any], list[str]]:
    """run.json and what is wrong with it; its checksum is `None` where the facts are not those that it was made of.
    Raises `BadInput` for a schema version that this code does not know."""
    path = directory / "run.json"
    try:
        meta = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, ["run.json is missing: configuration and verdict are unknown"]
    except (OSError, ValueError) as error:
        if str(error) == TOO_DEEP:
            raise BadInput([f"{path}: expected the facts of a run, got JSON {TOO_DEEP}"]) from error
        return {}, [f"run.json cannot be read ({error}): configuration and verdict are unknown"]
    if not isinstance(meta, dict):
        return {}, ["run.json is not an object: configuration and verdict are unknown"]
    version = meta.get("schema_version", RUN_SCHEMA_VERSION)
    if not isinstance(version, int) or not 1 <= version <= RUN_SCHEMA_VERSION:
        expected = f"{path}: expected schema_version 1 to {RUN_SCHEMA_VERSION}, got {version!r}"
        raise BadInput([f"{expected}: read it with the version of Tokenswarm that wrote it, or a newer one"])
    if _is_changed(meta):
        meta[CHECKSUM] = None
    return SECRETS.redact_values(meta), []


def _is_changed(meta: Mapping[str, Any]) -> bool:
    """Whether the facts are not those of their checksum. Runs of the first days have none: they have what each run
    writes beside the checksum of its rows."""
    if CHECKSUM in meta:
        return bool(meta[CHECKSUM] != checksum_of(meta))
    written = (meta.get(key) for key in ("accounting", "verdict", "criteria", "options"))
    return bool(meta.get("rows_file")) and None in written


def _check_span(path: Path, rows: pd.DataFrame) -> None:
    """Refuse instants and durations that would make a run of years, minute by minute."""
    longest_ms = LONGEST_RUN_S * 1000
    for name in (name for name in (*OFFSETS, *EXTRA_OFFSETS) if name in rows):
        if (rows[name].abs() > longest_ms).any():
            expected = f"{path}: expected {name} of at most {LONGEST_RUN_S / 86400:.0f} days"
            raise BadInput([f"{expected}, got {rows[name].abs().max():.3g} ms"])
    instants = pd.concat([rows[name].dropna() for name in ("started_at", "scheduled_at") if name in rows])
    if len(instants) and (instants.max() - instants.min() > LONGEST_RUN_S or instants.min() < 0):
        expected = f"{path}: expected the requests of one run, within {LONGEST_RUN_S / 86400:.0f} days"
        raise BadInput([f"{expected}, got instants from {instants.min():.0f} to {instants.max():.0f} (Unix s)"])


def _is_run_directory(path: Path) -> bool:
    return any((path / name).exists() for name in ("run.json", "requests.csv")) or bool(journals(path))


def journals(directory: Path) -> list[Path]:
    """Journals of the processes of a run, which remain when it did not end in order."""
    return sorted(directory.glob("journal-*.csv"))


def _latest_run(directory: Path) -> Path | None:
    runs = [path for path in directory.iterdir() if path.is_dir() and _is_run_directory(path)]
    return max(runs, key=lambda path: path.name, default=None)


def _load_directory(directory: Path) -> Run:
    meta, notes = read_meta(directory)
    read, journal_notes = _read_directory(directory, finished=meta.get("state") in ("finished", "interrupted"))
    _check_span(directory, read.rows)
    return Run(
        path=directory,
        label=_label(directory, meta),
        meta=meta,
        rows=read.rows,
        stages=read.stages,
        notes=notes + read.notes + journal_notes,
        skipped_lines=read.skipped_lines,
        altered="; ".join(filter(None, [_altered_facts(meta), _altered(directory / "requests.csv", meta)])),
    )


def _altered_facts(meta: Mapping[str, Any]) -> str:
    known = meta.get(CHECKSUM, 0) is not None
    return "" if known else "run.json is not what the run wrote: somebody has changed it"


def _altered(path: Path, meta: Mapping[str, Any]) -> str:
    """Why a file of rows is not the one that run.json was written beside."""
    written = meta.get("rows_file")
    if not isinstance(written, Mapping) or not path.exists():
        return ""
    size = checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    if (size, checksum) == (written.get("bytes"), written.get("crc32")):
        return ""
    return f"{path.name} is not what the run wrote: somebody has changed it"


def _of_file(read: RowsFile) -> Run:
    _check_span(read.path, read.rows)
    return Run(
        path=read.path,
        label=read.path.stem,
        rows=read.rows,
        stages=read.stages,
        notes=["a file of requests without run.json: configuration and verdict are unknown", *read.notes],
        skipped_lines=read.skipped_lines,
    )


def _label(directory: Path, meta: Mapping[str, Any]) -> str:
    name = meta.get("test_name")
    resolved = directory.resolve()
    return f"{name}/{resolved.name}" if isinstance(name, str) and name else f"{resolved.parent.name}/{resolved.name}"


def _read_directory(directory: Path, finished: bool) -> tuple[RowsFile, list[str]]:
    """requests.csv and, of a run that did not end in order, the rows that only the journals have."""
    path = directory / "requests.csv"
    whole = read_rows(path) if path.exists() else RowsFile(path, empty_rows(), empty_stages())
    notes = [] if path.exists() else ["requests.csv is missing"]
    for journal in [] if finished and path.exists() else journals(directory):
        read = read_rows(journal)
        added = _merge(whole, read)
        whole.skipped_lines += read.skipped_lines
        if added:
            notes.append(f"{added} rows come from {journal.name}: requests.csv lacks them")
    return whole, notes


def _merge(whole: RowsFile, journal: RowsFile) -> int:
    """Add the rows of a journal that `whole` lacks. A row is known by its call and attempt."""
    new = ~_keys(journal.rows).isin(_keys(whole.rows)).to_numpy()
    if not new.any():
        return 0
    place = np.where(new, np.cumsum(new) - 1 + len(whole.rows), -1)
    stages = journal.stages.assign(row=place[journal.stages["row"].to_numpy()])
    stages = stages[stages["row"] >= 0]
    whole.rows = _concat([whole.rows, journal.rows[new]])
    whole.stages = pd.concat([whole.stages, stages], ignore_index=True)
    return int(new.sum())


def _keys(rows: pd.DataFrame) -> pd.Series[Any]:
    attempt = rows["attempt"].to_numpy(np.int64, na_value=1).astype(np.uint64)
    return pd.Series(rows["call"].to_numpy(np.uint64) * np.uint64(1_000_003) + attempt)


def _concat(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenation that keeps categories categories."""
    tables = [table for table in tables if len(table)]
    for column in tables[0].columns:
        if isinstance(tables[0][column].dtype, pd.CategoricalDtype) and column != "outcome":
            union = sorted({text for table in tables for text in table[column].cat.categories})
            tables = [table.assign(**{column: table[column].cat.set_categories(union)}) for table in tables]
    return pd.concat(tables, ignore_index=True)


def _load_other(path: Path) -> Run | None:
    """The run in a file or directory of another tool; `None` when it is none of those known.

    Raises `BadInput` when it is one, but cannot be read.
    """
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    heads = {file: _head(file) for file in files if file.suffix.lower() in (".csv", ".jtl", ".log", ".jsonl", ".txt")}
    results = [file for file, head in heads.items() if jmeter_results.is_results(head)]
    if results:
        others = [file for file, head in heads.items() if file not in results and (not head or "\0" in head)]
        return jmeter_results.load(path, results, others)
    stats = [file for file, head in heads.items() if locust_csv.is_stats(head) or locust_csv.is_history(head)]
    if stats:
        return locust_csv.load(path, stats)
    logs = [file for file, head in heads.items() if benchmark_log.is_log(head)]
    return benchmark_log.load(path, logs) if logs else None


def _head(path: Path) -> str:
    """The first part of a file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_SNIFFED).decode("utf-8-sig", "replace")
    except OSError:
        return ""
