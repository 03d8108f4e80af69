"""All runs below a directory, from the cache where their files are as they were."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from analysis.history.cache import FILE_NAME, open_cache, read_cached, store
from analysis.history.past_run import PastRun, read_past_run
from tokenswarm.userinput import BadInput

_BATCH = 20
"""Runs measured between two writes of the cache: an interrupted history keeps the rest."""


@dataclass(frozen=True, slots=True)
class Collected:
    """Runs in the order of their start; `unreadable` says which directories could not be read and why; `notes` what
    else there is to say."""

    runs: list[PastRun]
    unreadable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def collect(root: Path, rebuild: bool = False) -> Collected:
    """The runs below `root`. `rebuild`: measure each again. Raises `BadInput` when there is no such directory, or the
    cache in it is not ours."""
    if not root.is_dir():
        raise BadInput([f"{root}: expected a directory with runs below it, got none of that name"])
    notes: list[str] = []
    with closing(_open(root, notes)) as connection:
        cached = read_cached(connection)
        known = {} if rebuild else cached
        found = {path.relative_to(root).as_posix(): _files_of(path) for path in run_directories(root)}
        runs = [known[path][1] for path, files in found.items() if path in known and known[path][0] == files]
        fresh = {run.path for run in runs}
        unreadable: list[str] = []
        missing = [path for path in found if path not in fresh]
        gone = [path for path in cached if path not in found]
        for first in range(0, max(len(missing), 1), _BATCH):
            measured = _measure(root, missing[first : first + _BATCH], found, unreadable)
            store(connection, measured, gone)
            runs += [run for _, run in measured.values()]
    return Collected(sorted(runs, key=lambda run: (run.started_at or 0.0, run.path)), unreadable, notes)


def _open(root: Path, notes: list[str]) -> sqlite3.Connection:
    path = root / FILE_NAME
    if os.access(path if path.exists() else root, os.W_OK):
        return open_cache(path)
    notes.append(f"{path} cannot be written: each run was measured again")
    return open_cache(Path(":memory:"))


def run_directories(root: Path) -> Iterator[Path]:
    """Directories with a run.json, `root` itself included; not what lies below them, and no links."""
    for directory, names, files in os.walk(root):
        if "run.json" in files:
            names.clear()
            yield Path(directory)


def _files_of(directory: Path) -> str:
    """Names, sizes and times of change of the files that a run is measured from."""
    states = []
    for entry in os.scandir(directory):
        if entry.name == "run.json" or entry.name.startswith("requests"):
            state = entry.stat()
            states.append(f"{entry.name} {state.st_size} {state.st_mtime_ns}")
    return "\n".join(sorted(states))


def _measure(
    root: Path, paths: list[str], files: dict[str, str], unreadable: list[str]
) -> dict[str, tuple[str, PastRun]]:
    measured = {}
    for path in paths:
        try:
            measured[path] = (files[path], read_past_run(root / path, root))
        except BadInput as error:
            unreadable += error.problems
        except OSError as error:
            unreadable.append(f"{root / path}: expected a run that can be read, got {error}")
    return measured
