"""Our cost per chunk against the least there is: a C program that waits, receives with the kernel's stamp and counts.

    python -m benchmarks.floor [--streams 50,200,500,1000,2000] [--kinds plain,tls] [--seconds 8] [--rounds 1]

Floor and we take turns on the same core against the same kind of target, so that a host that is faster or slower from
minute to minute is so for both; of several rounds the median counts. The C program uses epoll and recvmsg, and OpenSSL
in memory for TLS, as we do. It is built with the machine's C compiler; without one this says so and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.accuracy import row_of, run_cell
from benchmarks.certificate import make_certificate
from benchmarks.figures import chunks_between, markdown_table
from benchmarks.runs import describe_machine
from benchmarks.target import E2E_MS, cores, running_target

RAMP_S = 2.0 * E2E_MS / 1000.0
SOURCE = Path(__file__).parent / "floor_client.c"


def build(folder: Path) -> tuple[Path, bool] | None:
    """The floor client, and whether it can do TLS; `None` without a C compiler. Raises `RuntimeError` when it cannot be
    built without TLS either."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    program = folder / "floor_client"
    command = [compiler, "-O2", "-o", str(program), str(SOURCE)]
    if subprocess.run([*command, "-DWITH_TLS", "-lssl", "-lcrypto"], capture_output=True).returncode == 0:
        return program, True
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode != 0:
        raise RuntimeError(f"floor_client.c cannot be built: {built.stderr[-500:]}")
    return program, False


def floor_us(program: Path, streams: int, seconds: float, tls: bool) -> dict[str, float]:
    """CPU us per chunk of the floor client, and chunks per second, once the ramp is over."""
    with tempfile.TemporaryDirectory() as name:
        arguments: list[str] = []
        if tls:
            certificate, key = make_certificate(Path(name))
            arguments = ["--tls-cert", str(certificate), "--tls-key", str(key)]
        with running_target(*arguments) as target:
            port = urlsplit(target.url).port
            command = [str(program), str(port), str(streams), str(RAMP_S), str(seconds), *(["tls"] if tls else [])]
            ran = subprocess.run(
                command, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores()[0])
            )
        if ran.returncode != 0:
            raise RuntimeError(f"floor client: exit {ran.returncode}: {ran.stderr[-500:]}")
    found = json.loads(ran.stdout)
    chunks = chunks_between(target.rows, found["begin"], found["end"])
    return {"us": found["cpu_s"] / chunks * 1e6, "chunks/s": chunks / (found["end"] - found["begin"])}


def compare(program: Path, streams: int, seconds: float, tls: bool, rounds: int) -> dict[str, Any]:
    """One row of the table."""
    floors, ours = [], []
    for _ in range(rounds):
        floors.append(floor_us(program, streams, seconds, tls))
        cell = run_cell(streams, RAMP_S + seconds + E2E_MS / 1000.0, tls, at_once=False)
        ours.append(row_of(cell, at_once=False))
    floor = statistics.median(each["us"] for each in floors)
    we = statistics.median(each["CPU us/chunk"] for each in ours)
    last = ours[-1]
    return {
        "kind": "TLS" if tls else "plain",
        "streams": streams,
        "floor chunks/s": floors[-1]["chunks/s"],
        "our chunks/s": last["chunks/s"],
        "floor us/chunk": floor,
        "our us/chunk": we,
        "ratio": we / floor,
        "CPU %": last["CPU %"],
        "TTFT err p95 ms": last["TTFT err p95 ms"],
        "tokens wrong": last["tokens wrong"],
        "says saturated": last["says saturated"],
    }


def rows_of(
    program: Path, kinds: list[str], streams: list[int], seconds: float, rounds: int
) -> Iterator[dict[str, Any]]:
    for kind in kinds:
        for count in streams:
            row = compare(program, count, seconds, kind == "tls", rounds)
            print(row, file=sys.stderr, flush=True)
            yield row


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--streams", default="50,200,500,1000,2000")
    parser.add_argument("--kinds", default="plain,tls")
    parser.add_argument("--seconds", type=float, default=8.0, help="measured, of the floor and of us")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        built = build(Path(name))
        if built is None:
            print("skipped: no C compiler (cc, gcc or clang) is on the path, so the floor cannot be measured")
            return 0
        program, can_tls = built
        kinds = options.kinds.split(",")
        if not can_tls and "tls" in kinds:
            print("TLS skipped: OpenSSL's headers (libssl-dev) are not installed\n")
            kinds.remove("tls")
        streams = [int(each) for each in options.streams.split(",")]
        rows = list(rows_of(program, kinds, streams, options.seconds, options.rounds))
    print(f"{describe_machine()}\n")
    print(markdown_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
