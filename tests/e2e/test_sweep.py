"""A real sweep, interrupted in its second level and run again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.locust_process import environment
from tests.simulator_process import API_KEY, ROOT, fixed_times, running_simulator
from tests.waiting import wait_until
from tokenswarm.exit_codes import ExitCode


def levels(into: Path) -> list[dict[str, Any]]:
    return list(json.loads((into / "sweep.json").read_text())["levels"])


def test_an_interrupted_sweep_goes_on_with_the_level_that_was_cut(tmp_path: Path) -> None:
    """A level ends with its requests; of a deployment that is slow at first, only when it is interrupted."""
    into = tmp_path / "sweep"
    with running_simulator(fixed_times(20, 2, "quick") + fixed_times(100_000, 2, "slow")) as simulator:
        command = [
            sys.executable, "-m", "tokenswarm", "sweep", "smoke", "--into", str(into), "--sweep",
            "deployment=quick,slow", "--host", f"{simulator.chat_url}/openai/v1", "--max-total-requests", "3",
            "--run-time", "90s", "--warm-up", "0", "--stop-timeout", "1", "--max-tokens", "5",
        ]  # fmt: skip
        variables = environment(OPENAI_API_KEY=API_KEY)
        with subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.DEVNULL) as process:
            wait_until(lambda: list(into.glob("deployment-slow/*/requests.csv")), "the second level")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == ExitCode.INTERRUPTED
        simulator.admin("PATCH", "/admin/config", {"deployments": {"slow": {"ttft_base_ms": 20}}})
        first, second = levels(into)
        assert (first["state"], second["state"]) == ("finished", "unfinished")
        again = subprocess.run(
            command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120, check=False
        )
    assert again.returncode == max(level["exit_code"] for level in levels(into)), again.stderr
    assert levels(into)[0] == first
    assert levels(into)[1]["state"] == "finished" and levels(into)[1]["directory"] != second["directory"]
    assert "deployment=quick: finished before, kept" in again.stdout and (into / "sweep.html").is_file()
