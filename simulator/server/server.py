"""Processes, sockets and signals: one uvicorn server, or several that share a listening socket."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from simulator.apis.tokens import vocabulary_of
from simulator.config.live import LiveSettings
from simulator.config.settings import Settings
from simulator.config.shared import SharedState
from simulator.server.announcement import announcement
from simulator.server.app import build_app
from simulator.truth.log import TruthLog
from simulator.wire.exchange import CONNECTION, RECEIVED_AT

GRACE_S = 1
"""How long answers in progress may go on after the signal to stop."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how to serve."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    ready_file: Path | None = None
    truth_log: Path | None = None
    log_level: str = "info"
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    @property
    def scheme(self) -> str:
        return "http" if self.tls_certificate is None else "https"


class TruthfulProtocol(HttpToolsProtocol):
    """Notes when a request was complete and when its connection was lost, and hands itself to the application."""

    lost_at: float | None = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[CONNECTION] = self  # type: ignore[literal-required]

    def on_message_complete(self) -> None:
        self.scope[RECEIVED_AT] = time.time()  # type: ignore[literal-required]
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost_at = time.time()
        super().connection_lost(exc)


class Server(uvicorn.Server):
    """Calls `started` once it accepts requests; every signal to stop means the same, and the exit code stays 0."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce
        self._returning: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        self._announce()

    def go_away(self, seconds: float) -> Callable[[], Awaitable[None]]:
        """Refuse connections now and accept again after `seconds`. Returns what aborts the existing ones."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        for server in self.servers:
            server.close()
        asyncio.get_running_loop().call_later(seconds, self._come_back, host, port)

        async def abort_connections() -> None:
            for connection in list(self.server_state.connections):
                connection.transport.abort()

        return abort_connections

    def _come_back(self, host: str, port: int) -> None:
        if not self.should_exit:
            self._returning = asyncio.create_task(self._accept_again(host, port))

    async def _accept_again(self, host: str, port: int) -> None:
        def create_protocol() -> TruthfulProtocol:
            return TruthfulProtocol(self.config, self.server_state, self.lifespan.state)

        loop = asyncio.get_running_loop()
        ssl_context = self.config.ssl
        self.servers = [await loop.create_server(create_protocol, sock=_listen(host, port), ssl=ssl_context)]

    def handle_exit(self, sig: int, frame: object) -> None:
        self.should_exit = True


def serve(settings: Settings, place: Place) -> int:
    """Serve until a signal says stop. Returns the exit code."""
    listener = _listen(place.host, place.port)
    url = _url(place.scheme, place.host, listener.getsockname()[1])
    token = settings.admin_token
    if not is_loopback(place.host) and token is None:
        token = secrets.token_urlsafe(24)
        print(f"Admin routes need this bearer token: {token}", file=sys.stderr, flush=True)
    state_dir = Path(tempfile.mkdtemp(prefix="simulator-state-"))
    for deployment in settings.deployments.values():
        vocabulary_of(deployment.model)  # read now, once for all processes, and not during the first request

    def announce() -> None:
        print(announcement(settings, url), flush=True)
        if place.ready_file is not None:
            _write_whole(place.ready_file, json.dumps({"chat_url": url, "rag_url": url, "fault_url": url}))

    shared_dir = None if place.workers == 1 else state_dir

    def run_server(announce: Callable[[], None], parent: int | None) -> None:
        truth = TruthLog(place.truth_log, shared_dir)
        live, shared = LiveSettings(settings, shared_dir), SharedState(shared_dir)
        app = build_app(
            live,
            shared,
            truth,
            own_url=url,
            state_dir=state_dir,
            admin_token=None if is_loopback(place.host) else token,
        )
        server = Server(_uvicorn_config(app, place), announce)
        if place.workers == 1:
            app.state.go_away = server.go_away
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(_run_while_parent_lives(server, listener, parent))

    try:
        if place.workers == 1:
            run_server(announce, None)
            return 0
        return _serve_forked(place.workers, run_server, announce)
    finally:
        shutil.rmtree(state_dir, ignore_errors=True)


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _url(scheme: str, host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # nosec B104: nothing is bound here
    return f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"


def _uvicorn_config(app: object, place: Place) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="uvloop",
        http=TruthfulProtocol,
        ws="websockets-sansio",
        lifespan="on",
        log_config=None,
        log_level=place.log_level,
        access_log=False,
        server_header=False,
        ssl_certfile=place.tls_certificate,
        ssl_keyfile=place.tls_key,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=GRACE_S,
    )


async def _run_while_parent_lives(server: Server, listener: socket.socket, parent: int | None) -> None:
    """Serve; stop also when the other end of the pipe `parent` is closed, which is when the parent process is gone."""
    if parent is not None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.remove_reader(parent)
            server.should_exit = True

        loop.add_reader(parent, stop)
    await server.serve([listener])


def _serve_forked(
    workers: int, run_server: Callable[[Callable[[], None], int | None], None], announce: Callable[[], None]
) -> int:
    """Fork the workers, announce when all accept, stop all when one ends or a signal comes."""
    ready_reader, ready_writer = os.pipe()
    alive_reader, alive_writer = os.pipe()
    children: set[int] = set()
    for _ in range(workers):
        child = os.fork()
        if child == 0:
            os.close(alive_writer)
            _run_child(run_server, ready_writer, alive_reader)
        children.add(child)
    os.close(ready_writer)
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if sum(len(os.read(ready_reader, 1)) for _ in range(workers)) == workers:
        announce()
    code = 0
    while children:
        child, status = os.wait()
        children.discard(child)
        code = max(code, 0 if stopping else 1)
        if not stopping:
            print(f"Simulator: worker {child} ended (status {status}); stopping", file=sys.stderr, flush=True)
            stop()
    return code


def _run_child(run_server: Callable[[Callable[[], None], int | None], None], ready: int, parent: int) -> None:
    """The whole life of a forked worker."""
    code = 1
    try:

        def announce() -> None:
            os.write(ready, b".")

        run_server(announce, parent)
        code = 0
    except BaseException:  # a fork must never return into the parent's stack: its fault is printed, then it ends
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _write_whole(path: Path, text: str) -> None:
    """Whoever waits for the file must never read half of it."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)
