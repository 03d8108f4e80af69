"""Which runs are meant when none is named: the newest below `results`."""

from __future__ import annotations

from pathlib import Path

from tokenswarm.userinput import BadInput

RESULTS = Path("results")


def newest(number: int = 1, results: Path = RESULTS) -> list[Path]:
    """The last `number` runs of the test that ran last, oldest first. Raises `BadInput` when there are fewer."""
    found = [path.parent for path in results.glob("*/*/run.json")]
    runs = sorted(found, key=lambda run: (run.name, str(run)), reverse=True)
    of_one_test = [run for run in runs if run.parent == runs[0].parent][:number]
    if len(of_one_test) < number:
        what = "a run" if number == 1 else f"{number} runs of one test"
        where = f"{results.resolve()}, got {len(of_one_test) or 'none'}"
        raise BadInput([f"RUN: expected {what} in {where} (run a scenario, or name the runs)"])
    return of_one_test[::-1]
