"""Recorded traffic, read for replay: when each request came and how long its prompt and its answer were.

Formats, told apart by the first line:

    Azure LLM inference traces 2023 and 2024   TIMESTAMP,ContextTokens,GeneratedTokens (up to 7 fraction digits)
    BurstGPT                                   Timestamp,Model,Request tokens,Response tokens,... (seconds)
    Mooncake                                   JSON lines: timestamp (ms), input_length, output_length, hash_ids
    Bailian                                    the same with chat_id, and timestamp in seconds
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tokenswarm.userinput import BadInput, open_file, parse_json, read_duration, read_number
from tokenswarm.workload.distributions import MAX_TOKENS
from tokenswarm.workload.prompts import BLOCK_TOKENS

MAX_PROBLEMS = 50
"""Problems of a file that are spelled out; the rest is counted."""

_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_BURST_GPT = ("Timestamp", "Request tokens", "Response tokens")
_TIMESTAMP = re.compile(
    r"(?P<minute>\d{4}-\d\d-\d\d[ T]\d\d:\d\d):(?P<second>[0-5]\d)(?P<fraction>\.\d{1,9})?(?P<zone>Z|[+-]\d\d:\d\d)?",
    re.ASCII,
)
_UNIX_S_AS_MS = range(1_000_000, 100_000_000)
"""Seconds that instants from the year 2001 on come to when they are taken for ms; a trace begins before those."""
_EXPECTED = f"expected {','.join(_AZURE)}, BurstGPT's {','.join(_BURST_GPT)} or the JSON lines of Mooncake or Bailian"


class TraceRow(NamedTuple):
    """One recorded request. `offset_s`: from the trace's first request. A recorded length of 0 is replayed as 1, the
    least that can be asked for. `hash_ids` name prompt blocks of `block_tokens`; equal ids are equal text."""

    offset_s: float
    context_tokens: int
    max_tokens: int
    hash_ids: tuple[int, ...] | None = None
    block_tokens: int = BLOCK_TOKENS


_BLOCK_SIZES = (BLOCK_TOKENS, 16, 32, 64, 128, 256, 1024)
MAX_FILE_BYTES = 4_000_000_000


class _Instant(NamedTuple):
    """Whole seconds apart from the fraction: seven digits of it would not survive in a float beside an epoch."""

    second: int
    fraction: float


_Parsed = tuple[_Instant, int, int, tuple[int, ...] | None]
_Lines = Iterator[tuple[int, str]]


def read_trace(path: str | Path) -> list[TraceRow]:
    """All rows in the order of their time. Raises `BadInput` with every problem, each with file and line."""
    problems: list[str] = []
    try:
        with open_file(path, "trace", MAX_FILE_BYTES) as file:
            parsed = list(_parse(_decode(file, path, problems), path, problems))
    except OSError as error:
        raise BadInput([f"trace: expected a readable file, got {str(path)!r} ({error.strerror})"]) from error
    if not parsed and not problems:
        problems.append(f"{path}: {_EXPECTED} with at least one row, got none")
    if problems:
        more = [f"{path}: {len(problems) - MAX_PROBLEMS} more problems"] if len(problems) > MAX_PROBLEMS else []
        raise BadInput(problems[:MAX_PROBLEMS] + more)
    parsed.sort(key=lambda row: row[0])
    first = parsed[0][0]
    block_tokens = _block_tokens(parsed)
    return [TraceRow(_seconds_between(first, row[0]), *row[1:], block_tokens) for row in parsed]


def _block_tokens(parsed: Sequence[_Parsed]) -> int:
    """No file says how long its blocks are (Mooncake's have 512 tokens, Bailian's 16): each prompt has as many as it
    takes."""
    blocks = [(context_tokens, len(ids)) for _, context_tokens, _, ids in parsed if ids]
    fit = (size for size in _BLOCK_SIZES if all(-(-tokens // size) == count for tokens, count in blocks))
    return next(fit, BLOCK_TOKENS)


def parse_trace_window(text: str, where: str = "trace-window") -> tuple[float, float]:
    """Seconds [from, to) of "10m..20m", counted from the trace's first request. Raises `BadInput`."""
    begin_text, dots, end_text = text.partition("..")
    begin_s, end_s = read_duration(begin_text), read_duration(end_text)
    if not dots or begin_s is None or end_s is None or begin_s >= end_s:
        raise BadInput([f"{where}: expected from..to as 10m..20m, from before to, got {text.strip()!r}"])
    return begin_s, end_s


