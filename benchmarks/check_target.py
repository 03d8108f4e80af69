"""Check the known-timing target against another server of known timing, with one and the same client.

    python -m benchmarks.check_target --streams 1000 --seconds 8 [--other "./truth_server {port} 200 20 100 {log}"]

Pins the server to one core and this client to another. The client is a bare selector loop over raw sockets with
kernel receive stamps; it reports when chunks really reached this machine's kernel against the fixed plan that starts
when the request was handed to the kernel, so it sees what a log cannot: the lateness of every single chunk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import selectors
import shlex
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import percentile

TTFT_S, TBT_S, TOKENS = 0.2, 0.02, 100
MARK = b'"content":" token'
END = b"0\r\n\r\n"
BODY = json.dumps(
    {
        "model": "known-timing",
        "messages": [{"role": "user", "content": "word " * 100}],
        "max_tokens": TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: loopback\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


@dataclass
class Seen:
    """What the client saw of one server."""

    late_ms: list[float] = field(default_factory=list)  # of each chunk against the plan
    ttft_ms: list[float] = field(default_factory=list)
    tbt_ms: list[float] = field(default_factory=list)
    answers: int = 0
    tokens: int = 0
    shared_reads: int = 0  # reads with several chunks: their stamp is that of the last


class Stream:
    """One connection that asks again as soon as it has its answer."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, 35, 1)
        self.sock.setblocking(False)
        self.asked_at = 0.0
        self.count = 0
        self.first = self.last = 0.0

    def ask(self) -> None:
        self.count = 0
        self.asked_at = time.time()
        self.sock.send(REQUEST)

    def read(self, seen: Seen, measuring: bool) -> None:
        data, ancillary, _, _ = self.sock.recvmsg(65536, 64)
        found = data.count(MARK)
        if found:
            seconds, nanoseconds = struct.unpack_from("qq", ancillary[0][2])
            stamp = seconds + nanoseconds * 1e-9
            self.count += found
            if self.count == found:
                self.first = stamp
            self.last = stamp
            if measuring:
                seen.shared_reads += found > 1
                plan = self.asked_at + TTFT_S + TBT_S * (self.count - 1)
                seen.late_ms.append((stamp - plan) * 1000.0)
        if data.endswith(END):
            if measuring:
                seen.answers += 1
                seen.tokens += self.count
                seen.ttft_ms.append((self.first - self.asked_at) * 1000.0)
                seen.tbt_ms.append((self.last - self.first) / (self.count - 1) * 1000.0)
            self.ask()


def drive(port: int, streams: int, seconds: float, warm_up: float) -> Seen:
    """Open `streams` with random phases, then measure for `seconds`."""
    seen = Seen()
    selector = selectors.DefaultSelector()
    waiting = [Stream(port) for _ in range(streams)]
    for stream in waiting:
        selector.register(stream.sock, selectors.EVENT_READ, stream)
    began = time.time()
    starts = sorted((began + random.uniform(0, warm_up / 2), index) for index in range(streams))
    position = 0
    while (now := time.time()) < began + warm_up + seconds:
        while position < streams and starts[position][0] <= now:
            waiting[starts[position][1]].ask()
            position += 1
        for key, _ in selector.select(0.002):
            key.data.read(seen, now >= began + warm_up)
    for stream in waiting:
        stream.sock.close()
    return seen


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def measure(name: str, command: str, streams: int, seconds: float) -> dict[str, object]:
    """Run one server pinned to the last core, drive it, and sum up."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        words = shlex.split(command.format(port=port, log=f"{folder}/log"))
        cores = sorted(os.sched_getaffinity(0))
        server = subprocess.Popen(words, preexec_fn=lambda: os.sched_setaffinity(0, {cores[-1]}))
        try:
            wait_for(port)
            os.sched_setaffinity(0, {cores[0]})
            before, began = cpu_of(server.pid), time.time()
            seen = drive(port, streams, seconds, warm_up=4.0)
            cpu, wall = cpu_of(server.pid) - before, time.time() - began
        finally:
            os.sched_setaffinity(0, set(cores))
            server.terminate()
            server.wait()
    late = sorted(seen.late_ms)
    return {
        "server": name,
        "streams": streams,
        "chunks_per_s": round(len(late) / seconds),
        "cpu_pct": round(cpu / wall * 100),
        "late_p50_ms": percentile(late, 50),
        "late_p99_ms": percentile(late, 99),
        "late_max_ms": late[-1],
        "early_min_ms": late[0],
        "ttft_p50_ms": percentile(sorted(seen.ttft_ms), 50),
        "ttft_p95_ms": percentile(sorted(seen.ttft_ms), 95),
        "tbt_mean_ms": sum(seen.tbt_ms) / len(seen.tbt_ms),
        "tokens_per_answer": seen.tokens / seen.answers,
        "shared_reads_pct": seen.shared_reads * 100 / len(late),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--other", help="command of another server; {port} and {log} are filled in")
    options = parser.parse_args()
    ours = f"{sys.executable} -m simulator.known_timing --port {{port}} --log {{log}}"
    for name, command in (("known_timing", ours), ("other", options.other)):
        if command:
            figures = measure(name, command, options.streams, options.seconds)
            print({key: round(v, 3) if isinstance(v, float) else v for key, v in figures.items()}, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
