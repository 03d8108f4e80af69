"""The settings as they are now: changed by the admin routes, the same in every process."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from simulator.config.settings import Settings


class LiveSettings:
    """`current` is what to go by. With a `shared_dir`, a change in one process is seen by the others' next request."""

    def __init__(self, settings: Settings, shared_dir: Path | None = None) -> None:
        self._base = settings
        self._settings = settings
        self._changes = None if shared_dir is None else shared_dir / "changes.json"
        self._version: tuple[int, int] | None = None
        self.started_at = time.monotonic()

    @property
    def current(self) -> Settings:
        if self._changes is not None:
            self._reload()
        return self._settings

    @property
    def uptime_s(self) -> float:
        """Seconds since the start or the last change: what the time windows of faults refer to."""
        return time.monotonic() - self.started_at

    def patch(self, changes: dict[str, Any]) -> Settings:
        """Apply changes, all or none. Raises ConfigError."""
        patched = self.current.patched(changes, "the request")
        self._settings = patched
        self.started_at = time.monotonic()
        if self._changes is not None:
            temporary = self._changes.with_suffix(".new")
            temporary.write_text(json.dumps(patched.to_json()))
            temporary.replace(self._changes)
            self._version = self._stat()
        return patched

    def _stat(self) -> tuple[int, int] | None:
        assert self._changes is not None
        try:
            stat = self._changes.stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_mtime_ns

    def _reload(self) -> None:
        version = self._stat()
        if version == self._version or self._changes is None:
            return
        self._version = version
        changes = json.loads(self._changes.read_text())
        removed: dict[str, Any] = {name: None for name in self._base.deployments}
        changes["deployments"] = removed | changes["deployments"]
        self._settings = self._base.patched(changes, "another process")
        self.started_at = time.monotonic()
