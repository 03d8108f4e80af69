"""Where each request of a file begins and when it was sent: what is kept of a file that does not fit into memory.

32 bytes a request. A file is read through once and each line is checked then.
"""

from __future__ import annotations

import codecs
import math
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO

from tokenswarm.recordings.bodies import BadLine
from tokenswarm.recordings.foreign import what_instead
from tokenswarm.recordings.json_text import SCAN
from tokenswarm.recordings.lines import MAX_LINE_BYTES, Form, Line, read_line
from tokenswarm.userinput import MAX_DURATION_S, BadInput, open_file

MAX_FILE_BYTES = 64_000_000_000
READ_BYTES = 1 << 20
SHOWN_PROBLEMS = 20
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Index:
    """The requests of a file in its order. `instants_s`: recorded seconds, NaN where the file has no timestamps;
    `asks`: which API bodies without a URL go to."""

    path: Path
    asks: str
    first_asks: str = ""
    skipped: int = 0
    """Lines that are no request and were let through."""
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("Q"))
    instants_s: array[float] = field(default_factory=lambda: array("d"))
    sessions: array[int] = field(default_factory=lambda: array("Q"))
    """Of each request the number of its session, from 0 in the order in which they begin."""
    session_count: int = 0
    form: Form = Form.REQUEST
    """What each line of the file holds."""

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def has_timestamps(self) -> bool:
        return len(self) > 0 and not math.isnan(self.instants_s[0])

    def within(self, window: tuple[float, float] | None) -> tuple[int, int]:
        """The requests [from, to) of a window, s from the first request; all without one."""
        if window is None:
            return 0, len(self)
        begin, end = (bisect_left(self.instants_s, self.instants_s[0] + at_s) for at_s in window)
        return begin, end

    def add(self, line: Line, offset: int, length: int, number: int | None = None) -> None:
        """The next request, of session `number`, `None` for one of its own. Raises `BadLine` when it does not fit to
        those before it."""
        if not self.first_asks:
            self.first_asks = line.asks
        elif (line.asks == "messages") != (self.first_asks == "messages"):
            raise BadLine(f"url: expected requests to {self.first_asks} as before, which has other credentials, "
                          f"got one to {line.asks}")  # fmt: skip
        elif math.isnan(line.timestamp_s) == self.has_timestamps:
            raise BadLine(f"timestamp: expected {'one as before' if self.has_timestamps else 'none as before'}, "
                          f"got {'none' if self.has_timestamps else 'one'}")  # fmt: skip
        elif line.form is not self.form:
            raise BadLine(f"expected {self.form} as before, got {line.form}")
        elif line.timestamp_s < self.instants_s[-1]:
            back_s = self.instants_s[-1] - line.timestamp_s
            raise BadLine(f"timestamp: expected one not before the request above, got one {back_s:.3f} s earlier "
                          "(python -m tokenswarm.traffic import requests puts requests in order)")  # fmt: skip
        elif line.timestamp_s - self.instants_s[-1] > MAX_DURATION_S:
            raise BadLine("timestamp: expected one within a year of the request above, got one after it (are these of "
                          "one kind, all Unix or all from the beginning?)")  # fmt: skip
        self.form = line.form
        self.offsets.append(offset)
        self.lengths.append(length)
        self.instants_s.append(line.timestamp_s)
        self.sessions.append(self.session_count if number is None else number)
        self.session_count += number in (None, self.session_count)


def scan(path: Path, asks: str, skip_bad: int) -> Index:
    """Read a file through. Raises `BadInput` with each line that is no request, where there are more than
    `skip_bad`."""
    index, bad, numbers = Index(path, asks), 0, SessionNumbers()
    problems: list[str] = []
    with open_file(path, "requests", MAX_FILE_BYTES) as file:
        _check_begin(path, file)
        for number, offset, data in entries_of(file):
            try:
                line = read_line(data, asks)
                index.add(line, offset, len(data), numbers.of(line.session, index.session_count))
            except BadLine as error:
                bad += 1
                if len(problems) < SHOWN_PROBLEMS:
                    problems.append(f"{path}:{number}: {error}")
    if bad > skip_bad:
        more = [f"{path}: and {bad - len(problems)} more lines"] if bad > len(problems) else []
        allowed = [f"skip-bad: {skip_bad} such lines may be left out, there are {bad}"] if skip_bad else []
        raise BadInput([*problems, *more, *allowed])
    if not len(index):
        raise BadInput([f"{path}: expected at least one request, got none"])
    index.skipped = bad
    return index


