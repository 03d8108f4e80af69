"""The report of a run that has ended and its comparison with another, made by `python -m analysis` in a process of
its own.

So that pandas and plots are never loaded into Locust's process, and a next run is not slowed: the process is nice.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import gevent
import psutil

from tokenswarm.installation import module_command, parts, python_path

REPORT = "report.html"
COMPARISON = "comparison.html"

PATIENCE_S = 600.0
INTERRUPTED = (-signal.SIGINT, 128 + signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a process that a signal has ended, Ctrl-C for one: the terminal tells it as well."""

logger = logging.getLogger(__name__)


def can_report() -> bool:
    """Whether `analysis` is here; a bundle for Azure Load Testing does without."""
    return (parts() / "analysis").is_dir()


class AnalysisJob:
    """One call of `python -m analysis` that makes the file `product`. `state`: making, ready or failed (then `problem`
    says why)."""

    def __init__(self, product: Path, arguments: Sequence[str]) -> None:
        self.product = product
        self._arguments = arguments
        self.state = "making"
        self.problem = ""

    def start(self) -> None:
        """Make it in the background."""
        gevent.spawn(self.make)

    def make(self) -> None:
        """Make it, and wait for it."""
        command = [*module_command("analysis"), *self._arguments]
        environment = {**os.environ, "PYTHONPATH": python_path()}
        try:
            with subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            ) as process:
                _be_nice(process.pid)
                code, text = _wait(process)
        except OSError as error:
            code, text = -1, str(error)
        if code == 0 and self.product.is_file():
            self.state = "ready"
            logger.info("Made %s", self.product)
        else:
            why = "it was interrupted" if code in INTERRUPTED else text.strip()[-500:]
            self.state, self.problem = "failed", why or f"exit code {code}"
            logger.error("%s could not be made: %s", self.product, self.problem)


def report_run(directory: Path) -> AnalysisJob:
    """The report of a run, in its directory."""
    return AnalysisJob(directory / REPORT, ["report", str(directory.resolve())])


def compare_runs(before: Path, after: Path) -> AnalysisJob:
    """The comparison of two runs, in the directory of the later one. Runs that differ in more than a figure are
    compared, too; the page says in what."""
    product = after / COMPARISON
    sides = [str(before.resolve()), str(after.resolve())]
    return AnalysisJob(product, ["compare", *sides, "--force", "--html", str(product.resolve())])


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    try:
        _, errors = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return -1, f"it took more than {PATIENCE_S:.0f} s"
    return process.returncode, errors.decode("utf-8", "replace")


def _be_nice(pid: int) -> None:
    try:
        psutil.Process(pid).nice(10)
    except psutil.Error:
        return  # it is over already, or the system does not let us
