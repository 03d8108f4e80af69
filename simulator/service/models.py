"""What is deployed here: the addresses that say so, one deployment or all. No completion, so not in the truth log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.config.live import LiveSettings
from simulator.service.credentials import is_authorized
from simulator.wire import azure as wire
from simulator.wire.azure import Refusal


def model_routes(live: LiveSettings) -> list[BaseRoute]:
    """Routes of all three styles of address."""
    return [
        Route("/openai/deployments", _list(live), methods=["GET"]),
        Route("/openai/models", _list(live), methods=["GET"]),
        Route("/openai/models/{model:path}", _describe(live, "azure"), methods=["GET"]),
        Route("/openai/deployments/{model}", _describe(live, "azure"), methods=["GET"]),
        Route("/openai/v1/models", _list(live), methods=["GET"]),
        Route("/openai/v1/models/{model:path}", _describe(live, "azure-v1"), methods=["GET"]),
        Route("/v1/models", _list(live), methods=["GET"]),
        Route("/v1/models/{model:path}", _describe(live, "openai"), methods=["GET"]),
    ]


def _list(live: LiveSettings) -> Callable[[Request], Response]:
    def list_models(request: Request) -> Response:
        if not is_authorized(request.headers, live.current):
            return _refuse(wire.UNAUTHORIZED)
        names = list(live.current.deployments)
        if "anthropic-version" in request.headers:
            return JSONResponse(_anthropic_list(names))
        return JSONResponse({"object": "list", "data": [_model(name) for name in names]})

    return list_models


def _describe(live: LiveSettings, style: str) -> Callable[[Request], Response]:
    def describe_model(request: Request) -> Response:
        name = request.path_params["model"]
        if not is_authorized(request.headers, live.current):
            return _refuse(wire.UNAUTHORIZED)
        if name not in live.current.deployments:
            return _refuse(wire.no_model(name) if style == "openai" else wire.NO_DEPLOYMENT)
        return JSONResponse(_model(name))

    return describe_model


def _anthropic_list(names: list[str]) -> dict[str, Any]:
    """The list as Anthropic's API has it."""
    data = [{"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in names]
    first, last = (names[0], names[-1]) if names else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}


def _model(name: str) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": 1_767_225_600, "owned_by": "simulator"}


def _refuse(refusal: Refusal) -> Response:
    return Response(refusal.body, refusal.status, media_type="application/json")
