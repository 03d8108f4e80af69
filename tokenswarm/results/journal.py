"""Rows on disk: appended with one write a batch, so that a killed process loses at most what it had not flushed."""

from __future__ import annotations

import logging
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from tokenswarm.results.csv_rows import HEADER

MAX_HELD_BYTES = 64 * 1024 * 1024
"""Rows kept in memory while the disk refuses them; beyond this they are counted as lost."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class WrittenBytes:
    """Bytes that were written to a file: how many, and their CRC-32."""

    size: int = 0
    checksum: int = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self.checksum = zlib.crc32(data, self.checksum)

    def facts(self) -> dict[str, int]:
        """For run.json: by it, rows that were changed afterwards are known."""
        return {"bytes": self.size, "crc32": self.checksum}


class Journal:
    """A CSV file of rows that is only appended to. Raises `OSError` when it cannot be created."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.rows_lost = 0
        self.problem: str | None = None
        self.written = WrittenBytes()
        """Everything in the file, its header too, if nobody else writes to it."""
        self._held: list[str] = []
        self._held_bytes = 0
        self._descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        if os.fstat(self._descriptor).st_size == 0:
            self.written.add(HEADER.encode()[: os.write(self._descriptor, HEADER.encode())])

    @property
    def rows_written(self) -> int:
        """Rows that are on disk as a whole."""
        return self.rows - sum(text.count("\n") for text in self._held) - self.rows_lost

    def add(self, text: str, rows: int = 1) -> None:
        """Take whole lines; they are on disk after the next `flush`."""
        self.rows += rows
        if self._held_bytes > MAX_HELD_BYTES:
            self.rows_lost += rows
            return
        self._held.append(text)
        self._held_bytes += len(text)

    def flush(self) -> None:
        """Write what is held. A full disk is reported once, and the rows are kept for the next try."""
        if not self._held:
            return
        data = "".join(self._held).encode()
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            self._report(error)
            return
        self.written.add(data[:written])
        rest = data[written:]
        if rest:  # a full disk may take a part
            self._held = [rest.decode("utf-8", "surrogateescape")]
            self._held_bytes = len(rest)
            self._report(OSError(28, "no space left on device"))
            return
        self._held = []
        self._held_bytes = 0

    def close(self) -> None:
        self.flush()
        if self._held:
            self.rows_lost += sum(text.count("\n") for text in self._held)
            self._held = []
        os.close(self._descriptor)

    def _report(self, error: OSError) -> None:
        if self.problem is None:
            logger.error(
                "rows cannot be written to %s: %s; measuring goes on, they are kept in memory", self.path, error
            )
        self.problem = f"rows could not be written to {self.path.name}: {error.strerror or error}"
