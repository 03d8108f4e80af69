"""The ground-truth log: one JSON line for each HTTP request that a target received, and the counts of them.

Instants are Unix seconds of this machine's clock: `received_at` when the request had been read completely,
`headers_at`, `first_token_at` and `last_token_at` right after the write of those bytes, `finished_at` after the last
byte of the answer (or when it was given up). A client on the same machine can be checked against them.

Lines are buffered and appended with one `write` of whole lines to a file opened with O_APPEND, so several processes
may share one file. The server calls `flush` four times a second: a kill loses less than a second.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simulator.truth.tally import Tally

logger = logging.getLogger(__name__)

FLUSH_AFTER_S = 0.25
"""Longest time that the server lets a line wait in memory."""

MINUTES_KEPT_S = 3 * 3600
"""Counts by minute older than this are kept as sums only."""

FLUSH_AT_BYTES = 64 * 1024

INTERNAL_HEADER = "x-simulator-internal"
"""A target that calls another target of the simulator sends this header (any value): the line says `internal`."""

FIELDS = (
    "target",
    "client_request_id",
    "request_id",
    "deployment",
    "stream",
    "received_at",
    "headers_at",
    "first_token_at",
    "last_token_at",
    "finished_at",
    "status",
    "outcome",
    "reason",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "max_tokens",
    "estimated_tokens",
    "chunks",
    "tokens_per_chunk",
    "conversation_id",
    "stages",
    "utilization_pct",
    "internal",
)
"""Every line has these keys in this order; what is not known or does not apply is null."""

_EMPTY: dict[str, Any] = dict.fromkeys(FIELDS) | {"internal": False}


class TruthLog:
    """Writes entries to `path` (none: only counts them).

    `gauges` may be set to what gives, by deployment, the requests at work and waiting in this process.
    `shared_dir`, when several processes serve: each leaves its counts there at every flush, and `counters` adds the
    others' to its own, which are then at most `FLUSH_AFTER_S` old.
    """

    def __init__(self, path: Path | None = None, shared_dir: Path | None = None) -> None:
        self._file = (
            os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644) if path is not None else None
        )
        self._shared_dir = shared_dir
        self._buffer: list[str] = []
        self._buffered_bytes = 0
        self._flushed_at = time.monotonic()
        self.tally = Tally()
        self.lines = 0
        self.in_flight = 0
        self.gauges: Callable[[], dict[str, list[int]]] = dict

    def write(self, entry: dict[str, Any]) -> None:
        """Add one entry; keys outside `FIELDS` are refused, missing ones become null."""
        unknown = entry.keys() - _EMPTY.keys()
        if unknown:
            raise KeyError(f"truth entry: expected keys of FIELDS, got {sorted(unknown)}")
        full = _EMPTY | entry
        self.lines += 1
        self.tally.add(full)
        if self._file is None:
            return
        line = json.dumps(full, separators=(",", ":")) + "\n"
        self._buffer.append(line)
        self._buffered_bytes += len(line)
        if self._buffered_bytes >= FLUSH_AT_BYTES or time.monotonic() - self._flushed_at >= FLUSH_AFTER_S:
            self.flush()

    def flush(self) -> None:
        """Hand everything buffered to the operating system."""
        self._flushed_at = time.monotonic()
        if self._buffer and self._file is not None:
            self._append(self._file)
        self.tally.fold(time.time() - MINUTES_KEPT_S)
        self._share()

    def _append(self, file: int) -> None:
        """What cannot be written now (a full disk) is kept and tried again with the next flush."""
        data = "".join(self._buffer).encode()
        written = 0
        try:
            while written < len(data):
                written += os.write(file, data[written:])
        except OSError as error:
            logger.error("truth log: %s; %d bytes wait", error, len(data) - written)
        self._buffer = [data[written:].decode()] if written < len(data) else []
        self._buffered_bytes = len(data) - written

    def close(self) -> None:
        """Flush and close; further entries are only counted."""
        self.flush()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def counters(self) -> dict[str, Any]:
        """Lines written, requests in flight, and per deployment: requests, statuses, outcomes, reasons, tokens."""
        others = self._others()
        return {
            "lines": self.lines + sum(other["lines"] for other in others),
            "in_flight": self.in_flight + sum(other["in_flight"] for other in others),
            "deployments": self.total(others).summary(),
        }

    def total(self, others: list[Mapping[str, Any]] | None = None) -> Tally:
        """The tally of all processes."""
        others = self._others() if others is None else others
        return Tally.of([self.tally, *(Tally.from_json(other["tally"]) for other in others)])

    def all_gauges(self) -> dict[str, list[int]]:
        """Requests at work and waiting by deployment, in all processes."""
        total: dict[str, list[int]] = {}
        for gauges in (self.gauges(), *(other["gauges"] for other in self._others())):
            for name, values in gauges.items():
                total[name] = [a + b for a, b in zip(total.get(name, [0, 0]), values, strict=True)]
        return total

    def others_flushed_since(self, instant: float) -> bool:
        """Whether every other process has flushed since `instant` (monotonic clock, s)."""
        return all(other["flushed_at"] >= instant for other in self._others())

    def _share(self) -> None:
        if self._shared_dir is None:
            return
        mine = {
            "flushed_at": self._flushed_at,
            "lines": self.lines,
            "in_flight": self.in_flight,
            "gauges": self.gauges(),
            "tally": self.tally.to_json(),
        }
        temporary = self._shared_dir / f"{os.getpid()}.new"
        temporary.write_text(json.dumps(mine))
        temporary.replace(self._shared_dir / f"{os.getpid()}.tally")

    def _others(self) -> list[Mapping[str, Any]]:
        if self._shared_dir is None:
            return []
        return [
            json.loads(path.read_text())
            for path in sorted(self._shared_dir.glob("*.tally"))
            if path.stem != str(os.getpid())
        ]
