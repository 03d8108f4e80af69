"""Open load: what planning an arrival costs, and how late arrivals really leave while answers stream.

    python -m benchmarks.arrivals [--rates 3000,12000] [--seconds 20]

Rates are requests per minute. The second table runs the load generator against the known-timing target with Poisson
and constant arrivals: lag of each request behind its due instant, and the gaps' coefficient of variation (1 for
Poisson, 0 for constant).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from itertools import islice, pairwise
from time import process_time
from typing import Any

from benchmarks.accuracy import Cell, run_cell
from benchmarks.figures import markdown_table, percentile
from benchmarks.target import E2E_MS
from tokenswarm.arrivals import Assignment, Plan, constant, gamma, partition, poisson

POOL_FACTOR = 1.5
"""Users beyond the mean concurrency, so that arrivals find one free."""


def planning_rows(count: int = 100_000) -> list[dict[str, Any]]:
    """CPU per arrival of each kind: walked whole, and the share of one worker of four."""
    plans: dict[str, Plan] = {"constant": constant(6000.0), "poisson": poisson(6000.0), "gamma": gamma(6000.0, 0.5)}
    return [
        {
            "arrivals": kind,
            "one worker, us/arrival": _us(partition(plan, [Assignment(0, 0, 1)]), count),
            "one of four, us/own arrival": _us(partition(plan, [Assignment(0, 0, 4)]), count // 4),
        }
        for kind, plan in plans.items()
    ]


def _us(arrivals: Iterator[Any], count: int) -> float:
    before = process_time()
    taken = sum(1 for _ in islice(arrivals, count))
    return (process_time() - before) / taken * 1e6


def lateness_row(kind: str, rate: float, seconds: float) -> dict[str, Any]:
    """One run: lag percentiles and the spread of the gaps between starts."""
    users = max(10, int(rate / 60.0 * E2E_MS / 1000.0 * POOL_FACTOR))
    extra = ["--arrival", kind, "--rate", f"{rate:g}"]
    cell: Cell = run_cell(users, seconds, tls=False, at_once=True, extra=extra)
    lags = [record.lag_ms for record in cell.records if record.lag_ms is not None and record.started_at is not None]
    starts = sorted(record.started_at for record in cell.records if record.started_at is not None)
    gaps = [after - before for before, after in pairwise(starts)]
    return {
        "arrivals": kind,
        "rpm": rate,
        "users": users,
        "sent": len(starts),
        "dropped": len(cell.records) - len(starts),
        "lag p50 ms": percentile(lags, 50),
        "lag p95 ms": percentile(lags, 95),
        "lag p99 ms": percentile(lags, 99),
        "lag max ms": max(lags),
        "gap CV": statistics.pstdev(gaps) / statistics.fmean(gaps),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rates", default="3000,12000", help="requests per minute")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    print(markdown_table(planning_rows()), "\n", flush=True)
    rates = [float(rate) for rate in options.rates.split(",")]
    rows = [lateness_row(kind, rate, options.seconds) for kind in ("poisson", "constant") for rate in rates]
    print(markdown_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
