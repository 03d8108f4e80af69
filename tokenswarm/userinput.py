"""What a person gives us: numbers, durations and text files, and their mistakes, all of them at once."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, cast

MAX_DURATION_S = 366 * 86400.0
"""Longest duration that is taken seriously; anything above it is a slip of the keyboard."""

MAX_DEPTH = 100
"""Of objects and lists within each other, in JSON that somebody gives us."""
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|h|m|s)\s*", re.ASCII)
_SECONDS_PER = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def read_number(text: str) -> float | None:
    """The finite number that `text` is, blanks around it allowed; `None` for everything else (nan, inf, 1_000)."""
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        return None
    number = float(stripped)
    return number if math.isfinite(number) else None


def read_duration(text: str) -> float | None:
    """Seconds of "90s", "2m", "1h30m", "1.5s", "250ms" or "360" (seconds); `None` when it is none of these."""
    stripped = text.strip().lower()
    number = read_number(stripped)
    if number is not None:
        return number if 0 <= number <= MAX_DURATION_S else None
    parts = list(_DURATION_PART.finditer(stripped))
    units = [part[2] for part in parts]
    if not parts or "".join(part[0] for part in parts) != stripped or units != _in_order(units):
        return None
    seconds = sum(float(part[1]) * _SECONDS_PER[part[2]] for part in parts)
    return seconds if seconds <= MAX_DURATION_S else None


def parse_duration(text: str, where: str = "duration") -> float:
    """Seconds of a duration (see `read_duration`). Raises `BadInput`, which names `where`."""
    seconds = read_duration(text)
    if seconds is None:
        raise BadInput([f"{where}: expected a duration as 90s, 2m, 1h30m or 360 (seconds), got {text.strip()!r}"])
    return seconds


def format_number(value: float) -> str:
    """Shortest plain form: 1000 rather than 1000.0."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)


def counted(number: int, noun: str, several: str = "") -> str:
    """1 user, 2 users; `several`: what stands for more than one where that is more than an s, as "rows were lost"."""
    return f"{number} {noun}" if number == 1 else f"{number} {several or noun + 's'}"


def _in_order(units: list[str]) -> list[str]:
    """Each unit at most once and from large to small, as people write durations."""
    return [unit for unit in _SECONDS_PER if unit in units]


MAX_PROBLEM = 2_000


class BadInput(ValueError):
    """Input that cannot be used: an option, a scenario, a file, the environment.

    `problems` has one line for each: what it is, what was expected, what was found and where; of at most
    `MAX_PROBLEM` characters, whatever was found.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = [each if len(each) <= MAX_PROBLEM else f"{each[:MAX_PROBLEM]}..." for each in problems]
        super().__init__("\n".join(self.problems))


def file_problem(error: OSError) -> str:
    """One line about a file or folder that could not be read or written."""
    name = "file" if error.filename is None else str(error.filename)
    return f"{name:.300}: expected to be able to read and write it, got {error.strerror or error}"


def read_file(path: str | Path, what: str, max_bytes: int) -> bytes:
    """The bytes of a file of at most `max_bytes`; `what` names its kind. Raises `BadInput` when it cannot be had."""
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        folder = "" if os.path.isabs(path) else f" (in {os.getcwd()})"
        raise BadInput([f"{what} {path}: expected a readable file, got: {reason}{folder}"]) from error
    if len(data) > max_bytes:
        raise BadInput([f"{what} {path}: expected at most {max_bytes} bytes, got more"])
    return data


def open_file(path: str | Path, what: str, max_bytes: int, unpack: bool = False) -> BinaryIO:
    """A file of at most `max_bytes` to read line by line; with `unpack` also one that gzip has packed. Raises
    `BadInput` for all else: a device has no end."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - the caller's to close
        facts = os.fstat(file.fileno())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInput([f"{what}: expected a readable file, got {str(path)!r:.300} ({reason})"]) from error
    is_packed = stat.S_ISREG(facts.st_mode) and file.peek(2).startswith(b"\x1f\x8b")
    if stat.S_ISREG(facts.st_mode) and facts.st_size <= max_bytes and not is_packed:
        return file
    file.close()
    if is_packed and unpack and facts.st_size <= max_bytes:
        return cast(BinaryIO, gzip.open(path))
    if is_packed:
        raise BadInput([f"{what}: expected text, got a file that gzip has packed: unpack it with gunzip {path}"])
    found = f"{facts.st_size} bytes" if stat.S_ISREG(facts.st_mode) else "something else"
    raise BadInput([f"{what} {path}: expected a file of at most {max_bytes} bytes, got {found}"])


def parse_json(text: str | bytes) -> Any:
    """A JSON value. Raises `ValueError`, also for one that is nested deeper than `MAX_DEPTH`."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for each in level for child in _children(each)]
        if not level:
            return value
    raise ValueError(TOO_DEEP)


def _children(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def is_encodable(text: str, errors: str = "strict") -> bool:
    """Whether UTF-8 has bytes for a text, which half of a surrogate pair has none of. With `errors` surrogateescape
    also the name of a file that a command line gave in bytes that are no UTF-8."""
    try:
        text.encode("utf-8", errors)
    except UnicodeEncodeError:
        return False
    return True


def decode_text(data: bytes, name: str) -> str:
    """UTF-8 text of a file without its byte order mark. Raises `BadInput` as "name:line: ..." for anything else."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput([f'{name}: expected UTF-8, got UTF-16 (save it as UTF-8; in Excel "CSV UTF-8")'])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # From error.object: the decoder counts from after the byte order mark.
        line = _line(error.object, error.start)
        raise BadInput([f"{name}:{line}: expected UTF-8, got other bytes{_guess(error.object)}"]) from error
    if "\0" in text:
        raise BadInput([f"{name}:{_line(data, data.index(0))}: expected text, got a NUL character"])
    return text


def _guess(data: bytes) -> str:
    """What bytes that are no UTF-8 may be, and what to do then; empty where they look like nothing."""
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return ""
    return "; by its look it is Windows-1252 (Excel's plain CSV): save it as UTF-8, or iconv -f WINDOWS-1252 -t UTF-8"


def _line(data: bytes, offset: int) -> int:
    before = data[:offset].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return before.count(b"\n") + 1
