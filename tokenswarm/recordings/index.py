"""The index of a file of recorded requests, made before anything is sent.

That of a big file is made by several processes, and kept in the user's cache directory, so that the workers of a run
and the next run need not read it again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from tokenswarm.recordings.lines import Form
from tokenswarm.recordings.parallel_scan import scan_in_parallel
from tokenswarm.recordings.scan import MAX_FILE_BYTES, Index, columns_of, scan
from tokenswarm.userinput import open_file

CACHED_FROM_BYTES = 64_000_000
"""A smaller file is read again faster than anybody notices."""
_VERSION = 3


def load_index(path: str | Path, asks: str, skip_bad: int) -> Index:
    """The index of a file in which at most `skip_bad` lines are no requests. Raises `BadInput` with each, by its line.

    In a process, a file is read again only when it has changed.
    """
    with open_file(path, "requests", MAX_FILE_BYTES) as file:
        facts = os.fstat(file.fileno())
    return _load(Path(path), facts.st_size, facts.st_mtime_ns, asks, skip_bad)


@lru_cache(maxsize=2)
def _load(path: Path, size: int, changed_ns: int, asks: str, skip_bad: int) -> Index:
    if size < CACHED_FROM_BYTES:
        return scan(path, asks, skip_bad)
    facts = [_VERSION, str(path.resolve()), size, changed_ns, asks, skip_bad]
    kept = cache_path(path)
    with _one_at_a_time(kept):
        index = _read_kept(kept, facts, path, asks)
        if index is None:
            index = scan_in_parallel(path, asks, size) or scan(path, asks, skip_bad)
            _keep(index, kept, facts)
    return index


@contextmanager
def _one_at_a_time(kept: Path) -> Iterator[None]:
    """The processes of a run want the same index at the same time: the first one makes it."""
    with ExitStack() as stack:
        with suppress(OSError):  # where nothing can be written, each makes its own
            kept.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open(kept.with_suffix(".lock"), "wb"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cache_path(path: Path) -> Path:
    """Where the index of a file is kept."""
    home = os.environ.get("XDG_CACHE_HOME")
    name = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return (Path(home) if home else Path.home() / ".cache") / "tokenswarm" / "requests" / f"{name}.index"


def _keep(index: Index, kept: Path, facts: list[object]) -> None:
    """Write an index down, whole or not at all; a directory that cannot be written is no fault of the run's."""
    partial = kept.with_suffix(f".{os.getpid()}.partial")
    header = {"facts": facts, "count": len(index), "first_asks": index.first_asks, "skipped": index.skipped}
    header |= {"session_count": index.session_count, "form": index.form}
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            for column in columns_of(index):
                column.tofile(file)
        partial.replace(kept)
    except OSError:
        partial.unlink(missing_ok=True)


def _read_kept(kept: Path, facts: list[object], path: Path, asks: str) -> Index | None:
    """The index as it was kept; `None` when there is none of this very file."""
    try:
        with open(kept, "rb") as file:
            header = json.loads(file.readline())
            if header["facts"] != facts:
                return None
            index = Index(path, asks, header["first_asks"], header["skipped"])
            index.session_count, index.form = header["session_count"], Form(header["form"])
            for column in columns_of(index):
                column.fromfile(file, header["count"])
    except (OSError, ValueError, KeyError, EOFError):
        return None
    return index
