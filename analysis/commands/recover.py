"""`python -m analysis recover RUN`: rebuild requests.csv from what the processes of a run left behind.

Each process appends its rows to a journal, at most a second behind. After a crash requests.csv may lack the last of
them. Recovery writes every whole row once, keeps the old requests.csv beside the new one, leaves the journals where
they are and notes in run.json what it did. Requests that were under way at the crash have no row: how many they were
is in the `.inflight` file of each process, and they are counted as lost. A master's workers on other machines go on for
some seconds when it is killed: of their requests the master's last word is known, so that "at least" so many are lost,
until their journals are copied here.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from analysis.sources.loading import journals, read_meta
from tokenswarm.exit_codes import ExitCode
from tokenswarm.lease import sign_of_life
from tokenswarm.metrics.accounting import Accounting
from tokenswarm.metrics.verdict import CHECKSUM
from tokenswarm.record import COLUMNS, Outcome, RequestRecord
from tokenswarm.redaction import write_line
from tokenswarm.userinput import BadInput, counted

KEPT = "requests-before-recovery.csv"
_COUNT = struct.Struct("<q")
UNDER_WAY = "the process was killed with requests under way"
ELSEWHERE = "the master was killed, and what this worker did afterwards is on its own machine"
REMOTE_WORKERS = "remote-workers.json"


@dataclass(slots=True)
class Recovered:
    """Rows of the new requests.csv, by where they come from, and lines that could not be used."""

    rows: int = 0
    from_journals: int = 0
    skipped_lines: int = 0
    accounting: Accounting = field(default_factory=Accounting)
    last_end: float | None = None
    under_way: dict[str, int] = field(default_factory=dict)
    """Requests without a row, by process."""
    elsewhere: list[dict[str, Any]] = field(default_factory=list)
    """Workers whose rows are on other machines, as the master had noted: see `tokenswarm.results.remote_workers`."""

    @property
    def lost(self) -> str:
        """How many requests have no row, in words."""
        at_least = sum(self.under_way.values()) + sum(each["without_row"] for each in self.elsewhere)
        return f"at least {at_least}" if self.elsewhere else str(at_least)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("run", type=Path, metavar="RUN", help="directory of a run that did not end in order")


def main(args: argparse.Namespace) -> int:
    """Recover and say what was done. Raises `BadInput`."""
    if not args.run.is_dir():
        raise BadInput([f"{args.run}: expected a run directory, got {'a file' if args.run.exists() else 'nothing'}"])
    meta, notes = read_meta(args.run)
    _refuse_links(args.run)
    left = journals(args.run)
    if not left and meta.get("state") != "running":
        write_line(f"{args.run}: no journals: nothing to recover")
        return ExitCode.OK
    if meta.get("state") == "running" and "recovered" not in meta and (sign := sign_of_life(args.run)):
        raise BadInput([f"{args.run}: expected a run that has ended, got one that may be on: {sign}"])
    found = recover(args.run, meta)
    for note in notes:
        write_line(note)
    write_line(
        f"{counted(found.rows, 'row')} in requests.csv, "
        f"{found.from_journals} of them from {counted(len(left), 'journal')}; "
        f"{counted(found.skipped_lines, 'cut or unreadable line')} skipped; "
        f"{counted(sum(found.under_way.values()), 'request was', 'requests were')} under way; lost are {found.lost}"
    )
    for each in found.elsewhere:
        name, journal = each["worker"], each.get("journal") or "results/journals"
        text = f"copy that file into {args.run} as journal-{name}.csv, and recover again"
        write_line(f"Rows of {name} are on its machine, in {journal}: {text}")
    return ExitCode.OK


def recover(directory: Path, meta: dict[str, Any]) -> Recovered:
    """Write requests.csv from itself and the journals, and run.json with what is known. Raises `BadInput`."""
    found = Recovered(under_way=_under_way(directory), elsewhere=_elsewhere(directory))
    target, part = directory / "requests.csv", directory / "requests.csv.part"
    kept = directory / KEPT
    original = kept if kept.exists() else target
    try:
        with _new_file(part) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in _rows([original, *journals(directory)], found):
                writer.writerow(row)
            file.flush()
            os.fsync(file.fileno())
        if target.exists() and not kept.exists():
            os.replace(target, kept)
        os.replace(part, target)
        _write_meta(directory, _recovered_meta(meta, found))
    except OSError as error:
        raise BadInput([f"{directory}: expected a directory to write to, got {error.strerror}"]) from error
    return found


def _under_way(directory: Path) -> dict[str, int]:
    """What each process that was killed had under way; a process that ended in order leaves no such file."""
    counts: dict[str, int] = {}
    for path in sorted(directory.glob("*.inflight")):
        worker = "local" if path.stem == "requests" else path.stem.removeprefix("journal-")
        data = path.read_bytes()
        counts[worker] = max(0, _COUNT.unpack(data)[0]) if len(data) == _COUNT.size else 0
    return counts


def _elsewhere(directory: Path) -> list[dict[str, Any]]:
    """Workers on other machines whose rows nobody has copied here."""
    try:
        told = json.loads((directory / REMOTE_WORKERS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    whole = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    known = [each for each in whole if isinstance(each.get("worker"), str) and isinstance(each.get("without_row"), int)]
    return [each for each in known if not (directory / f"journal-{each['worker']}.csv").exists()]


def _lost(meta: dict[str, Any], found: Recovered) -> list[dict[str, Any]]:
    """Lost requests that the run counted itself, and those that its processes left."""
    accounting = meta.get("accounting")
    known = accounting.get("lost") if isinstance(accounting, dict) else None
    kept = [each for each in known or [] if isinstance(each, dict) and each.get("reason") not in (UNDER_WAY, ELSEWHERE)]
    begin, end = meta.get("started_at"), found.last_end
    elsewhere = [
        {"worker": each["worker"], "rows": each["without_row"], "from": each.get("heard_at"), "to": end,
         "reason": ELSEWHERE, "at_least": True}
        for each in found.elsewhere
    ]  # fmt: skip
    return (
        kept
        + elsewhere
        + [
            {"worker": worker, "rows": rows, "from": begin, "to": end, "reason": UNDER_WAY}
            for worker, rows in found.under_way.items()
            if rows
        ]
    )


def _rows(paths: list[Path], found: Recovered) -> Iterator[list[str]]:
    """Cells of every whole row once, whichever file has it first."""
    seen: set[tuple[str, str]] = set()
    for number, path in enumerate(paths):
        for cells in _whole_rows(path, found):
            record = _parse(cells, found)
            if record is None:
                continue
            key = (record.call_id, str(record.attempt))
            if key in seen:
                continue
            seen.add(key)
            found.from_journals += number > 0
            _count(record, found)
            yield [cells.get(column, "") for column in COLUMNS]


def _whole_rows(path: Path, found: Recovered) -> Iterator[dict[str, str]]:
    """Rows of a file as column to cell; a line without line end, or of another width, was cut."""
    if not path.exists():
        return
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader([next(file, "")]), [])
        for line in file:
            cells = next(csv.reader([line]), [])
            if line.endswith("\n") and len(cells) == len(header):
                yield dict(zip(header, cells, strict=True))
            elif line.strip():
                found.skipped_lines += 1


def _parse(cells: dict[str, str], found: Recovered) -> RequestRecord | None:
    try:
        return RequestRecord.from_row(cells)
    except (ValueError, TypeError):
        found.skipped_lines += 1
        return None


def _count(record: RequestRecord, found: Recovered) -> None:
    found.rows += 1
    found.accounting.add(record)
    end = record.ended_at
    if end is not None and record.outcome is not Outcome.DROPPED:
        found.last_end = end if found.last_end is None else max(found.last_end, end)


def _recovered_meta(meta: dict[str, Any], found: Recovered) -> dict[str, Any]:
    accounting = meta.get("accounting")
    known = accounting if isinstance(accounting, dict) else {}
    counts = {**found.accounting.facts(), "planned": known.get("planned"), "lost": _lost(meta, found)}
    return {
        "schema_version": 1,
        **{key: value for key, value in meta.items() if key != CHECKSUM},
        "ended_at": meta.get("ended_at") or found.last_end,
        "accounting": {**known, **counts},
        "recovered": {
            "at": time.time(),
            "rows_from_journals": found.from_journals,
            "skipped_lines": found.skipped_lines,
        },
    }


def _new_file(path: Path) -> TextIO:
    """A file that was not there before: what stands under its name, a link for instance, is removed, not written to."""
    path.unlink(missing_ok=True)
    return path.open("x", encoding="utf-8", newline="")


def _refuse_links(directory: Path) -> None:
    """A link in place of a run's file may lead anywhere. Raises `BadInput` that names all of them."""
    names = (directory / name for name in ("run.json", "requests.csv", KEPT, REMOTE_WORKERS))
    paths = [*names, *journals(directory), *sorted(directory.glob("*.inflight"))]
    if links := [path for path in paths if path.is_symlink()]:
        raise BadInput([f"{path}: expected a file, got a symbolic link" for path in links])


def _write_meta(directory: Path, meta: dict[str, Any]) -> None:
    part = directory / "run.json.part"
    with _new_file(part) as file:
        file.write(json.dumps(meta, indent=2, ensure_ascii=False) + "\n")
    os.replace(part, directory / "run.json")
