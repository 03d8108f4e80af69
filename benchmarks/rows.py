"""What a row costs: recording and shipping it in the worker, taking it in the master.

    python -m benchmarks.rows [--rows 20000]

Worker: `Recorder.record` and its flushes, with the message packed as Locust packs it. Master: unpack, parse, append to
requests.csv, add to the accumulator of the criteria. Goals: 60 us a row in the worker; 2,000 rows/s in the master.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import msgpack  # type: ignore[import-untyped]

from benchmarks.figures import markdown_table
from tokenswarm.control.messages import Rows, decode, encode
from tokenswarm.metrics.samples import Samples
from tokenswarm.record import Outcome, RequestRecord, TokenSource
from tokenswarm.results.csv_rows import parse_rows
from tokenswarm.results.journal import Journal
from tokenswarm.results.recorder import SHIP_ROWS, Batch, Recorder


def typical_record(number: int) -> RequestRecord:
    """A streamed answer with everything filled in that usually is."""
    return RequestRecord(
        call_id=f"{number:032x}",
        worker="w0",
        user=number % 1000,
        name="chat",
        started_at=1.79e9 + number / 500.0,
        sent_ms=0.213,
        headers_ms=0.642,
        first_byte_ms=0.642,
        ttft_ms=200.251,
        ttft_visible_ms=200.251,
        last_token_ms=2180.317,
        e2e_ms=2180.317,
        chunks=100,
        gap_max_ms=21.3,
        gap_p95_ms=20.4,
        tbt_ms=20.0007,
        read_lag_ms=0.41,
        context_tokens=100,
        max_tokens=100,
        prompt_tokens=108,
        completion_tokens=100,
        reasoning_tokens=0,
        cached_tokens=0,
        token_source=TokenSource.USAGE,
        outcome=Outcome.OK,
        status=200,
        finish_reason="length",
        request_id=f"00000000-0000-0000-0000-{number:012d}",
        region="Loopback",
        model="known-timing",
        remaining_tokens=100000000,
        remaining_requests=100000,
    )


def packed(batch: Batch) -> bytes:
    """The message of a batch, as Locust packs it."""
    message = Rows(
        "w0", "rows", batch.rows, batch.text, batch.started, batch.finished, batch.made, batch.written,
        str(batch.journal), batch.problem,
    )  # fmt: skip
    data: bytes = msgpack.dumps(encode(message))
    return data


def us_per_row(rows: int, work: Callable[[], object]) -> float:
    """CPU microseconds of `work` for each of `rows`."""
    before = process_time()
    work()
    return (process_time() - before) / rows * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    rows: int = parser.parse_args().rows
    records = [typical_record(number) for number in range(rows)]
    shipped: list[bytes] = []
    with tempfile.TemporaryDirectory() as name:
        recorder = Recorder("w0", Path(name, "journal.csv"), ship=lambda batch: shipped.append(packed(batch)))

        def record_all() -> None:
            for index, record in enumerate(records):
                recorder.record(record)
                if index % SHIP_ROWS == SHIP_ROWS - 1:  # at 1,000 rows/s a flush every half second takes so many
                    recorder.flush()
            recorder.flush()

        journal, samples = Journal(Path(name, "requests.csv")), Samples()

        def take_all() -> None:
            for message in shipped:
                received = decode(Rows, msgpack.loads(message))
                for record in parse_rows(received.text):
                    samples.add(record)
                journal.add(received.text, received.rows)
                journal.flush()

        worker = us_per_row(rows, record_all)
        master = us_per_row(rows, take_all)
    cells: list[dict[str, Any]] = [
        {"where": "worker: record and ship", "CPU us/row": worker, "rows/s on one core": round(1e6 / worker)},
        {"where": "master: take", "CPU us/row": master, "rows/s on one core": round(1e6 / master)},
        {"where": "on the wire", "CPU us/row": None, "bytes/row": round(sum(map(len, shipped)) / rows)},
    ]
    columns = ("where", "CPU us/row", "rows/s on one core", "bytes/row")
    print(markdown_table([{column: cell.get(column) for column in columns} for cell in cells]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
