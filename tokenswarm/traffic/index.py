"""Where each request of a file begins and when it was sent: what is kept of a file that does not fit into memory.

32 bytes a request. A file is read through once and each line is checked then, before anything is sent; the index of a
big file is kept in the user's cache directory, so that the workers of a run and the next run need not read it again.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import math
import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from tokenswarm.traffic.bodies import BadLine
from tokenswarm.traffic.json_text import SCAN
from tokenswarm.traffic.lines import Form, Line, read_line
from tokenswarm.userinput import BadInput, open_file

MAX_FILE_BYTES = 64_000_000_000
CACHED_FROM_BYTES = 64_000_000
"""A smaller file is read again faster than anybody notices."""
READ_BYTES = 1 << 20
SHOWN_PROBLEMS = 20
_VERSION = 3
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
            raise BadLine(f"timestamp: expected one not before the request above, got one {back_s:.3f} s earlier")
        self.form = line.form
        self.offsets.append(offset)
        self.lengths.append(length)
        self.instants_s.append(line.timestamp_s)
        self.sessions.append(self.session_count if number is None else number)
        self.session_count += number in (None, self.session_count)


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
        return build_index(path, asks, skip_bad)
    facts = [_VERSION, str(path.resolve()), size, changed_ns, asks, skip_bad]
    kept = cache_path(path)
    index = _read_kept(kept, facts, path, asks)
    if index is None:
        index = build_index(path, asks, skip_bad)
        _keep(index, kept, facts)
    return index


def build_index(path: Path, asks: str, skip_bad: int) -> Index:
    """Read a file through. Raises `BadInput`."""
    index, bad, numbers = Index(path, asks), 0, _SessionNumbers()
    problems: list[str] = []
    with open_file(path, "requests", MAX_FILE_BYTES) as file:
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


class _SessionNumbers:
    """Numbers sessions by the hash of their ids: a million ids would not fit beside the rest."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}

    def of(self, session: str, next_number: int) -> int | None:
        return self._known.setdefault(hash(session), next_number) if session else None


def entries_of(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Line, offset and bytes of each entry: of each line, or of each element where the file is one JSON list, as
    ShareGPT's are."""
    begin = file.read(READ_BYTES).removeprefix(_BOM).lstrip()
    file.seek(0)
    return numbered_elements(file) if begin.startswith(b"[") else numbered_lines(file)


def numbered_elements(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Line, offset and bytes of each element of a list, read piece by piece. What is no JSON is the last element."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    text, offset, line, is_whole = "", 0, 1, False
    at = -1  # before the list
    while True:
        found = _element(text, at) if at >= 0 else None
        if found is None and not is_whole:
            data = file.read(READ_BYTES)
            is_whole = not data
            text += decoder.decode(data, final=is_whole)
            at = text.find("[") + 1 if at < 0 else at
            continue
        begin, end = found or (_begin_of(text, at), len(text))
        skipped = text[:begin]
        offset, line = offset + len(skipped.encode("utf-8", "surrogateescape")), line + skipped.count("\n")
        element = text[begin:end].encode("utf-8", "surrogateescape")
        if found is None and element.strip() in (b"]", b""):
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


def numbered_lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Number, offset and bytes of each line that is not blank, without its end and a mark of its byte order."""
    offset, number = 0, 0
    while lines := file.readlines(READ_BYTES):
        for line in lines:
            number += 1
            begin = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
            if (data := line[begin:].rstrip(b"\r\n")) and not data.isspace():
                yield number, offset + begin, data
            offset += len(line)


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
            for column in _columns(index):
                column.tofile(file)
        partial.replace(kept)
    except OSError:
        partial.unlink(missing_ok=True)


def _columns(index: Index) -> tuple[array[Any], ...]:
    return index.offsets, index.lengths, index.instants_s, index.sessions


def _read_kept(kept: Path, facts: list[object], path: Path, asks: str) -> Index | None:
    """The index as it was kept; `None` when there is none of this very file."""
    try:
        with open(kept, "rb") as file:
            header = json.loads(file.readline())
            if header["facts"] != facts:
                return None
            index = Index(path, asks, header["first_asks"], header["skipped"])
            index.session_count, index.form = header["session_count"], Form(header["form"])
            for column in _columns(index):
                column.fromfile(file, header["count"])
    except (OSError, ValueError, KeyError, EOFError):
        return None
    return index


class Sessions:
    """The sessions of an index, from 0 in the order in which they begin: 16 bytes a request at most."""

    def __init__(self, index: Index) -> None:
        self._index = index
        counts = array("Q", bytes(8 * (index.session_count + 1)))
        for session in index.sessions:
            counts[session + 1] += 1
        for position in range(1, len(counts)):
            counts[position] += counts[position - 1]
        self._begins = counts
        self._places = array("Q", bytes(8 * len(index)))
        free = array("Q", counts)
        for place, session in enumerate(index.sessions):
            self._places[free[session]] = place
            free[session] += 1

    def __len__(self) -> int:
        return len(self._begins) - 1

    def places(self, session: int) -> Sequence[int]:
        """Where in the file its requests stand, in their order."""
        return self._places[self._begins[session] : self._begins[session + 1]]

    def instant_s(self, session: int) -> float:
        """When its first request was sent, as the file has it."""
        return self._index.instants_s[self._places[self._begins[session]]]

    def within(self, window: tuple[float, float] | None) -> tuple[int, int]:
        """The sessions [from, to) that begin in a window, s from the first request; all without one."""
        if window is None:
            return 0, len(self)
        begin, end = (
            bisect_left(range(len(self)), self._index.instants_s[0] + at_s, key=self.instant_s) for at_s in window
        )
        return begin, end
