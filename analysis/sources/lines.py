"""The whole lines of a CSV that processes append to, and that a crash may have cut.

A writer puts each record on one line, with one write. After a crash the last line may be cut; after a restart, or on
a disk that filled up, a cut line may also stand in the middle, glued to the next one, with an open quote that would
swallow every line after it. So lines are counted and weighed before a CSV parser sees them: if each has the cells of
the header and no quote, the file is read as it is; else line by line, and what is no record is skipped and counted.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_BLOCK = 1 << 20
MOST_COMMAS = 255


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
            self.is_clean, self._ends = _weigh(file, self._end, columns - 1)
        self.capacity = max(0, len(self._ends) - 1)
        self.skipped = 0
        self._numbers = array("i")

    @property
    def numbers(self) -> npt.NDArray[np.int32] | None:
        return None if self.is_clean else np.frombuffer(self._numbers, np.int32)

    def open(self, streams: int, stripe: int) -> list[io.RawIOBase]:
        """Streams of the header and the records, `stripe` of them in turn to each; one stream of all records where the
        file is not clean. Starts the counts anew."""
        self.skipped = 0
        self._numbers = array("i")
        if not self.is_clean:
            return [_Joined(self._records())]
        edges = [*self._ends[: max(1, len(self._ends) - 1) : stripe].tolist(), self._end]
        parts = [(0, edges[0])], [*pairwise(edges)]
        return [_Joined(_read_parts(self._path, parts[0] + parts[1][at::streams])) for at in range(streams)]

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


def _weigh(file: IO[bytes], end: int, commas: int) -> tuple[bool, npt.NDArray[np.int64]]:
    """Whether each line has so many commas and there is no quote or NUL; and where each line ends. One fast pass."""
    ends: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    is_clean, at = commas <= MOST_COMMAS, 0
    file.seek(0)
    while at < end:
        block = file.read(min(_BLOCK, end - at))
        block += file.readline() if not block.endswith(b"\n") else b""
        data = np.frombuffer(block, np.uint8)
        found = np.flatnonzero(data == ord("\n")) + 1
        is_clean = is_clean and b'"' not in block and b"\0" not in block and _have_commas(data, found, commas)
        ends.append(found + at)
        at += len(block)
    return is_clean, np.concatenate(ends)


def _have_commas(data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], commas: int) -> bool:
    """Whether each line of a block has so many: by their number modulo 256, and by that of all."""
    are_commas = data == ord(",")
    found = np.add.reduceat(are_commas.view(np.uint8), np.append(0, ends[:-1]), dtype=np.uint8)
    return bool((found == commas).all()) and int(np.count_nonzero(are_commas)) == commas * len(ends)


def _read_parts(path: Path, parts: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """The bytes of a file from each begin to its end."""
    with path.open("rb") as file:
        for begin, end in parts:
            file.seek(begin)
            while (left := end - file.tell()) > 0:
                yield file.read(min(_BLOCK, left))


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
