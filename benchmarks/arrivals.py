"""Open load: what planning an arrival costs, and how late arrivals really leave while answers stream.

    python -m benchmarks.arrivals [--rates 300,3000,12000] [--seconds 20]

Rates are requests per minute. The second table runs the load generator against the known-timing target with Poisson
and constant arrivals: lag of each request behind its due instant; the gaps' coefficient of variation (1 for Poisson, 0
for constant); for Poisson a Kolmogorov-Smirnov test of the gaps between starts against the exponential distribution of
the asked rate, for the starts as planned and as they were: a p below 0.05 says that they are not Poisson.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from time import process_time
from typing import Any

import scipy.stats  # type: ignore[import-untyped]

from benchmarks.accuracy import Cell, run_cell
from benchmarks.figures import markdown_table, percentile
from benchmarks.target import E2E_MS
from tokenswarm.workload.arrivals import KINDS, Assignment, RatePlan, WorkerShare


def planning_rows(count: int = 100_000) -> list[dict[str, Any]]:
    """CPU per arrival of each kind: walked whole, and the share of one worker of four."""
    plans = {kind: RatePlan(kind, 6000.0, smoothness=0.5) for kind in KINDS}
    return [
        {
            "arrivals": kind,
            "one worker, us/arrival": _us(WorkerShare(plan, [Assignment(0, 0, 1)]), count),
            "one of four, us/own arrival": _us(WorkerShare(plan, [Assignment(0, 0, 4)]), count // 4),
        }
        for kind, plan in plans.items()
    ]


def _us(arrivals: Iterator[Any], count: int) -> float:
    before = process_time()
    taken = sum(1 for _ in islice(arrivals, count))
    return (process_time() - before) / taken * 1e6


def lateness_row(kind: str, rate: float, seconds: float) -> dict[str, Any]:
    """One run: lag percentiles and the spread of the gaps between starts."""
    streams = rate / 60.0 * E2E_MS / 1000.0
    users = int(streams + 6.0 * math.sqrt(streams) + 5.0)  # arrivals always find one free
    extra = ["--arrival", kind, "--rate", f"{rate:g}"]
    cell: Cell = run_cell(users, seconds, tls=False, at_once=True, extra=extra)
    lags = [record.lag_ms for record in cell.records if record.lag_ms is not None and record.started_at is not None]
    starts = sorted(record.started_at for record in cell.records if record.started_at is not None)
    gaps = [after - before for before, after in pairwise(starts)]
    planned = sorted(record.scheduled_at for record in cell.records if record.scheduled_at is not None)
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
        "KS p, planned": _exponential_p(planned, rate) if kind == "poisson" else None,
        "KS p": _exponential_p(starts, rate) if kind == "poisson" else None,
    }


def _exponential_p(starts: Sequence[float], rate: float) -> float:
    """p of a Kolmogorov-Smirnov test of the gaps against arrivals that come independently at `rate` per minute."""
    gaps = [after - before for before, after in pairwise(starts)]
    return float(scipy.stats.kstest(gaps, "expon", args=(0.0, 60.0 / rate)).pvalue)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rates", default="300,3000,12000", help="requests per minute")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    print(markdown_table(planning_rows()), "\n", flush=True)
    rates = [float(rate) for rate in options.rates.split(",")]
    rows = [lateness_row(kind, rate, options.seconds) for kind in ("poisson", "constant") for rate in rates]
    print(markdown_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
