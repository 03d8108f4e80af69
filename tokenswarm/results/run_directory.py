"""The run directory: its name, run.json, and Locust's own CSVs and page in it."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from tokenswarm.installation import source_version
from tokenswarm.metrics.verdict import CHECKSUM, checksum_of
from tokenswarm.record import SCHEMA_VERSION
from tokenswarm.redaction import SECRETS

MIN_FREE_BYTES = 50_000_000
"""A row takes some 400 bytes, Locust's page a megabyte: with less, a run may end without its files."""

PREFIXES = "prefixes.bin"
"""While a run with workers replays requests: which beginnings they have sent. Checksums, no text."""

LIBRARIES = ("locust", "openai", "httpx2", "gevent", "httptools", "jiter", "pandas")


def name_directory(results: Path, test_name: str, started_at: float) -> Path:
    """A directory that does not exist yet: results/<test-name>/<UTC>, with -2, -3... for starts in one second."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(started_at))
    parent = results / safe_name(test_name)
    path = parent / stamp
    number = 2
    while path.exists():
        path = parent / f"{stamp}-{number}"
        number += 1
    return path


def check_results(results: Path, test_name: str) -> list[str]:
    """What would keep a run from being written, one line each. Makes nothing: the start may yet be refused."""
    wanted = (results / safe_name(test_name)).absolute()
    try:
        parent = next(path for path in (wanted, *wanted.parents) if path.exists())
        if not parent.is_dir():
            return [f"results-dir: expected a directory that can be written, got {parent}, which is a file"]
        with tempfile.TemporaryFile(dir=parent) as file:
            file.write(b"x" * 4096)
            file.flush()
        free = shutil.disk_usage(parent).free
    except OSError as error:
        return [f"results-dir: expected a directory that can be written, got {error}"]
    if free < MIN_FREE_BYTES:
        megabytes = free // 1_000_000
        return [f"results-dir: expected {MIN_FREE_BYTES // 1_000_000} MB free, got {megabytes} MB ({parent})"]
    return []


def safe_name(text: str) -> str:
    """A test name as a file name: letters, digits, dot, dash and underscore; never empty or hidden."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "run"


def write_run_json(directory: Path, facts: dict[str, Any]) -> None:
    """Write run.json, with the checksum of its facts, as a whole or not at all. Raises `OSError`."""
    said = json.loads(json.dumps(SECRETS.redact_values(facts), default=str))
    temporary = directory / "run.json.part"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps({**said, CHECKSUM: checksum_of(said)}, indent=2, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, directory / "run.json")


def read_run_json(directory: Path) -> dict[str, Any]:
    """run.json as it is on disk. Raises `OSError`, `ValueError`."""
    found = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError("expected an object")
    return found


def describe_tools() -> dict[str, Any]:
    """Versions and machine, for run.json."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tokenswarm_version": _version("tokenswarm") or source_version(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
        "git_commit": _git_commit(),
        "host": platform.node(),
        "pid": os.getpid(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the working directory: what the scenario and locustfile belong to."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
