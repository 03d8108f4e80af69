"""How many calls a process has under way, in a file beside its rows: it is still right after the process was killed.

The file is eight bytes of shared memory, so that counting costs no system call.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from pathlib import Path

_COUNT = struct.Struct("<q")


def in_flight_path(journal: Path) -> Path:
    """The file that belongs to a file of rows."""
    return journal.with_name(f"{journal.stem}.inflight")


class InFlight:
    """The counter of the process that writes the rows in `journal`. Raises `OSError` when it cannot be created."""

    def __init__(self, journal: Path) -> None:
        self._path = in_flight_path(journal)
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o644)
        try:
            os.write(descriptor, _COUNT.pack(0))
            self._memory = mmap.mmap(descriptor, _COUNT.size)
        finally:
            os.close(descriptor)
        self._count = 0

    @property
    def count(self) -> int:
        return self._count

    @count.setter
    def count(self, count: int) -> None:
        self._count = count
        if not self._memory.closed:
            _COUNT.pack_into(self._memory, 0, count)

    def close(self) -> None:
        """The process ends in order: what is known is in the rows, and the file goes, where it may."""
        self._memory.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_in_flight(journal: Path) -> int | None:
    """Calls that were under way when the process behind `journal` was killed; `None` when no such file is here."""
    try:
        return max(0, int(_COUNT.unpack(in_flight_path(journal).read_bytes())[0]))
    except (OSError, struct.error):
        return None
