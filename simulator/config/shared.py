"""State that all processes of one simulator see: the limiters' counters and changes of the configuration.

One process keeps it in memory. Several keep each piece as a small JSON file under a lock that the kernel drops when
a process dies, so that a killed process cannot stop the others.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote


class SharedState:
    """Named dicts. `directory` None: this process only."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory
        self._local: dict[str, dict[str, Any]] = {}

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[dict[str, Any]]:
        """The dict called `name`, for reading and changing in place; no other process has it meanwhile."""
        if self.directory is None:
            yield self._local.setdefault(name, {})
            return
        descriptor = os.open(self.directory / f"{quote(name, safe='')}.state", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            text = os.pread(descriptor, 1 << 20, 0)
            state: dict[str, Any] = json.loads(text) if text else {}
            yield state
            written = os.pwrite(descriptor, json.dumps(state).encode(), 0)
            os.ftruncate(descriptor, written)
        finally:
            os.close(descriptor)

    def clear(self) -> None:
        """Forget everything (the limiters start anew)."""
        self._local.clear()
        if self.directory is not None:
            for path in self.directory.glob("*.state"):
                with contextlib.suppress(FileNotFoundError), self.locked(unquote(path.stem)) as state:
                    state.clear()
