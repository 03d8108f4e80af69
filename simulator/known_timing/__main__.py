"""A streaming chat target whose timing is known exactly: `python -m simulator.known_timing --ready-file F --log F`.

It is the yardstick for the load generator, not a model of a service: every request is answered on a fixed schedule
(TTFT, then one chunk every TBT) and logged with the instants at which the request had arrived and at which the first
and the last chunk with tokens were handed to the kernel. One thread, one selector, no allocation for a chunk; it is
meant to carry 46,000 chunks/s (1000 streams, one token every 20 ms) on one core with room to spare.

The log has one JSON object a line for each chat request, fields as in the simulator's truth log, times in Unix s:
`arrived_at` (the kernel had the last byte of the request; null over TLS and where the kernel does not say),
`received_at` (it was read), `headers_at`, `first_token_at`, `last_token_at` (each just before its write),
`finished_at`, `completion_tokens`, `chunks`, and `late_max_ms`: how late, at worst, a chunk left against the plan.
The schedule counts from `arrived_at` where there is one, else from `received_at`.

Any field of `known_answer.Timing` can be set per request in the JSON body: `"known_timing": {"ttft_ms": 50}`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import json
import os
import resource
import signal
import socket
import ssl
import sys
from pathlib import Path
from time import process_time
from typing import Any

from simulator.known_timing.answer import Timing, check
from simulator.known_timing.streams import Behaviour
from simulator.known_timing.target import Target


def listen(port: int, receive_buffer: int | None = None) -> socket.socket:
    """A non-blocking listener on loopback; port 0 takes a free one."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listener.bind(("127.0.0.1", port))
    listener.listen(4096)
    listener.setblocking(False)
    return listener


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line; every field of `Timing` and `Behaviour` is one. Exits with 2 on a bad value."""
    parser = argparse.ArgumentParser(
        prog="python -m simulator.known_timing", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one (default)")
    parser.add_argument("--ready-file", type=Path, help="written with the URL, as JSON, once the target accepts")
    parser.add_argument("--log", type=Path, help="truth log (JSON lines)")
    parser.add_argument("--tls-cert", type=Path, help="certificate (PEM); with --tls-key the target speaks TLS")
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--no-usage", dest="usage", action="store_false", help="send no usage even when asked")
    for option in (*dataclasses.fields(Timing), *dataclasses.fields(Behaviour)):
        flag = "--" + option.name.replace("_", "-")
        if option.name == "usage":
            continue
        if isinstance(option.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(option.default), default=option.default)
    options = parser.parse_args(argv)
    problems = check(_pick(Timing, options))
    if (options.tls_cert is None) != (options.tls_key is None):
        problems.append("tls-cert, tls-key: expected both or none, got one")
    if problems:
        parser.error("; ".join(problems))
    return options


def _pick(kind: Any, options: argparse.Namespace) -> Any:
    return kind(**{option.name: getattr(options, option.name) for option in dataclasses.fields(kind)})


def raise_file_limit() -> None:
    """A connection is a file: allow as many as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def announce(ready_file: Path | None, url: str) -> None:
    """Write where the target listens to `ready_file`, whole or not at all; then print it."""
    if ready_file is not None:
        partial = ready_file.with_suffix(".partial")
        partial.write_text(json.dumps({"chat_url": url, "pid": os.getpid()}))
        partial.replace(ready_file)
    print(f"known-timing target on {url}", flush=True)


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(argv)
    behaviour = _pick(Behaviour, options)
    raise_file_limit()
    tls = None
    if options.tls_cert is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.tls_cert, options.tls_key)
    listener = listen(options.port, receive_buffer=4096 if behaviour.read_pause_ms else None)
    with open(options.log or os.devnull, "w", buffering=1 << 18, encoding="utf-8") as log:
        target = Target(listener, _pick(Timing, options), behaviour, log, tls)
        signal.signal(signal.SIGTERM, target.stop)
        signal.signal(signal.SIGINT, target.stop)
        scheme = "https" if tls else "http"
        announce(options.ready_file, f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")
        gc.collect()
        gc.freeze()  # a full collection would hold up a thousand streams for some 10 ms
        gc.disable()
        target.run()
    print(json.dumps(summary(target)), flush=True)
    return 0


def summary(target: Target) -> dict[str, Any]:
    """What the target says of itself at its end: requests, chunks, lateness against its plan (ms), CPU (s)."""
    return {
        "served": target.served,
        "chunks": sum(target.lateness.steps),
        "late_p50_ms": target.lateness.percentile_ms(50),
        "late_p99_ms": target.lateness.percentile_ms(99),
        "late_max_ms": target.lateness.percentile_ms(100),
        "cpu_s": round(process_time(), 3),
    }


if __name__ == "__main__":
    sys.exit(main())
