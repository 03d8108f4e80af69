"""Figures that every benchmark needs, and the tables they go into. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def percentile(values: Iterable[float], p: float) -> float:
    """Percentile, linear between order statistics. Raises `ValueError` without values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("percentile of no values")
    rank = (len(ordered) - 1) * p / 100.0
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def mean(values: Iterable[float]) -> float:
    kept = list(values)
    return sum(kept) / len(kept)


@dataclass(frozen=True, slots=True)
class TrueFigures:
    """What the target's log says of the requests that it answered in full."""

    requests: int
    tokens: int
    ttft_mean_ms: float
    ttft_p95_ms: float
    tbt_mean_ms: float
    e2e_p95_ms: float
    first_at: float
    last_at: float


def true_ttft_ms(row: Mapping[str, Any]) -> float:
    """ms from the request's arrival to the first chunk with a token."""
    return (float(row["first_token_at"]) - asked_at(row)) * 1000.0


def true_e2e_ms(row: Mapping[str, Any]) -> float:
    """ms from the request's arrival to the write of the last chunk with a token, which holds the answer's end too."""
    return (float(row["last_token_at"]) - asked_at(row)) * 1000.0


def true_tbt_ms(row: Mapping[str, Any]) -> float | None:
    """ms per token after the first chunk; `None` for an answer of one chunk."""
    if row["chunks"] < 2:
        return None
    between = (row["last_token_at"] - row["first_token_at"]) / (row["chunks"] - 1)
    return float(between * row["chunks"] / row["completion_tokens"] * 1000.0)


def asked_at(row: Mapping[str, Any]) -> float:
    """Unix s at which the request was there."""
    return float(row["arrived_at"] or row["received_at"])


def true_figures(rows: Iterable[Mapping[str, Any]]) -> TrueFigures:
    """Sum up the complete streamed answers of a log. Raises `ValueError` when there is none."""
    whole = [row for row in rows if row["outcome"] == "ok" and row["stream"]]
    if not whole:
        raise ValueError("the target answered no streamed request")
    return TrueFigures(
        requests=len(whole),
        tokens=sum(row["completion_tokens"] for row in whole),
        ttft_mean_ms=mean(map(true_ttft_ms, whole)),
        ttft_p95_ms=percentile(map(true_ttft_ms, whole), 95),
        tbt_mean_ms=mean(tbt for tbt in map(true_tbt_ms, whole) if tbt is not None),
        e2e_p95_ms=percentile(map(true_e2e_ms, whole), 95),
        first_at=min(map(asked_at, whole)),
        last_at=max(row["finished_at"] for row in whole),
    )


def chunks_between(rows: Iterable[Mapping[str, Any]], start: float, end: float) -> float:
    """Chunks with tokens that the target sent in [start, end], Unix s; an answer's chunks are taken as even in time."""
    total = 0.0
    for row in rows:
        first, last = row.get("first_token_at"), row.get("last_token_at")
        if first is None or last is None:
            continue
        if last <= first:
            total += row["chunks"] if start <= first <= end else 0
        else:
            total += row["chunks"] * max(0.0, min(last, end) - max(first, start)) / (last - first)
    return total


def peak_streams(rows: Iterable[Mapping[str, Any]]) -> int:
    """The most answers that were under way at once."""
    edges: list[tuple[float, int]] = []
    for row in rows:
        edges += [(asked_at(row), 1), (row["finished_at"], -1)]
    running = peak = 0
    for _, step in sorted(edges):
        running += step
        peak = max(peak, running)
    return peak


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with the keys of the first row as columns; floats to three digits, absent values as –."""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
