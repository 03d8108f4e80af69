"""Routes for whoever runs the simulator: health, settings, counters. Not part of any target, not in the truth log."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.config.live import LiveSettings
from simulator.config.settings import ConfigError
from simulator.config.shared import SharedState
from simulator.truth.log import TruthLog

LONGEST_OUTAGE_S = 3600.0

PATIENCE_S = 2.0
"""Longest wait for the other processes; they flush four times a second."""

Handler = Callable[[Request], Awaitable[Response]]


class Admin:
    """`token`: what `/admin/...` asks for as a bearer token; None on loopback, where it is open."""

    def __init__(self, live: LiveSettings, shared: SharedState, truth: TruthLog, token: str | None) -> None:
        self._live = live
        self._shared = shared
        self._truth = truth
        self._token = token

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/healthz", self._health, methods=["GET"]),
            Route("/admin/config", self.guarded(self._read_config), methods=["GET"]),
            Route("/admin/config", self.guarded(self._patch_config), methods=["PATCH"]),
            Route("/admin/reset", self.guarded(self._reset), methods=["POST"]),
            Route("/admin/truth", self.guarded(self._counters), methods=["GET"]),
            Route("/admin/outage", self.guarded(self._outage), methods=["POST"]),
            Route("/admin/flush", self.guarded(self._flush), methods=["POST"]),
        ]

    def guarded(self, handler: Handler) -> Handler:
        """`handler` behind the token."""

        async def check_token(request: Request) -> Response:
            expected = f"Bearer {self._token}"
            given = request.headers.get("authorization", "")
            if self._token is not None and not hmac.compare_digest(given.encode(), expected.encode()):
                return JSONResponse({"problems": ["authorization: expected the admin token as a bearer token"]}, 401)
            return await handler(request)

        return check_token

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _read_config(self, request: Request) -> Response:
        return JSONResponse(self._live.current.to_json())

    async def _patch_config(self, request: Request) -> Response:
        try:
            changes: Any = await request.json()
            if not isinstance(changes, dict):
                raise ConfigError([f"the request: expected a JSON object, got {type(changes).__name__}"])
            return JSONResponse(self._live.patch(changes).to_json())
        except ConfigError as error:
            return JSONResponse({"problems": error.problems}, 400)
        except ValueError as error:
            return JSONResponse({"problems": [f"the request: expected JSON, got: {error}"]}, 400)

    async def _reset(self, request: Request) -> Response:
        """Limiters start anew."""
        self._shared.clear()
        return JSONResponse({"status": "reset"})

    async def _outage(self, request: Request) -> Response:
        """Refuse connections for `seconds` and abort those that exist, but only after this answer."""
        go_away: Callable[[float], Callable[[], Awaitable[None]]] | None = getattr(request.app.state, "go_away", None)
        if go_away is None:
            return JSONResponse({"problems": ["an outage: expected a simulator with one process"]}, 409)
        try:
            seconds = float((await request.json())["seconds"])
            if not 0 <= seconds <= LONGEST_OUTAGE_S:
                raise ValueError(seconds)
        except (ValueError, TypeError, KeyError, OverflowError):
            problem = f'the request: expected {{"seconds": a number from 0 to {LONGEST_OUTAGE_S:.0f}}}'
            return JSONResponse({"problems": [problem]}, 400)
        return JSONResponse({"status": "away", "seconds": seconds}, background=BackgroundTask(go_away(seconds)))

    async def _counters(self, request: Request) -> Response:
        return JSONResponse(self._truth.counters())

    async def _flush(self, request: Request) -> Response:
        """Everything that was answered before this request is in the log file, whichever process answered it."""
        asked_at = time.monotonic()
        self._truth.flush()
        while not self._truth.others_flushed_since(asked_at) and time.monotonic() < asked_at + PATIENCE_S:
            await asyncio.sleep(0.02)
        return JSONResponse(self._truth.counters())
