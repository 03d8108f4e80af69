"""Whether a run is still on: a file in its directory that its process holds locked, and touches.

A lock of the kernel ends with its holder, and tells the truth within one kernel, whatever the host is called and
whichever container asks: no process id is compared. From another machine only the file's age tells. The file's clock is
the file system's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

FILE_NAME = "run.lock"
TOUCHED_EVERY_S = 2.0
STALE_AFTER_S = 60.0
"""A run on another machine that has left no sign of life for so long is over."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Lease:
    """Held from `take` to `release`, or to the end of the process."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        self._descriptor: int | None = None

    def take(self) -> None:
        """Make the file and lock it. Raises `OSError`, also where somebody else holds it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.write(descriptor, boot_id().encode())
        self._descriptor = descriptor

    def touch(self) -> None:
        """Say that the run is on; a directory that is gone, or full, is no matter here."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.utime(self._descriptor)

    def release(self) -> None:
        """The run is over and written."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(self._descriptor)
            self._descriptor = None


def boot_id() -> str:
    """Names this start of this machine's kernel, the same in all its containers; empty where it cannot be told."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def sign_of_life(directory: Path) -> str | None:
    """How it is known that a run is on, or may be, in words; `None` when it is over."""
    path = directory / FILE_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return _recently_written(directory)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return f"its process holds {FILE_NAME}"
        written_by = os.read(descriptor, 100).decode("ascii", "replace")
    finally:
        os.close(descriptor)
    same_kernel = bool(written_by) and written_by == boot_id()
    return None if same_kernel else _recently_written(directory)


def _recently_written(directory: Path) -> str | None:
    """By the age of the run's files against the file system's clock, as a new file shows it."""
    names = [directory / name for name in (FILE_NAME, "requests.csv")]
    paths = [*names, *directory.glob("journal-*.csv"), *directory.glob("*.inflight")]
    times = [path.lstat().st_mtime for path in paths if path.exists()]
    probe = directory / ".recover-probe"
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    now = os.fstat(descriptor).st_mtime
    os.close(descriptor)
    probe.unlink()
    age_s = now - max(times, default=0.0)
    if age_s >= STALE_AFTER_S:
        return None
    return f"it was written to {max(0.0, age_s):.0f} s ago, perhaps from another machine: wait {STALE_AFTER_S:.0f} s"
