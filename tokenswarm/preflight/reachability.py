"""One look at the targets before anybody is sent to them: reachable, key accepted, deployment there.

Asks nothing that would generate a token. Only what is certainly wrong stops a start; a service that does not know the
question, or takes long to answer it, gets the benefit of the doubt.
"""

from __future__ import annotations

import json
from urllib.parse import quote, urlsplit

import httpx2

from tokenswarm.apis.request import ChatTarget, write_request
from tokenswarm.client.sdk import make_sdk_client
from tokenswarm.config.settings import Settings
from tokenswarm.transport.exchange import Origin, Transport
from tokenswarm.transport.proxies import proxy_for
from tokenswarm.transport.reading import Exchange

PATIENCE_S = 10.0
NOT_THERE = frozenset({"DeploymentNotFound", "model_not_found"})
"""Error codes of a 404 that is about the deployment and not about the address."""


def check_targets(settings: Settings) -> list[str]:
    """What would make every request of this run fail, one line each."""
    problems: list[str] = []
    if settings.chat is not None:
        problems += _check_chat(settings.chat, _transport(settings, settings.chat.endpoint))
    if settings.rag is not None:
        problems += check_connection("orchestrator", settings.rag.url, settings)
    if settings.host is not None:
        problems += check_connection("host", settings.host, settings)
    return problems


def _check_chat(target: ChatTarget, transport: Transport) -> list[str]:
    exchange = _ask(target, transport)
    host = urlsplit(target.endpoint).netloc
    if exchange.connect_ms is None:
        return [f"chat endpoint: expected a connection to {host}, got none ({exchange.error})"]
    code, message = _read_error(exchange.body)
    if exchange.status in (401, 403):
        said = f" ({message})" if message else ""
        return [f"API key: expected one that {host} accepts, got HTTP {exchange.status}{said}"]
    if exchange.status == 404 and code in NOT_THERE:
        return [f"deployment: expected one of {host}, got {target.deployment!r}, which it does not have ({code})"]
    return []


def _ask(target: ChatTarget, transport: Transport) -> Exchange:
    """Ask for the deployment itself, with the credentials of the run, as the SDK would."""
    kept: list[Exchange] = []

    def send(request: httpx2.Request) -> httpx2.Response:
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "accept-encoding")}
        url = str(request.url)
        origin = _origin(url)
        data = write_request("GET", url, headers, b"", transport.writes_absolute(origin))
        kept.append(transport.send(origin, data, lambda _status, _headers: None, PATIENCE_S))
        return httpx2.Response(200)

    path = ("/deployments/" if target.api == "azure" else "/models/") + quote(target.deployment, safe="")
    try:
        with make_sdk_client(target, httpx2.MockTransport(send)) as client:
            client.get(path, cast_to=httpx2.Response)
    finally:
        transport.close()
    return kept[0]


def check_connection(what: str, url: str, settings: Settings) -> list[str]:
    """Only the connection: whatever an orchestrator or an unknown API is asked costs tokens."""
    error = _transport(settings, url).try_connection(_origin(url), PATIENCE_S)
    return [f"{what}: expected a connection to {urlsplit(url).netloc}, got none ({error})"] if error else []


def _transport(settings: Settings, url: str) -> Transport:
    scheme, host, port = _origin(url)
    return Transport(settings.sending.tls, proxy_for(scheme, host, port))


def _origin(url: str) -> Origin:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _read_error(body: bytes) -> tuple[str | None, str | None]:
    """Code and message of an error body in the service's form; `None` where there is none."""
    try:
        error = json.loads(body)["error"]
        return error.get("code"), error.get("message")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, None
