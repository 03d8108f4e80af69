from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def found_by(script: str) -> Any:
    command = [sys.executable, "-m", f"tests.tokenswarm.runner.{script}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_users_are_told_in_turn_and_end_what_they_do() -> None:
    found = found_by("telling_users")
    assert found == {"left": 60, "told in a turn": 20, "done": 60, "ended": 1}  # the one that only waited is waited for


def test_a_closed_load_ends_when_its_users_are_told() -> None:
    """Not at the end of its run time where the process wakes later: a request of meanwhile would be outside the run."""
    late_s, of_one_that_was_over = found_by("late_end")
    assert late_s >= 0.05
    assert of_one_that_was_over is None