def _check_begin(path: Path, file: BinaryIO) -> None:
    """Raises `BadInput` for a file that is none of lines of JSON by its first one."""
    begin = entries_begin(file)
    if found := what_instead(begin):
        raise BadInput([f"{path}: expected lines of JSON in UTF-8, got {found}"])
    first = begin.partition(b"\n")[0]
    if b"," in first and b"{" not in first and not begin.startswith(b"["):
        raise BadInput([f"{path}:1: expected lines of JSON, got what looks like CSV: times and lengths are for the "
                        "option trace, texts for the option dataset"])  # fmt: skip


class SessionNumbers:
    """Numbers sessions by the hash of their ids: a million ids would not fit beside the rest."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}
        """Hash of an id -> number."""

    def of(self, session: str, next_number: int) -> int | None:
        return self.known.setdefault(hash(session), next_number) if session else None


def scan_part(path: Path, asks: str, begin: int, end: int) -> tuple[Index, SessionNumbers]:
    """Read the lines of a file from byte `begin` to byte `end`, where lines begin. Raises `BadLine` for the first that
    is no request, or does not fit to those before it."""
    index, numbers = Index(path, asks), SessionNumbers()
    with open(path, "rb") as file:
        for _, offset, data in numbered_lines(file, begin, end):
            line = read_line(data, asks)
            index.add(line, offset, len(data), numbers.of(line.session, index.session_count))
    return index, numbers


def entries_of(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Line, offset and bytes of each entry: of each line, or of each element where the file is one JSON list, as
    ShareGPT's are."""
    return numbered_elements(file) if entries_begin(file).startswith(b"[") else numbered_lines(file)


def entries_begin(file: BinaryIO) -> bytes:
    """How a file begins, without blanks: with [ where it is a list. It is to be read from its beginning then."""
    begin = file.read(READ_BYTES).removeprefix(_BOM).lstrip()
    file.seek(0)
    return begin


def numbered_elements(file: BinaryIO, opening: str = "[") -> Iterator[tuple[int, int, bytes]]:
    """Line, offset and bytes of each element of a list, or of each object of a file that has one after the other
    (`opening` is {), read piece by piece. What is no JSON, or too long, is the last element."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    text, offset, line, is_whole = "", 0, 1, False
    at = -1  # before the first
    while True:
        found = _element(text, at) if at >= 0 else None
        if found is None and not is_whole and len(text) - at <= MAX_LINE_BYTES:
            data = file.read(READ_BYTES)
            is_whole = not data
            text += decoder.decode(data, final=is_whole)
            if is_whole and text[-1:] not in ("", "\n"):
                text += "\n"  # so that the last element has an end, and a list without one is seen
            at = text.find(opening) + (opening == "[") if at < 0 else at
            continue
        begin, end = found or (_begin_of(text, at), len(text))
        skipped = text[:begin]
        offset, line = offset + len(skipped.encode("utf-8", "surrogateescape")), line + skipped.count("\n")
        element = text[begin:end].encode("utf-8", "surrogateescape")
        if found is None and element.strip() == (b"]" if opening == "[" else b""):
            return
        yield line, offset, element
        if found is None:
            return
        offset, line, text, at = offset + len(element), line + text[begin:end].count("\n"), text[end:], 0


def _begin_of(text: str, at: int) -> int:
    """Where the next element begins, or the list ends."""
    return _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches the empty text


def _element(text: str, at: int) -> tuple[int, int] | None:
    """Where the next element of a list stands; `None` where the text has none that is whole."""
    begin = _begin_of(text, at)
    try:
        end = SCAN(text, begin)[1]
    except (StopIteration, ValueError):
        return None
    return (begin, end) if end < len(text) else None


def numbered_lines(file: BinaryIO, offset: int = 0, end: int = MAX_FILE_BYTES) -> Iterator[tuple[int, int, bytes]]:
    """Number, offset and bytes of each line that is not blank, without its end and a mark of its byte order; from byte
    `offset` to byte `end`, where lines begin. One that is too long has `MAX_LINE_BYTES` + 1."""
    number = 0
    file.seek(offset)
    while offset < end and (line := file.readline(MAX_LINE_BYTES + 1)):
        number += 1
        length = len(line) + (skip_line(file) if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n") else 0)
        begin = len(_BOM) if offset == 0 and line.startswith(_BOM) else 0
        if (data := line[begin:].rstrip(b"\r\n")) and not data.isspace():
            yield number, offset + begin, data
        offset += length


def skip_line(file: IO[bytes]) -> int:
    """Read on to the end of a line, whatever its length; returns how many bytes."""
    length = 0
    while data := file.readline(READ_BYTES):
        length += len(data)
        if data.endswith(b"\n"):
            break
    return length


def columns_of(index: Index) -> tuple[array[Any], ...]:
    """All that is known of each request, in an order."""
    return index.offsets, index.lengths, index.instants_s, index.sessions
