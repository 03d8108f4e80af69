"""Which run is meant when none is named: the newest one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenswarm.userinput import BadInput


def runs_by_age(results: Path) -> list[Path]:
    """The run directories below `results`, the newest first."""
    found = results.glob("*/*/run.json")
    return [path.parent for path in sorted(found, key=lambda path: (path.parent.name, str(path)), reverse=True)]


def newest(results: Path, number: int) -> list[str]:
    """The last `number` runs of the test that ran last, oldest first. Raises `BadInput` when there are fewer."""
    runs = runs_by_age(results)
    of_one_test = [run for run in runs if run.parent == runs[0].parent][:number]
    if len(of_one_test) < number:
        what = "a run" if number == 1 else f"{number} runs of one test"
        where = f"{results.resolve()}, got {len(of_one_test) or 'none'}"
        raise BadInput([f"RUN: expected {what} in {where} (run a scenario, or name the runs)"])
    return [str(run) for run in reversed(of_one_test)]


def with_newest(arguments: Sequence[str], results: Path, number: int, takes_value: Sequence[str]) -> list[str]:
    """The arguments, with the newest run before them when they name none. `takes_value`: options followed by a text."""
    names_one, skip = False, False
    for argument in arguments:
        is_option = argument.startswith("-")
        names_one = names_one or not (is_option or skip)
        skip = is_option and argument in takes_value
    wants_help = bool({"-h", "--help"} & set(arguments))
    return list(arguments) if names_one or wants_help else [*newest(results, number), *arguments]
