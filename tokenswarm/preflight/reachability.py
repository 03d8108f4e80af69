"""One look at the targets before anybody is sent to them: reachable, key accepted, deployment there.

Asks nothing that would generate a token. Only what is certainly wrong stops a start; a service that does not know the
question, or takes long to answer it, gets the benefit of the doubt. The deployment is looked up first. Where that is
refused or unknown (keys may be limited to asking, gateways pass nothing else on), the run's own URL is asked, without
messages: a key that is refused there, too, or a model that is not there stops the start.
"""

from __future__ import annotations

import json
import logging
import re
from urllib.parse import quote, urlsplit

from tokenswarm.apis.named import path_of
from tokenswarm.apis.request import ChatTarget, write_request
from tokenswarm.client.endpoint import Address, extended
from tokenswarm.client.sdk import SdkEndpoint, chat_endpoint
from tokenswarm.config.settings import Settings
from tokenswarm.redaction import SECRETS
from tokenswarm.transport.exchange import Origin, Transport
from tokenswarm.transport.proxies import proxy_for
from tokenswarm.transport.reading import Exchange
from tokenswarm.userinput import BadInput, parse_json

logger = logging.getLogger(__name__)

PATIENCE_S = 10.0
MAX_NAMED = 20
"""Models that a message lists at most."""
_NOT_AN_ADDRESS = frozenset({301, 302, 303, 307, 308, 404, 405})
_NO_SUCH_MODEL = re.compile(r"\bmodel\b.*\b(not found|does not exist|not exist)|\binvalid model\b", re.IGNORECASE)
"""How servers without codes of their own say it (vLLM, Ollama, LiteLLM)."""

_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""Reasons of OpenSSL when what it reads is not TLS."""
_CUT = re.compile("connection closed before an answer|ConnectionResetError")
"""How a server that expects TLS may meet a plain request."""

NOT_THERE = frozenset({"DeploymentNotFound", "model_not_found"})
"""Error codes of a 404 that is about the deployment and not about the address."""


def check_targets(settings: Settings) -> list[str]:
    """What would make every request of this run fail, one line each."""
    problems: list[str] = []
    for chat in chat_targets(settings):
        problems += _check_chat(chat, settings)
    if settings.rag is not None:
        problems += check_connection("orchestrator", settings.rag.url, settings)
    if settings.host is not None:
        problems += check_connection("host", settings.host, settings)
    return problems


def chat_targets(settings: Settings) -> list[ChatTarget]:
    """The targets of chat users: one, or those that share the requests."""
    if settings.several is not None:
        return list(settings.several.targets.values())
    return [settings.chat] if settings.chat is not None else []


def _check_chat(target: ChatTarget, settings: Settings) -> list[str]:
    """Look the deployment up; where that says nothing, ask what the run will ask, with nothing in it to answer."""
    if target.app is not None:
        return check_connection("app", target.endpoint, settings)
    looked_up = _look_up(target, settings)
    host = urlsplit(target.endpoint).netloc
    hint = other_scheme(target.endpoint, looked_up.error or "", settings) if looked_up.status is None else ""
    if looked_up.connect_ms is None or hint:
        return [f"chat endpoint: expected a connection to {host}, got none ({looked_up.error}{hint})"]
    named_otherwise = target.api == "azure-v1"  # which lists models, while a deployment may have a name of its own
    if not named_otherwise and (problems := _missing_deployment(target, looked_up)):
        return problems
    if looked_up.status is None or 200 <= looked_up.status < 300:
        return []
    address = chat_endpoint(target, settings.sending).at(path_of(target))
    asked = _send("POST", address, json.dumps({"model": target.deployment, "max_tokens": 1}).encode(), settings)
    if asked.status in (401, 403):
        return [f"API key: expected one that {host} accepts, got HTTP {asked.status}{_said(asked)}"]
    if problems := _missing_deployment(target, asked):
        return problems
    if looked_up.status in (401, 403):
        logger.warning(
            "The key may not look models up at %s (HTTP %d%s): the first answers say whether it may ask them",
            host,
            looked_up.status,
            _said(looked_up),
        )
    if asked.status in _NOT_AN_ADDRESS:
        location = asked.headers.get("location")
        where = f", to {SECRETS.redact(location):.200}" if location else ""
        logger.warning("POST %s got HTTP %d%s: it may not be the API's address", address.url, asked.status, where)
    return []


def choose_model(settings: Settings) -> str:
    """The model where none was named: the service's only one. Raises `BadInput` when it lists several or none."""
    assert settings.chat is not None
    host = urlsplit(settings.chat.endpoint).netloc
    address = extended(SdkEndpoint(settings.chat), settings.sending).at("/models")
    listed = _send("GET", address, b"", settings)
    if listed.connect_ms is None:
        raise BadInput([f"chat endpoint: expected a connection to {host}, got none ({listed.error})"])
    models = _model_names(listed.body)
    if len(models) == 1:
        return models[0]
    found = f"several at {host}: {', '.join(models[:MAX_NAMED])}" if models else f"none, and {host} lists no models"
    raise BadInput([f"deployment: expected --deployment, AZURE_OPENAI_DEPLOYMENT or OPENAI_MODEL, got {found}"])


