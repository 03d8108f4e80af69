"""What a master knows of workers on other machines, in a file beside its rows: `analysis recover` reads it when the
master was killed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FILE_NAME = "remote-workers.json"


@dataclass(frozen=True, slots=True)
class RemoteWorker:
    """One worker, as it last said at Unix s `heard_at`: the path of its rows on its own machine, `None` before it
    said so, and how many requests it had made or begun that have no row here."""

    worker: str
    journal: str | None
    without_row: int
    heard_at: float


def write_remote_workers(directory: Path, workers: Sequence[RemoteWorker]) -> None:
    """Write the file as a whole, or not at all: a disk that is full is reported by the rows themselves. No file where
    there are no such workers."""
    if not workers:
        discard_remote_workers(directory)
        return
    part = directory / f"{FILE_NAME}.part"
    with contextlib.suppress(OSError):
        part.write_text(json.dumps([asdict(worker) for worker in workers], indent=2) + "\n", encoding="utf-8")
        os.replace(part, directory / FILE_NAME)


def discard_remote_workers(directory: Path) -> None:
    """The run has ended in order: what came is in its rows, what did not is in run.json."""
    for path in (directory / FILE_NAME, directory / f"{FILE_NAME}.part"):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
