"""A big file of requests read by several processes at once, each a part of it: `python -m ... PATH ASKS BEGIN END`.

Only what is beyond doubt is taken from them: where any line is no request, or the parts do not fit to each other, the
file is read again as a whole, which says what is wrong and where.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from tokenswarm.installation import module_command, python_path
from tokenswarm.recordings.bodies import BadLine
from tokenswarm.recordings.lines import Form
from tokenswarm.recordings.scan import Index, SessionNumbers, columns_of, entries_begin, scan_part, skip_line
from tokenswarm.userinput import MAX_DURATION_S

MOST_PARTS = 8
NO_REQUEST = 3
"""Exit code where a line is none."""


@dataclass(frozen=True, slots=True)
class _ScannedPart:
    """`session_keys`: of each session its id's hash and its number, for those that have an id."""

    index: Index
    session_keys: dict[int, int]


def scan_in_parallel(path: Path, asks: str, size: int, parts: int | None = None) -> Index | None:
    """The index of a file of lines, all of which are requests; `None` where it has to be read as a whole."""
    count = min(MOST_PARTS, _processors()) if parts is None else parts
    if count < 2:
        return None
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        if entries_begin(file).startswith(b"["):
            return None
        bounds = _bounds(file, size, count)
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in bounds[1:]]
        jobs = [
            stack.enter_context(_started(path, asks, begin, end, output))
            for (begin, end), output in zip(pairwise(bounds), outputs, strict=True)
        ]
        if any([job.wait() for job in jobs]):
            return None
        return _joined(path, asks, [_read(output, path, asks) for output in outputs])


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _bounds(file: IO[bytes], size: int, count: int) -> list[int]:
    """Where parts begin and the last one ends: at lines' beginnings."""
    bounds = {0, size}
    for number in range(1, count):
        file.seek(size * number // count)
        skip_line(file)
        bounds.add(file.tell())
    return sorted(bounds)


def _started(path: Path, asks: str, begin: int, end: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
    # The hashes of session ids must be the same in all of them.
    environment = {**os.environ, "PYTHONPATH": python_path(), "PYTHONHASHSEED": "0"}
    command = [*module_command(__name__), str(path.resolve()), asks, str(begin), str(end)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, env=environment)


def _write(output: IO[bytes], index: Index, numbers: SessionNumbers) -> None:
    header = {"count": len(index), "first_asks": index.first_asks, "form": index.form}
    header |= {"session_count": index.session_count, "keys": len(numbers.known)}
    output.write(json.dumps(header).encode() + b"\n")
    for column in (*columns_of(index), array("q", numbers.known), array("Q", numbers.known.values())):
        output.write(memoryview(column).cast("B") if len(column) else b"")


def _read(output: IO[bytes], path: Path, asks: str) -> _ScannedPart:
    output.seek(0)
    header: dict[str, Any] = json.loads(output.readline())
    index = Index(path, asks, header["first_asks"])
    index.session_count, index.form = header["session_count"], Form(header["form"])
    for column in columns_of(index):
        column.frombytes(output.read(8 * header["count"]))
    keys, numbers = array("q"), array("Q")
    for column in (keys, numbers):
        column.frombytes(output.read(8 * header["keys"]))
    return _ScannedPart(index, dict(zip(keys, numbers, strict=True)))


def _joined(path: Path, asks: str, parts: Sequence[_ScannedPart]) -> Index | None:
    filled = [part for part in parts if len(part.index)]
    if not filled or not all(_fit(one.index, other.index) for one, other in pairwise(filled)):
        return None
    whole = Index(path, asks, filled[0].index.first_asks)
    whole.form = filled[0].index.form
    known: dict[int, int] = {}
    for part in filled:
        numbers = _renumbered(part, whole.session_count, known)
        whole.session_count = max(whole.session_count, max(numbers) + 1)
        part.index.sessions = array("Q", map(numbers.__getitem__, part.index.sessions))
        for column, more in zip(columns_of(whole), columns_of(part.index), strict=True):
            column.extend(more)
    return whole


def _fit(one: Index, other: Index) -> bool:
    """Whether the second part's lines could stand behind those of the first."""
    same_key = (one.first_asks == "messages") == (other.first_asks == "messages")
    if not same_key or one.form is not other.form or one.has_timestamps != other.has_timestamps:
        return False
    return not one.has_timestamps or 0 <= other.instants_s[0] - one.instants_s[-1] <= MAX_DURATION_S


def _renumbered(part: _ScannedPart, next_number: int, known: dict[int, int]) -> array[int]:
    """The numbers in the whole file of a part's sessions; those of an id that was before have its number."""
    by_number = {number: key for key, number in part.session_keys.items()}
    numbers = array("Q")
    for number in range(part.index.session_count):
        key = by_number.get(number)
        found = next_number if key is None else known.setdefault(key, next_number)
        next_number += found == next_number
        numbers.append(found)
    return numbers


def main(arguments: Sequence[str]) -> int:
    """Write the index of a part to standard output; `NO_REQUEST` where a line is none."""
    path, asks, begin, end = arguments
    try:
        index, numbers = scan_part(Path(path), asks, int(begin), int(end))
    except BadLine:
        return NO_REQUEST
    _write(sys.stdout.buffer, index, numbers)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
