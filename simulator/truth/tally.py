"""Counts of what the targets answered, by minute, deployment and status; tallies of several processes add up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SUMMED = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens", "estimated_tokens",
          "tokens_after_left")  # fmt: skip
"""Token fields of a truth entry that are added up."""

SPREADS = ("ttft_ms", "tbt_ms", "e2e_ms", "utilization_pct", "after_left_ms")

Key = tuple[int, str, str, int | None, str, str, bool, str]
"""Minute (Unix s), target, deployment, status, outcome, reason, internal, deployment spilled from."""


@dataclass(slots=True)
class Spread:
    """Count, sum, least and greatest of a latency in milliseconds."""

    count: int = 0
    total: float = 0.0
    least: float | None = None
    greatest: float | None = None

    def add(self, value: float) -> None:
        self.merge(Spread(1, value, value, value))

    def merge(self, other: Spread) -> None:
        if not other.count or other.least is None or other.greatest is None:
            return
        self.count += other.count
        self.total += other.total
        self.least = other.least if self.least is None else min(self.least, other.least)
        self.greatest = other.greatest if self.greatest is None else max(self.greatest, other.greatest)


@dataclass(slots=True)
class Cell:
    """What one key of the tally has seen."""

    requests: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SUMMED, 0))
    ttft_ms: Spread = field(default_factory=Spread)
    tbt_ms: Spread = field(default_factory=Spread)
    e2e_ms: Spread = field(default_factory=Spread)
    utilization_pct: Spread = field(default_factory=Spread)
    after_left_ms: Spread = field(default_factory=Spread)

    def add(self, entry: Mapping[str, Any]) -> None:
        self.requests += 1
        for name in SUMMED:
            self.tokens[name] += entry.get(name) or 0
        received, first, last, end = (
            entry.get(n) for n in ("received_at", "first_token_at", "last_token_at", "finished_at")
        )
        if received is not None and first is not None:
            self.ttft_ms.add((first - received) * 1e3)
        if received is not None and end is not None:
            self.e2e_ms.add((end - received) * 1e3)
        streamed = (entry.get("completion_tokens") or 0) - (entry.get("reasoning_tokens") or 0)
        if first is not None and last is not None and streamed > 1 and last > first:
            self.tbt_ms.add((last - first) * 1e3 / (streamed - 1))
        if (left := entry.get("client_left_at")) is not None and end is not None:
            self.after_left_ms.add(max(0.0, end - left) * 1e3)
        if (utilization := entry.get("utilization_pct")) is not None:
            self.utilization_pct.add(utilization)

    def merge(self, other: Cell) -> None:
        self.requests += other.requests
        for name in SUMMED:
            self.tokens[name] += other.tokens[name]
        for name in SPREADS:
            getattr(self, name).merge(getattr(other, name))


class Tally:
    """Cells by key. The minute is the one in which the answer ended."""

    def __init__(self) -> None:
        self.cells: dict[Key, Cell] = {}

    def add(self, entry: Mapping[str, Any]) -> None:
        ended = entry.get("finished_at") or entry.get("received_at") or 0.0
        key: Key = (
            int(ended // 60) * 60,
            str(entry.get("target") or ""),
            str(entry.get("deployment") or ""),
            entry.get("status"),
            str(entry.get("outcome") or ""),
            str(entry.get("reason") or ""),
            bool(entry.get("internal")),
            str(entry.get("spilled_from") or ""),
        )
        self.cells.setdefault(key, Cell()).add(entry)

    def fold(self, before: float) -> None:
        """Keep only sums of what is older than `before` (Unix s), under minute 0."""
        for key in [key for key in self.cells if 0 < key[0] < before]:
            self.cells.setdefault((0, *key[1:]), Cell()).merge(self.cells.pop(key))

    def merge(self, other: Tally) -> None:
        for key, cell in other.cells.items():
            self.cells.setdefault(key, Cell()).merge(cell)

    def to_json(self) -> str:
        return json.dumps([[list(key), asdict(cell)] for key, cell in self.cells.items()])

    @classmethod
    def from_json(cls, text: str) -> Tally:
        tally = cls()
        for key, cell in json.loads(text):
            spreads = {name: Spread(**cell[name]) for name in SPREADS}
            tally.cells[tuple(key)] = Cell(cell["requests"], cell["tokens"], **spreads)
        return tally

    @classmethod
    def of(cls, tallies: Iterable[Tally]) -> Tally:
        total = cls()
        for tally in tallies:
            total.merge(tally)
        return total

    def summary(self) -> dict[str, dict[str, Any]]:
        """By deployment (by target where there is none): requests, statuses, outcomes, reasons, tokens."""
        summary: dict[str, dict[str, Any]] = {}
        for (_, target, deployment, status, outcome, reason, internal, _), cell in sorted(
            self.cells.items(), key=lambda item: [str(part) for part in item[0]]
        ):
            one = summary.setdefault(
                deployment or target,
                {"requests": 0, "internal": 0, "statuses": {}, "outcomes": {}, "reasons": {}}
                | dict.fromkeys(SUMMED, 0),
            )
            one["requests"] += cell.requests
            one["internal"] += cell.requests if internal else 0
            for name, value in (("statuses", str(status)), ("outcomes", outcome), ("reasons", reason)):
                if value:
                    one[name][value] = one[name].get(value, 0) + cell.requests
            for name in SUMMED:
                one[name] += cell.tokens[name]
        return summary
