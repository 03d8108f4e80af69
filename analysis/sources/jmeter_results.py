"""JMeter result files (CSV JTL), and those of Azure Load Testing, with the same columns and one file an engine.

A sample that is part of another one (an embedded resource or a redirect of a page, a transaction around its requests)
is no request of its own: the requests are counted once, and what was left out is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.sources.jmeter_columns import REQUIRED, Dialect, find_dialect, instants
from analysis.sources.rows import frame
from analysis.sources.run import Run
from tokenswarm.record import Outcome
from tokenswarm.userinput import BadInput

USED = (*REQUIRED, "responseMessage", "failureMessage", "Latency", "threadName")
_TRANSACTION = "Number of samples in transaction"
_PART = re.compile(r"(.+)-\d+")
_HEAD = 65536
_ROUNDING_S = 0.002
MAX_APART_S = 60.0
"""Engines of one run begin within seconds; a short one may have ended before a late one sends."""
BLIND_SPOTS = [
    "tokens and TTFT: neither TPM nor time to the first token is in these files",
    "a failure inside a 200: it counts as answered unless the test plan asserted the body",
    "when a request was due: latencies are from the send only, so a generator that lagged does not show",
    "retries of one call: each attempt is a request of its own",
]
XML_HINT = "expected CSV, got XML: set jmeter.save.saveservice.output_format=csv, or save the results as CSV"


def is_results(head: str) -> bool:
    """Whether a file begins with the columns of JMeter (or is JMeter's XML, which `load` refuses with advice)."""
    return "<testResults" in head[:400] or find_dialect(head) is not None


def load(path: Path, files: Sequence[Path], unreadable: Sequence[Path] = ()) -> Run:
    """One run from the files of all engines; each engine becomes a worker. `unreadable`: files beside them that are
    empty or no text, which may have been those of another engine. Raises `BadInput` listing all problems."""
    problems: list[str] = []
    notes: list[str] = []
    tables = []
    skipped = 0
    for file in files:
        table = _read(file, problems, notes)
        if table is not None:
            good = _placed(table, problems, notes, file)
            skipped += int((~good).sum())
            tables.append(_requests(table[good].reset_index(drop=True), notes).assign(engine=file.stem))
    if problems:
        raise BadInput(problems)
    joined = pd.concat(tables, ignore_index=True)
    engines = len(files)
    if engines > 1:
        notes.append(f"{engines} files, one for each engine, read as one run")
    if (joined["responseCode"] == "429").any():
        notes.append("429 is shown as throttled here; Azure Load Testing counts it as an error")
    return Run(
        path=path,
        label=path.stem if path.is_file() else path.resolve().name,
        source="azure-load-testing" if engines > 1 else "jmeter",
        rows=_rows(joined),
        blind_spots=list(BLIND_SPOTS),
        notes=list(dict.fromkeys(notes)),
        skipped_lines=skipped,
        altered="; ".join(filter(None, [*(f"{file.name} is empty or no text" for file in unreadable), _apart(tables)])),
    )


def _apart(tables: Sequence[pd.DataFrame]) -> str:
    """Why files cannot be those of the engines of one run, which send at the same time; empty where they can."""
    found = [(table["timeStamp"], table["engine"]) for table in tables if len(table)]
    spans = sorted((times.min(), times.max(), engines.iloc[0]) for times, engines in found)
    for (_, end, one), (start, _, other) in pairwise(spans):
        if start - end > MAX_APART_S:
            return f"{one} ends {start - end:.0f} s before {other} begins: results of several runs"
    return ""


def outcome(success: str, code: str, message: str) -> Outcome:
    """How a sample ended, from its own columns."""
    if code == "429":
        return Outcome.THROTTLED
    if success.strip().lower() == "true":
        return Outcome.OK
    if not code.strip().isdigit():
        return Outcome.TIMEOUT if "timeout" in (code + message).lower() else Outcome.CONNECTION_ERROR
    return Outcome.BAD_PAYLOAD if code.startswith("2") else Outcome.HTTP_ERROR


def _read(file: Path, problems: list[str], notes: list[str]) -> pd.DataFrame | None:
    with file.open(encoding="utf-8-sig", errors="replace") as opened:
        head = opened.read(_HEAD)
    if head.lstrip().startswith("<"):
        problems.append(f"{file}: {XML_HINT}")
        return None
    dialect = find_dialect(head) or Dialect(",")
    if dialect.names:
        notes.append(f"{file.name} has no header: read as JMeter's own columns, {', '.join(dialect.names)}")
    try:
        table = pd.read_csv(
            file,
            sep=dialect.delimiter,
            header=None if dialect.names else 0,
            names=list(dialect.names) or None,
            skiprows=dialect.skipped,
            usecols=lambda column: column in USED,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            encoding_errors="replace",
            engine="c",
            index_col=False,
        )
    except (ValueError, OSError) as error:
        problems.append(f"{file}: expected a JMeter CSV, got {error}")
        return None
    table = table.reindex(columns=list(USED), fill_value="").fillna("")
    again = (table["timeStamp"] == "timeStamp") & (table["elapsed"] == "elapsed")  # files that were put behind another
    return table[~again].reset_index(drop=True)


def _placed(table: pd.DataFrame, problems: list[str], notes: list[str], file: Path) -> Any:
    """Rows with an instant and a time; converts both columns in place. A last line that was cut has neither."""
    placed, note = instants(table["timeStamp"])
    if len(table) and placed.isna().all():
        first = table["timeStamp"].iloc[0]
        problems.append(
            f"{file}: expected timeStamp in ms since 1970 or as a date such as 2026/11/28 03:58:20.123, got {first!r}"
        )
    if note:
        notes.append(f"{file.name}: {note}")
    table["timeStamp"] = placed
    for name in ("elapsed", "Latency"):
        numbers = pd.to_numeric(table[name], errors="coerce")
        table[name] = numbers.where(numbers.between(0.0, np.inf, inclusive="left"))
    known = table["success"].str.strip().str.lower().isin(["true", "false"])
    return (table["timeStamp"].notna() & table["elapsed"].notna() & known).to_numpy()


def _requests(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The samples that are requests, each once."""
    transactions = table["responseMessage"].str.startswith(_TRANSACTION)
    parts = _parts(table)
    for left_out, what in ((transactions, "transaction"), (parts & ~transactions, "sub-sample")):
        if n := int(left_out.sum()):
            kind = "the samples in it are" if what == "transaction" else "the sample that it is part of is"
            notes.append(f"{n} {what}{'s' if n > 1 else ''} left out: {kind} counted")
    return table[~transactions & ~parts]


def _parts(table: pd.DataFrame) -> pd.Series[Any]:
    """Which samples are part of another: `Page-0` of a `Page` of the same thread that was on at that time."""
    parents = table["label"].str.extract(_PART, expand=False)
    chosen = parents.isin(set(table["label"]))
    found = pd.Series(False, index=table.index)
    if not chosen.any():
        return found
    end = table["timeStamp"] + table["elapsed"] / 1000.0
    times = pd.DataFrame({"at": table["timeStamp"], "end": end, "thread": table["threadName"], "row": table.index})
    left = times[chosen].assign(label=parents[chosen]).sort_values("at", kind="stable")
    right = times.assign(label=table["label"]).sort_values("at", kind="stable")
    joined = pd.merge_asof(left, right, on="at", by=["label", "thread"], suffixes=("", "_of_parent"))
    inside = joined["end"] <= joined["end_of_parent"] + _ROUNDING_S
    found[joined.loc[inside, "row"]] = True
    return found


def _rows(table: pd.DataFrame) -> pd.DataFrame:
    codes, messages = table["responseCode"], table["responseMessage"]
    outcomes = [outcome(*cells) for cells in zip(table["success"], codes, messages, strict=True)]
    errors = [
        None if how is Outcome.OK else (failure or message or code)[:300]
        for how, failure, message, code in zip(outcomes, table["failureMessage"], messages, codes, strict=True)
    ]
    return frame(
        {
            "worker": table["engine"].tolist(),
            "name": table["label"].tolist(),
            "started_at": table["timeStamp"],
            "first_byte_ms": table["Latency"],
            "e2e_ms": table["elapsed"],
            "attempt": np.ones(len(table)),
            "status": pd.to_numeric(codes, errors="coerce"),
            "outcome": [str(how) for how in outcomes],
            "error": errors,
        },
        len(table),
    )
