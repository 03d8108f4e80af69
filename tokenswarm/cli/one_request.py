"""One small request, sent exactly as a run sends it: a run of one request by one user, into a temporary folder."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenswarm.installation import parts, python_path
from tokenswarm.record import Outcome, RequestRecord

PATIENCE_S = 90.0
"""How long the one request may take, the start of Locust included."""

LOCUSTFILES = {"chat": "chat_completions.py", "rag": "rag_orchestrator.py"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the request. `problems` is empty exactly when it was answered."""

    record: RequestRecord | None
    problems: Sequence[str]


def send_one(target: str, variables: Mapping[str, str], env_files: Sequence[Path]) -> Answer:
    """Send it to the `target` (chat or rag) that the environment, `variables` over it, and `env_files` name."""
    with tempfile.TemporaryDirectory(prefix="tokenswarm-") as name:
        folder = Path(name)
        command = _command(target, env_files, folder)
        environment = {**os.environ, **variables, "PYTHONPATH": python_path()}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
            )
        except subprocess.TimeoutExpired:
            return Answer(None, [f"request: expected an answer within {PATIENCE_S:.0f} s, got none"])
        return _answer(folder, done.stdout + done.stderr)


def _command(target: str, env_files: Sequence[Path], folder: Path) -> list[str]:
    locustfile = parts() / "locustfiles" / LOCUSTFILES[target]
    command = [sys.executable, "-m", "locust", "-f", str(locustfile), "--headless", "-u", "1", "-r", "1", "-t", "80s"]
    command += ["--max-total-requests", "1", "--results-dir", str(folder), "--test-name", "one-request"]
    command += [
        "--context-tokens",
        "20",
        "--max-tokens",
        "16",
        "--stop-timeout",
        "60",
        "--loglevel",
        "WARNING",
        "--report",
        "no",
    ]
    if target == "rag":
        command += ["--dataset", str(parts() / "scenarios" / "dataset.csv")]
    return command + [f"--env-file={path}" for path in env_files]


def _answer(folder: Path, output: str) -> Answer:
    paths = list(folder.glob("one-request/*/requests.csv"))
    if paths:
        with paths[0].open(newline="", encoding="utf-8") as file:
            records = [RequestRecord.from_row(row) for row in csv.DictReader(file)]
        answered = [record for record in records if record.outcome is Outcome.OK]
        if answered:
            return Answer(answered[0], [])
        if records:
            return Answer(records[0], [_describe(records[0])])
    listed = [line.strip().removeprefix("- ") for line in output.splitlines() if line.startswith("  - ")]
    return Answer(None, listed or [f"request: expected an answer, got none:\n{output.strip()[-500:]}"])


def _describe(record: RequestRecord) -> str:
    status = f"HTTP {record.status}" if record.status is not None else str(record.outcome)
    return f"request: expected an answer, got {status} ({record.error or record.outcome})"
