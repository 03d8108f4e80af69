"""Both targets and the admin routes in one ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from simulator.apis.call import Api
from simulator.apis.chat import ChatApi
from simulator.apis.completions import CompletionsApi
from simulator.apis.embeddings import EmbeddingsApi
from simulator.apis.messages import MessagesApi
from simulator.apis.responses import ResponsesApi
from simulator.apps.front_end import front_ends
from simulator.apps.socket import SocketFrontEnd
from simulator.config.live import LiveSettings
from simulator.config.settings import Settings
from simulator.config.shared import SharedState
from simulator.rag.target import Orchestrator, RagSettings
from simulator.server.admin import Admin
from simulator.service.conversations import Conversations
from simulator.service.models import model_routes
from simulator.service.target import ModelTarget, Work
from simulator.truth.azure_monitor import Monitor
from simulator.truth.log import FLUSH_AFTER_S, TruthLog
from simulator.truth.prometheus import render_metrics
from simulator.wire import azure as wire
from simulator.wire.exchange import Exchange, Gone
from simulator.wire.fault_injection import FaultGate

RAG_DEPLOYMENT = "gpt-4.1-nano"
"""Chat deployment that the orchestrator calls unless its settings name another."""


def build_app(
    live: LiveSettings,
    shared: SharedState,
    truth: TruthLog,
    *,
    own_url: str,
    state_dir: Path,
    admin_token: str | None = None,
) -> Starlette:
    """`own_url`: where the application will be reached, for the orchestrator's calls to the chat target."""
    work = Work(Conversations(shared.directory))
    truth.gauges = work.gauges
    orchestrator = _orchestrator(live.current, truth, own_url, state_dir)
    routes: list[BaseRoute] = [
        *_api_routes(live, shared, truth, work),
        *model_routes(live),
        *_gated(orchestrator.routes(), live),
        *front_ends(orchestrator.pipeline, live, truth),
        SocketFrontEnd(orchestrator.pipeline, live, truth).route(),
        *Admin(live, shared, truth, admin_token).routes(),
        Route("/metrics", _metrics(truth), methods=["GET"]),
        Route("/subscriptions/{subscription}/metrics:getBatch", Monitor(truth), methods=["POST"]),
        Route("/{path:path}", Nowhere(truth)),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        truth.flush()
        flushing = asyncio.create_task(_keep_flushing(truth))
        try:
            yield
        finally:
            flushing.cancel()
            await orchestrator.aclose()
            truth.close()

    return Starlette(routes=routes, lifespan=lifespan)


def _api_routes(live: LiveSettings, shared: SharedState, truth: TruthLog, work: Work) -> list[BaseRoute]:
    """Every API at every style of address that serves it."""

    def route(path: str, api: Api, style: str) -> Route:
        return Route(path, ModelTarget(api, style, live, shared, truth, work), methods=["POST"])

    chat, responses, messages = ChatApi(), ResponsesApi(), MessagesApi()
    apis: list[tuple[str, Api]] = [
        ("chat/completions", chat),
        ("completions", CompletionsApi()),
        ("embeddings", EmbeddingsApi()),
    ]
    return [
        *(route(f"/openai/deployments/{{deployment}}/{path}", api, "azure") for path, api in apis),
        route("/openai/responses", responses, "azure"),
        *(route(f"/openai/v1/{path}", api, "azure-v1") for path, api in [*apis, ("responses", responses)]),
        *(route(f"/v1/{path}", api, "openai") for path, api in [*apis, ("responses", responses)]),
        route("/anthropic/v1/messages", messages, "azure-v1"),
        route("/v1/messages", messages, "openai"),
    ]


def _gated(routes: list[BaseRoute], live: LiveSettings) -> list[BaseRoute]:
    """The same routes with faults to be had."""
    return [
        Route(route.path, FaultGate(route.app, live), methods=list(route.methods or ()))
        for route in routes
        if isinstance(route, Route)
    ]


def _orchestrator(settings: Settings, truth: TruthLog, own_url: str, state_dir: Path) -> Orchestrator:
    values: dict[str, Any] = {"deployment": RAG_DEPLOYMENT, "seed": settings.seed} | settings.rag
    values.pop("faults", None)
    return Orchestrator(
        RagSettings(
            chat_url=own_url,
            chat_key=settings.api_key,
            functions_key=settings.functions_key,
            history_path=state_dir / "history.sqlite",
            **values,
        ),
        truth,
    )


async def _keep_flushing(truth: TruthLog) -> None:
    while True:
        await asyncio.sleep(FLUSH_AFTER_S)
        truth.flush()


def _metrics(truth: TruthLog) -> Callable[[Request], Response]:
    def show_metrics(request: Request) -> Response:
        text = render_metrics(truth.total(), truth.all_gauges())
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return show_metrics


class Nowhere:
    """Whatever no target serves: 404, and a line in the truth log, so that a request to a wrong address is seen."""

    def __init__(self, truth: TruthLog) -> None:
        self._truth = truth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        entry = exchange.entry
        entry.update(target="none", request_id=str(uuid.uuid4()), outcome="http_error", reason="path")
        try:
            await exchange.read_body()
            await exchange.respond(wire.NO_RESOURCE.status, {}, wire.NO_RESOURCE.body)
        except Gone:
            entry.update(outcome="client_gone", reason=None)
        finally:
            entry.setdefault("finished_at", time.time())
            self._truth.write(entry)
