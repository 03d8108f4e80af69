"""The entries of a log, from its first byte to its last: lines, or JSON over several lines; plain or packed by gzip."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tokenswarm.logs.logged import LoggedRequest, Reader, check_logged
from tokenswarm.recordings.bodies import BadLine
from tokenswarm.recordings.foreign import what_instead
from tokenswarm.recordings.json_text import SCAN
from tokenswarm.recordings.lines import MAX_LINE_BYTES, check_length
from tokenswarm.recordings.scan import (
    MAX_FILE_BYTES,
    SHOWN_PROBLEMS,
    entries_begin,
    numbered_elements,
    numbered_lines,
)
from tokenswarm.userinput import BadInput, open_file

_LOOKED_AT_BYTES = 1000
_NOT_AS_WRITTEN = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What a reader raises for values of other kinds than its log has."""


def read_log(path: Path, form: str, reader: Reader, skip_bad: int) -> Iterator[list[LoggedRequest | None]]:
    """What each line of a log tells of, `None` where that is no model call. Raises `BadInput` with the lines that
    cannot be read, where there are more than `skip_bad`, and for a file that is cut or damaged."""
    problems, bad, number = [], 0, 0
    with open_file(path, "log", MAX_FILE_BYTES, unpack=True) as file:
        try:
            for number, is_cut, data in _entries(file, path, form):
                try:
                    yield _read(data, reader, is_cut)
                except _NOT_AS_WRITTEN as error:
                    bad += 1
                    what = error if isinstance(error, BadLine) else f"expected what {form} writes, got something else"
                    problems += [f"{path}:{number}: {what}"] if bad <= SHOWN_PROBLEMS else []
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput([f"{path}:{number + 1}: expected a whole file, got one that is cut or damaged "
                            f"({error})"]) from None  # fmt: skip
    if bad > skip_bad:
        raise BadInput([*problems, *([f"{path}: and {bad - len(problems)} more"] if bad > len(problems) else [])])


def _read(data: bytes, reader: Reader, is_cut: bool) -> list[LoggedRequest | None]:
    check_length(data)
    if is_cut:
        raise BadLine("expected the line's end, got a last line that may be cut")
    return [request and check_logged(request) for request in reader(data)]


def _entries(file: BinaryIO, path: Path, form: str) -> Iterator[tuple[int, bool, bytes]]:
    """Line, whether it may be cut, and bytes of each line, or of each element of JSON over several lines."""
    first = file.readline(MAX_LINE_BYTES).rstrip()
    file.seek(0)
    begin = entries_begin(file)
    if instead := what_instead(begin):
        raise BadInput([f"{path}:1: expected UTF-8, got {instead}"])
    if form == "access":
        size = None if isinstance(file, gzip.GzipFile) else os.fstat(file.fileno()).st_size
        for number, offset, data in numbered_lines(file):
            yield number, size is not None and data[-1:].isdigit() and offset + len(data) >= size, data
        return
    if b"\0" in begin[:_LOOKED_AT_BYTES]:
        raise BadInput([f"{path}:1: expected UTF-8, got other bytes (as of another packer than gzip)"])
    if begin[:1] not in (b"{", b"[") and b"," in first and b"{" not in first:
        wanted = "az monitor log-analytics query writes it with -o json" if form == "azure" else "an object a line"
        raise BadInput([f"{path}:1: expected JSON ({wanted}), got what looks like CSV"])
    is_list = begin.startswith(b"[") and not first.endswith(b"]")
    is_of_elements = is_list or first.endswith(b"{") or _is_joined(first)
    found = numbered_elements(file, begin[:1].decode()) if is_of_elements else numbered_lines(file)
    yield from ((number, False, data) for number, _, data in found)


def _is_joined(line: bytes) -> bool:
    """Whether a line has an object and another after it, as `cat` makes of files without line ends."""
    if not line.startswith(b"{") or b"}{" not in line:
        return False
    text = line.decode("utf-8", "replace")
    try:
        return text[SCAN(text, 0)[1] :].startswith("{")
    except (StopIteration, ValueError):
        return False
