"""Questions and conversations from a file, read strictly: all that is wrong with it is said at once, with its line.

CSV: one question a line, or a header with `question` (also `prompt`, `query`, `text`, `input` and their plurals) and
optionally `id`, `system`, `max_tokens`, `expect`, separated by commas, or by `;`, tab or `|` where a header or a first
line `sep=;` shows it. JSONL: one object a line with `question`, with `turns` (the user's texts) or with `messages`
(OpenAI's role and content), and optionally `id`, `system`, `max_tokens`, `expect`. UTF-8, with or without a byte order
mark.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenswarm.userinput import BadInput, decode_text, read_file
from tokenswarm.workload.dataset_values import (
    RECORDED,
    kind,
    read_expectation,
    read_id,
    read_max_tokens,
    read_messages,
    read_text,
    read_turns,
    system_of,
)
from tokenswarm.workload.questions import Question

COLUMNS = ("id", "question", "system", "max_tokens", "expect")
KEYS = (*COLUMNS, "turns", "messages")
MAX_FILE_BYTES = 1_000_000_000

_SUFFIXES = {".csv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_SHOWN_PROBLEMS = 20
_OTHER_DELIMITERS = (";", "\t", "|")
_SEPARATOR_LINE = re.compile(r"\ufeff?\"?sep=([,;|\t]|\\t)\"?", re.IGNORECASE)
_QUESTION_NAMES = frozenset({"question", "questions", "prompt", "prompts", "query", "queries", "text", "input"})
"""What the column with the questions is called in the field; alone in the first line, it is a header too."""


def load_dataset(path: str | Path) -> list[Question]:
    """All questions of a CSV (`.csv`, `.txt`) or JSONL (`.jsonl`, `.ndjson`) file, at least one.

    Raises `BadInput` with every problem as "path:line: what: expected ..., got ...".
    """
    path = Path(path)
    form = _SUFFIXES.get(path.suffix.lower())
    if form is None:
        expected = ", ".join(_SUFFIXES)
        raise BadInput([f"dataset {path}: expected a file named {expected}, got {path.suffix or 'no ending'}"])
    data = read_file(path, "dataset", MAX_FILE_BYTES)
    return parse_dataset(data, form, str(path))


def parse_dataset(data: bytes, form: str, name: str = "dataset") -> list[Question]:
    """The questions in the bytes of a file; `form` is "csv" or "jsonl", `name` is for messages. See `load_dataset`."""
    text = decode_text(data, name)
    problems = _Problems(name)
    entries = _csv_entries(text, problems) if form == "csv" else _jsonl_entries(text, problems)
    questions = [question for line, entry in entries if (question := _read_entry(line, entry, problems)) is not None]
    questions = _with_ids(questions, problems)
    if not questions and not problems.lines:
        problems.lines.append(f"{name}: expected at least one question, got an empty file")
    problems.raise_any()
    return questions


class _Problems:
    """Collects problems of one file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []

    def add(self, line: int, what: str) -> None:
        self.lines.append(f"{self.name}:{line}: {what}")

    def raise_any(self) -> None:
        if not self.lines:
            return
        more = len(self.lines) - _SHOWN_PROBLEMS
        raise BadInput(self.lines if more <= 1 else [*self.lines[:_SHOWN_PROBLEMS], f"{self.name}: and {more} more"])