def _seconds_between(first: _Instant, instant: _Instant) -> float:
    return (instant.second - first.second) + (instant.fraction - first.fraction)


def _decode(file: BinaryIO, path: str | Path, problems: list[str]) -> _Lines:
    """Lines that are not blank, with their numbers."""
    for number, raw in enumerate(file, start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            problems.append(f"{path}:{number}: expected UTF-8, got {error.object[error.start : error.end]!r}")
            continue
        if line:
            yield number, line


def _parse(lines: _Lines, path: str | Path, problems: list[str]) -> Iterator[_Parsed]:
    number, first = next(lines, (0, ""))
    if first.startswith("{"):
        rows = _collect(chain([(number, first)], lines), _parse_mooncake, path, problems)
        for place, row in enumerate(rows):
            if place == 0 and row[0].second in _UNIX_S_AS_MS:
                problems.append(f"{path}:{number}: expected timestamp in ms, got what looks like Unix seconds")
            yield row
        return
    header = _cells(first)
    for names, read_instant in ((_AZURE, _read_timestamp), (_BURST_GPT, _read_seconds)):
        if all(name in header for name in names):
            yield from _collect(lines, _table_parser(header, names, read_instant), path, problems)
            return
    if number:
        problems.append(f"{path}:{number}: {_EXPECTED}, got {first[:100]!r}")


def _collect(
    lines: _Lines, parse: Callable[[str], _Parsed], path: str | Path, problems: list[str]
) -> Iterator[_Parsed]:
    for number, line in lines:
        try:
            yield parse(line)
        except _BadRow as error:
            problems.append(f"{path}:{number}: {error}")


class _BadRow(Exception):
    """One line that is not understood."""


def _cells(line: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(",")]


def _table_parser(
    header: list[str], names: tuple[str, ...], read_instant: Callable[[str], _Instant | None]
) -> Callable[[str], _Parsed]:
    when, context, answer = (header.index(name) for name in names)

    def parse(line: str) -> _Parsed:
        cells = _cells(line)
        if len(cells) != len(header):
            raise _BadRow(f"expected {len(header)} cells, got {len(cells)}")
        instant = read_instant(cells[when])
        if instant is None:
            raise _BadRow(f"expected a time in {names[0]}, got {cells[when][:50]!r}")
        context_tokens = _tokens(read_number(cells[context]), names[1], cells[context])
        return instant, context_tokens, _tokens(read_number(cells[answer]), names[2], cells[answer]), None

    return parse


def _parse_mooncake(line: str) -> _Parsed:
    try:
        row = parse_json(line)
    except (ValueError, RecursionError) as error:
        raise _BadRow(f"expected a JSON object, got {line[:50]!r}") from error
    if not isinstance(row, dict):
        raise _BadRow(f"expected a JSON object, got {line[:50]!r}")
    timestamp = row.get("timestamp")
    if not isinstance(timestamp, int | float) or isinstance(timestamp, bool) or not 0 <= timestamp < 1e15:
        raise _BadRow(f"expected timestamp in ms, got {'none' if timestamp is None else repr(timestamp)[:50]}")
    second, rest_ms = divmod(timestamp * 1000 if "chat_id" in row else timestamp, 1000)
    context_tokens = _tokens(row.get("input_length"), "input_length", row.get("input_length"))
    max_tokens = _tokens(row.get("output_length"), "output_length", row.get("output_length"))
    return _Instant(int(second), rest_ms / 1000), context_tokens, max_tokens, _hash_ids(row.get("hash_ids"))


def _hash_ids(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or any(isinstance(item, bool) or not isinstance(item, int) for item in value):
        raise _BadRow(f"expected hash_ids as a list of whole numbers, got {value!r:.50}")
    return tuple(value)


def _tokens(value: object, column: str, given: object) -> int:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MAX_TOKENS or value % 1:
        raise _BadRow(f"expected {column} from 0 to {MAX_TOKENS} tokens, got {given!r:.50}")
    return max(1, int(value))


def _read_seconds(text: str) -> _Instant | None:
    number = read_number(text)
    if number is None or not 0 <= number < 1e12:
        return None
    return _Instant(int(number), number % 1)


def _read_timestamp(text: str) -> _Instant | None:
    match = _TIMESTAMP.fullmatch(text)
    if not match:
        return None
    try:
        minute = datetime.fromisoformat(match["minute"] + (match["zone"] or "+00:00")).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return _Instant(int(minute.timestamp()) + int(match["second"]), float(match["fraction"] or 0))
