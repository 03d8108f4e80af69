"""JMeter result files (CSV JTL), and those of Azure Load Testing, with the same columns and one file an engine."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.sources.rows import frame
from analysis.sources.run import Run
from tokenswarm.record import Outcome
from tokenswarm.userinput import BadInput

REQUIRED = ("timeStamp", "elapsed", "label", "responseCode", "success")
USED = (*REQUIRED, "responseMessage", "failureMessage", "Latency")
DATE_FORMATS = ("%Y/%m/%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f")
BLIND_SPOTS = [
    "tokens and TTFT: neither TPM nor time to the first token is in these files",
    "a failure inside a 200: it counts as answered unless the test plan asserted the body",
    "when a request was due: latencies are from the send only, so a generator that lagged does not show",
    "retries of one call: each attempt is a request of its own",
]
XML_HINT = "expected CSV, got XML: set jmeter.save.saveservice.output_format=csv, or save the results as CSV"


def is_results(head: str) -> bool:
    """Whether a file begins with the columns of JMeter (or is JMeter's XML, which `load` refuses with advice)."""
    return "<testResults" in head[:400] or set(REQUIRED) <= set(next(csv.reader(head.splitlines()[:1]), []))


def load(path: Path, files: Sequence[Path]) -> Run:
    """One run from the files of all engines; each engine becomes a worker. Raises `BadInput` listing all problems."""
    problems: list[str] = []
    tables = []
    skipped = 0
    for file in files:
        table = _read(file, problems)
        if table is not None:
            good = _placed(table, problems, file)
            skipped += int((~good).sum())
            tables.append(table[good].assign(engine=file.stem))
    if problems:
        raise BadInput(problems)
    joined = pd.concat(tables, ignore_index=True)
    engines = len(files)
    notes = [f"{engines} files, one for each engine, read as one run"] if engines > 1 else []
    if (joined["responseCode"] == "429").any():
        notes.append("429 is shown as throttled here; Azure Load Testing counts it as an error")
    return Run(
        path=path,
        label=path.stem if path.is_file() else path.resolve().name,
        source="azure-load-testing" if engines > 1 else "jmeter",
        rows=_rows(joined),
        blind_spots=list(BLIND_SPOTS),
        notes=notes,
        skipped_lines=skipped,
    )


def outcome(success: str, code: str, message: str) -> Outcome:
    """How a sample ended, from its own columns."""
    if code == "429":
        return Outcome.THROTTLED
    if success.strip().lower() == "true":
        return Outcome.OK
    if not code.strip().isdigit():
        return Outcome.TIMEOUT if "timeout" in (code + message).lower() else Outcome.CONNECTION_ERROR
    return Outcome.BAD_PAYLOAD if code.startswith("2") else Outcome.HTTP_ERROR


def _read(file: Path, problems: list[str]) -> pd.DataFrame | None:
    with file.open(encoding="utf-8-sig", errors="replace") as opened:
        if opened.read(400).lstrip().startswith("<"):
            problems.append(f"{file}: {XML_HINT}")
            return None
    try:
        table = pd.read_csv(
            file,
            usecols=lambda column: column in USED,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            encoding_errors="replace",
            on_bad_lines="skip",
            engine="c",
            index_col=False,
        )
    except (ValueError, OSError) as error:
        problems.append(f"{file}: expected a JMeter CSV, got {error}")
        return None
    return table.reindex(columns=list(USED), fill_value="").fillna("")


def _placed(table: pd.DataFrame, problems: list[str], file: Path) -> Any:
    """Rows with an instant and a time; converts both columns in place. A last line that was cut has neither."""
    instants = pd.to_numeric(table["timeStamp"], errors="coerce") / 1000.0
    if len(table) and instants.isna().all():
        instants = _dates(table["timeStamp"])
        if instants.isna().all():
            first = table["timeStamp"].iloc[0]
            problems.append(f"{file}: expected timeStamp in ms since 1970 or as a date, got {first!r}")
    table["timeStamp"] = instants
    table["elapsed"] = pd.to_numeric(table["elapsed"], errors="coerce")
    table["Latency"] = pd.to_numeric(table["Latency"], errors="coerce")
    known = table["success"].str.strip().str.lower().isin(["true", "false"])
    return (table["timeStamp"].notna() & table["elapsed"].notna() & known).to_numpy()


def _dates(column: pd.Series[Any]) -> pd.Series[Any]:
    """Unix s of dates as JMeter writes them; they carry no zone and are read as UTC."""
    for form in DATE_FORMATS:
        parsed = pd.to_datetime(column, format=form, errors="coerce", utc=True)
        if parsed.notna().any():
            return (parsed - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    return pd.Series(np.nan, index=column.index)


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