def _csv_entries(text: str, problems: _Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    delimiter, text, skipped = _delimiter_of(text.rstrip("\r\n \t"))
    records = _csv_records(text, problems, delimiter, skipped)
    first = next(records, None)
    if first is None:
        return
    line, cells = first
    header = _column_names(cells)
    if "question" not in header and not (len(header) > 1 and set(header) <= set(COLUMNS)):
        if (columns := _unnamed_columns(text)) is not None and not skipped:
            problems.add(line, columns)
            return
        hint = "; a question with a comma needs quotes"
        if delimiter != ",":
            hint = f" by {delimiter!r}: name the columns in a first line, question among them"
        for line, cells in (first, *records):
            if _has_width(line, cells, 1, problems, hint):
                yield line, {"question": cells[0]}
        return
    if _is_good_header(line, header, problems):
        for line, cells in records:
            if _has_width(line, cells, len(header), problems):
                yield line, {column: cell for column, cell in zip(header, cells, strict=True) if _given(column, cell)}


def _delimiter_of(text: str) -> tuple[str, str, int]:
    """What separates the columns, the text to read, and how many lines of the file stand before it.

    A first line `sep=;`, as Excel writes it, says it. Else a header with a question and more columns does.
    """
    line, end, rest = text.partition("\n")
    said = _SEPARATOR_LINE.fullmatch(line.strip())
    if said is not None and end:
        return said[1].replace("\\t", "\t"), rest, 1
    for delimiter in _OTHER_DELIMITERS:
        names = _column_names(cell.strip().strip('"') for cell in line.split(delimiter))
        if len(names) > 1 and "question" in names:
            return delimiter, text, 0
    return ",", text, 0


def _unnamed_columns(text: str) -> str | None:
    """What is wrong with a file without a header whose every line looks like as many columns, of which nobody knows
    which one is the question; `None` where it does not."""
    lines = [line for line in text.splitlines() if line.strip()]
    for delimiter in (*_OTHER_DELIMITERS, *(() if '"' in text else ",")):
        widths = {line.count(delimiter) + 1 for line in lines}
        if len(lines) > 1 and len(widths) == 1 and widths != {1}:
            one = "quote each" if delimiter == "," else "write question there"
            return (
                f"expected a header, got lines that look like {widths.pop()} columns separated by {delimiter!r}: name "
                f"them in a first line (id{delimiter}question), or {one} if each line is one question"
            )
    return None


def _column_names(cells: Iterable[str]) -> list[str]:
    """The names in a header, those that people give to questions as `question`."""
    names = [cell.strip().lower() for cell in cells]
    return ["question" if name in _QUESTION_NAMES else name for name in names]


def _csv_records(text: str, problems: _Problems, delimiter: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """Line of its beginning and cells of each record; what is not CSV becomes a problem."""
    # The module's own limit of 131,072 characters a field is below a 100,000-token question.
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = skipped + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(line, f"quotes: {_csv_reason(str(error))}")
            continue
        yield line, cells or [""]


def _csv_reason(message: str) -> str:
    if "end of data" in message:
        return "expected a closing quote, got the end of the file"
    if "expected after" in message:
        return "expected a comma or the line's end after a closing quote, got other text (double a quote to mean it)"
    return f"expected CSV, got: {message}"


def _has_width(line: int, cells: list[str], width: int, problems: _Problems, hint: str = "") -> bool:
    if len(cells) == width:
        return True
    if cells == [""]:
        problems.add(line, "question: expected text, got a blank line")
    else:
        columns = "column" if width == 1 else "columns"
        problems.add(line, f"expected {width} {columns}, got {len(cells)}{hint if len(cells) > width else ''}")
    return False


def _is_good_header(line: int, header: list[str], problems: _Problems) -> bool:
    before = len(problems.lines)
    if "question" not in header:
        problems.add(line, f"header: expected a column question, got {', '.join(header)}")
    for column in dict.fromkeys(header):
        if column not in COLUMNS:
            problems.add(line, f"header: expected columns among {', '.join(COLUMNS)}, got {column!r}")
        if header.count(column) > 1:
            problems.add(line, f"header: expected each column once, got {column!r} {header.count(column)} times")
    return len(problems.lines) == before


def _given(column: str, cell: str) -> bool:
    """Whether a cell says anything: an empty optional one is absent, an empty question is a mistake."""
    return column == "question" or cell.strip() != ""


def _jsonl_entries(text: str, problems: _Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    # Not splitlines(): JSON strings may hold U+2028 and its like as they are.
    for line, row in enumerate(text.rstrip("\r\n \t").split("\n"), start=1):
        if not row.strip():
            if text.strip():
                problems.add(line, "expected a JSON object, got a blank line")
            continue
        try:
            entry = json.loads(row, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            problems.add(line, f"expected a JSON object, got: {error.msg} at column {error.colno}")
        except (ValueError, RecursionError) as error:
            reason = "deep nesting" if isinstance(error, RecursionError) else str(error)
            problems.add(line, f"expected a JSON object, got: {reason}")
        else:
            if _is_good_object(line, entry, problems):
                yield line, entry


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise ValueError(f"key {key!r:.40} twice")
        unique[key] = value
    return unique


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _is_good_object(line: int, entry: Any, problems: _Problems) -> bool:
    if not isinstance(entry, dict):
        problems.add(line, f"expected a JSON object, got {kind(entry)}")
        return False
    before = len(problems.lines)
    if (other := _other_form(entry)) is not None:
        problems.add(line, f"expected a question, turns or messages, got {other}: {RECORDED}")
        return False
    for key in entry:
        if key not in KEYS:
            problems.add(line, f"expected keys among {', '.join(KEYS)}, got {key!r:.40}")
    given = [key for key in ("question", "turns", "messages") if key in entry]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        problems.add(line, f"expected one of question, turns and messages, got {got}")
    return len(problems.lines) == before


def _other_form(entry: dict[str, Any]) -> str | None:
    """The format that an entry is in by its look, where it is another tool's."""
    if "body" in entry or "custom_id" in entry:
        return "a line of OpenAI's Batch API (custom_id, body)"
    return "a conversation in ShareGPT's form (conversations)" if "conversations" in entry else None


def _read_entry(line: int, entry: dict[str, Any], problems: _Problems) -> Question | None:
    """The question that an entry means; `None`, with its problems noted, when it means none. Its id may be empty."""
    before = len(problems.lines)

    def add(what: str) -> None:
        problems.add(line, what)

    messages = read_messages(entry["messages"], add) if "messages" in entry else None
    system = read_text(entry["system"], "system", add) if entry.get("system") is not None else None
    if messages is not None:
        turns = [message.content for message in messages if message.role == "user"]
        system = system_of(messages, system, add)
    elif "turns" in entry:
        turns = read_turns(entry["turns"], add)
    else:
        turns = [read_text(entry.get("question", ""), "question", add)]
    identity = read_id(entry.get("id"), add)
    max_tokens = read_max_tokens(entry.get("max_tokens"), add)
    expect = read_expectation(entry.get("expect"), add)
    if len(problems.lines) > before:
        return None
    recorded = tuple(messages) if messages else None
    return Question(identity, turns[0], line, tuple(turns), system, max_tokens, recorded, expect)


def _with_ids(questions: list[Question], problems: _Problems) -> list[Question]:
    """The questions, those without an id numbered by their place in the file."""
    lines: dict[str, int] = {}
    numbered = []
    for number, question in enumerate(questions, start=1):
        identity = question.id or str(number)
        if identity in lines:
            problems.add(question.line, f"id: expected each once, got {identity!r:.60} as on line {lines[identity]}")
        lines.setdefault(identity, question.line)
        numbered.append(replace(question, id=identity))
    return numbered
