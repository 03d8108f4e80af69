"""The whole lines of a CSV that processes append to, and that a crash may have cut.

A writer puts each record on one line, with one write. After a crash the last line may be cut; after a restart, or on
a disk that filled up, a cut line may also stand in the middle, glued to the next one, with an open quote that would
swallow every line after it. So lines are counted and weighed before a CSV parser sees them: if all have the cells of
the header and no quote, the file is read as it is; else line by line, and what is no record is skipped and counted.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_BLOCK = 1 << 20


class Lines:
    """The records of one file, at most `capacity`. `cut`: the last line has no end. After reading, `skipped` counts
    lines that are no record (blank ones are not counted) and `numbers` are those of the records, from 0 for the line
    after the header; `None` stands for all of them in order."""

    def __init__(self, path: Path, columns: int) -> None:
        self._path = path
        self._columns = columns
        with path.open("rb") as file:
            self._end = _last_line_end(file)
            self.cut = file.seek(0, io.SEEK_END) > self._end
            lines, commas, quoted = _weigh(file, self._end)
        self.is_clean = not quoted and commas == lines * (columns - 1)
        self.capacity = max(0, lines - 1)
        self.skipped = 0
        self._numbers = array("i")

    @property
    def numbers(self) -> npt.NDArray[np.int32] | None:
        return None if self.is_clean else np.frombuffer(self._numbers, np.int32)

    def open(self) -> io.RawIOBase:
        """A stream of the header and the records. Starts the counts anew."""
        self.skipped = 0
        self._numbers = array("i")
        return _FilePart(self._path, self._end) if self.is_clean else _Joined(self._records())

    def _records(self) -> Iterator[bytes]:
        held = b""
        with self._path.open("rb") as file:
            yield file.readline()
            for number, line in enumerate(_up_to(file, self._end)):
                if held and self._fits(held + line):
                    self._numbers.append(number - 1)
                    yield held + line
                    held, line = b"", b""
                    self.skipped -= 1
                elif self._fits(line):
                    held = b""
                    self._numbers.append(number)
                    yield line
                elif line.strip():
                    held = line if line.count(b'"') % 2 else b""
                    self.skipped += 1

    def _fits(self, line: bytes) -> bool:
        """Whether a line has exactly the cells of the header, every quote closed."""
        if b'"' not in line:
            return line.count(b",") == self._columns - 1 and b"\0" not in line and line.count(b"\n") == 1
        if line.count(b'"') % 2:
            return False
        return cell_count(line.decode("utf-8", "replace")) == self._columns


def cell_count(line: str) -> int:
    """Cells of one line of CSV; 0 for one that is none."""
    try:
        return len(next(csv.reader([line], strict=True), []))
    except csv.Error:
        return 0


def _up_to(file: IO[bytes], end: int) -> Iterator[bytes]:
    """Lines from where the file stands up to the offset `end`."""
    while file.tell() < end:
        yield file.readline()


def _last_line_end(file: IO[bytes]) -> int:
    """Bytes up to and including the last line end; 0 when there is none."""
    end = file.seek(0, io.SEEK_END)
    while end > 0:
        begin = max(0, end - _BLOCK)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _weigh(file: IO[bytes], end: int) -> tuple[int, int, bool]:
    """Line ends, commas, and whether there is a quote or a NUL. One fast pass."""
    file.seek(0)
    lines = commas = 0
    quoted = False
    while end > 0:
        block = file.read(min(_BLOCK, end))
        end -= len(block)
        quoted = quoted or b'"' in block or b"\0" in block
        lines += block.count(b"\n")
        commas += block.count(b",")
    return lines, commas, quoted


class _FilePart(io.RawIOBase):
    """The first `size` bytes of a file."""

    def __init__(self, path: Path, size: int) -> None:
        self._file: IO[bytes] = path.open("rb")
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Joined(io.RawIOBase):
    """Pieces of bytes as one stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        parts, size = [self._rest], len(self._rest)
        while size < len(buffer):
            piece = next(self._pieces, b"")
            if not piece:
                break
            parts.append(piece)
            size += len(piece)
        data = b"".join(parts)
        given, self._rest = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)
