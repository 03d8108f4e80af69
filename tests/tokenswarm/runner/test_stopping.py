from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_users_are_told_in_turn_and_end_what_they_do() -> None:
    command = [sys.executable, "-m", "tests.tokenswarm.runner.telling_users"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(done.stdout)
    assert found == {"left": 60, "told in a turn": 20, "done": 60, "ended": 1}  # the one that only waited is waited for
