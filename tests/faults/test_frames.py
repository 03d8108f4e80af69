"""Runs the tests of `frames` in a process of their own: whoever imports Locust's runners patches the whole process."""

from __future__ import annotations

import subprocess
import sys

from tests.simulator_process import ROOT


def test_frames_that_are_no_messages() -> None:
    flags = ["-q", "-p", "no:cacheprovider", "-p", "no:anyio", "-p", "no:xdist", "-W", "ignore::UserWarning"]
    command = [sys.executable, "-m", "pytest", *flags, "tests/faults/frames.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "Traceback" not in done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout
