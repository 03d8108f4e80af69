"""A plan whose request has nothing in its body but a variable: each row of its file is a whole body. No I/O."""

from __future__ import annotations

import csv
import json
import re

from tokenswarm.jmx.plan import DataFile
from tokenswarm.userinput import BadInput

MAX_NAMED = 10
"""Rows that a message names at most."""


def bodies_of(text: str, data_file: DataFile, variable: str) -> list[str]:
    """The bodies that a variable has in the rows of the plan's file, each in one line. Raises `BadInput` with the rows
    that are no body of a chat completion, for JMeter would send those, too."""
    rows, first = _rows(text, data_file), int(data_file.skips_first_line)
    names = list(data_file.variables) or (rows[0] if rows else [])
    at = names.index(variable) if variable in names else 0
    bodies, problems = [], []
    for number, row in enumerate(rows[first:], first + 1):
        cell = row[at] if at < len(row) else ""
        if (problem := _problem(cell)) is not None:
            problems.append(f"{data_file.filename} row {number}: expected a JSON object with messages, got {problem}")
        bodies.append(cell.strip() if "\n" not in cell.strip() else re.sub(r"\s*\n\s*", " ", cell.strip()))
    if not bodies:
        problems.append(f"{data_file.filename}: expected rows with bodies, got none")
    if problems:
        raise BadInput(problems[:MAX_NAMED])
    return bodies


def _rows(text: str, data_file: DataFile) -> list[list[str]]:
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)
    try:
        return [
            row
            for row in csv.reader(
                lines, delimiter=data_file.delimiter, quoting=csv.QUOTE_MINIMAL if data_file.quoted else csv.QUOTE_NONE
            )
            if any(row)
        ]
    except (csv.Error, TypeError) as error:
        raise BadInput(
            [f"{data_file.filename}: expected rows separated by {data_file.delimiter!r}, got: {error}"]
        ) from error


def _problem(cell: str) -> str | None:
    """Why a cell is no body, without what it says; `None` where it is one."""
    try:
        body = json.loads(cell)
    except (ValueError, RecursionError) as error:
        return f"text that is none ({str(error)[:80]})"
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        return f"JSON without messages ({type(body).__name__})"
    return None