def _model_names(body: bytes) -> list[str]:
    """The ids of a list of models; empty when the body is none."""
    try:
        return [str(model["id"]) for model in parse_json(body)["data"]]
    except (ValueError, KeyError, TypeError):
        return []


def _look_up(target: ChatTarget, settings: Settings) -> Exchange:
    """Ask for the deployment itself, with the credentials of the run."""
    path = ("/deployments/" if target.api == "azure" else "/models/") + quote(target.deployment, safe="")
    endpoint = extended(SdkEndpoint(target), settings.sending)
    return _send("GET", endpoint.at(path), b"", settings)


def _send(method: str, address: Address, body: bytes, settings: Settings) -> Exchange:
    origin = _origin(address.url)
    transport = _transport(settings, address.url)
    data = write_request(method, address.url, address.headers, body, transport.writes_absolute(origin))
    try:
        return transport.send(origin, data, lambda _status, _headers: None, PATIENCE_S)
    finally:
        transport.close()


def _missing_deployment(target: ChatTarget, exchange: Exchange) -> list[str]:
    code, message = _read_error(exchange.body)
    unknown = exchange.status == 404 and code in NOT_THERE
    if not unknown and not (exchange.status in (400, 404) and _NO_SUCH_MODEL.search(str(message or ""))):
        return []
    host, said = urlsplit(target.endpoint).netloc, code if unknown else message
    return [f"deployment: expected one of {host}, got {target.deployment!r}, which it does not have ({said})"]


def _said(exchange: Exchange) -> str:
    _, message = _read_error(exchange.body)
    return f" ({message})" if message else ""


def check_connection(what: str, url: str, settings: Settings) -> list[str]:
    """Only the connection: whatever an orchestrator or an unknown API is asked costs tokens."""
    error = _transport(settings, url).try_connection(_origin(url), PATIENCE_S)
    hint = other_scheme(url, error or "", settings)
    return [f"{what}: expected a connection to {urlsplit(url).netloc}, got none ({error}{hint})"] if error else []


def other_scheme(url: str, error: str, settings: Settings) -> str:
    """What to do where nobody listens, and where http was given for https, or https for http; empty where it is
    something else. `error`: of the request that was not answered."""
    if "Connection refused" in error:
        return "; is it running, and is the port right?"
    if "getaddrinfo" in error or "gaierror" in error:
        return "; is the host's name right?"
    scheme, host, port = _origin(url)
    if scheme == "https":
        speaks_plain = any(reason in error for reason in _NO_TLS)
        return f"; it does not speak https: give http://{urlsplit(url).netloc}" if speaks_plain else ""
    if not _CUT.search(error):
        return ""
    problem = _transport(settings, url).try_connection(("https", host, port), PATIENCE_S)
    speaks_tls = problem is None or problem.startswith("TLS certificate")
    return f"; it speaks https: give https://{urlsplit(url).netloc}" if speaks_tls else ""


def _transport(settings: Settings, url: str) -> Transport:
    scheme, host, port = _origin(url)
    return Transport(settings.sending.tls, proxy_for(scheme, host, port))


def _origin(url: str) -> Origin:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _read_error(body: bytes) -> tuple[str | None, str | None]:
    """Code and message of an error body in the service's form; `None` where there is none."""
    try:
        answer = parse_json(body)
        error = answer.get("error", answer)
        return (None, error) if isinstance(error, str) else (error.get("code"), error.get("message"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, None
