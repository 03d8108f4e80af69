"""What a run is about to ask, and what of that was inferred: said at each start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenswarm.apis.named import path_of
from tokenswarm.apis.request import ChatTarget
from tokenswarm.apps.app import App
from tokenswarm.client.sdk import chat_endpoint
from tokenswarm.config.environment import (
    ENDPOINT_NAMES,
    MESSAGES_ENDPOINT_NAMES,
    RAG_ENDPOINT_NAMES,
    Environment,
    api_key_name,
    option_source,
    rag_key_names,
)
from tokenswarm.config.settings import Settings
from tokenswarm.config.targets import takes_limit
from tokenswarm.preflight.reachability import chat_targets

_KEY_HEADERS = ("api-key", "authorization", "x-api-key")


def describe_targets(settings: Settings, options: Mapping[str, Any], environment: Environment) -> list[str]:
    """One line for each target: its URL, API, credentials and model, each with where it comes from. No secrets."""
    lines = []
    lines += [_chat_line(chat, settings, options, environment) for chat in chat_targets(settings)]
    if settings.rag is not None:
        rag = settings.rag
        names = rag_key_names(environment, rag.contract)
        keys = ", ".join(f"{header} from {_source(environment, name)}" for header, name in names.items()) or "no key"
        host = _host_source(options, environment, RAG_ENDPOINT_NAMES)
        lines.append(f"Target: POST {rag.url} (host from {host}), contract {rag.contract}; {keys}")
    if settings.host is not None:
        lines.append(f"Target: {settings.host}, as its locustfile asks it")
    return lines


def _chat_line(target: ChatTarget, settings: Settings, options: Mapping[str, Any], environment: Environment) -> str:
    address = chat_endpoint(target, settings.sending).at(path_of(target))
    named = "as given" if options.get("api") else "inferred"
    names: tuple[str, ...] = RAG_ENDPOINT_NAMES if target.app is not None else ENDPOINT_NAMES
    if target.asks == "messages":
        names = MESSAGES_ENDPOINT_NAMES
    host = _host_source(options, environment, names)
    given = options.get("host") or environment.get(environment.first(names) or "")
    if settings.several is not None and target.endpoint != settings.url:
        host, given = "--targets", target.endpoint
    if target.app is not None:
        over = "a WebSocket at" if isinstance(target.app, App) and target.app.mapping.stream == "websocket" else "POST"
        said = f"{_app_words(options)}{_unsent_limit(target, options)}{_further(settings)}"
        return f"Target: {over} {address.url} (host from {host}), {said}"
    return (
        f"Target: POST {address.url} (host from {host}), api {target.api} ({named}); "
        f"{_credentials(target, address.headers, environment, given)}; "
        f"model {target.deployment} ({_model_source(options, environment)}){_further(settings)}"
    )


def _app_words(options: Mapping[str, Any]) -> str:
    """Which preset an application is asked by, and which options say more."""
    given = [name.replace("_", "-") for name, value in options.items() if name.startswith("app_") and value]
    own = [name for name in given if name != "app-preset"]
    preset = f"app-preset {options['app_preset']}" if "app-preset" in given else "app"
    return preset + (f" with {', '.join(own)}" if own else "")


def _unsent_limit(target: ChatTarget, options: Mapping[str, Any]) -> str:
    """That a limit of tokens is not sent, where one is asked for and the application's template has no place for it."""
    given = [name for name in ("max_tokens", "shape_profile") if options.get(name)]
    if takes_limit(target) or not given:
        return ""
    return f"; {given[0].replace('_', '-')} sends no limit: app-body has no {{{{max_tokens}}}}"


def _further(settings: Settings) -> str:
    return f"; further headers {', '.join(settings.sending.headers)}" if settings.sending.headers else ""


def _credentials(target: ChatTarget, headers: Mapping[str, str], environment: Environment, host: str | None) -> str:
    header = next((name for name in headers if name.lower() in _KEY_HEADERS), None)
    if target.token_provider is not None:
        return f"Entra token in {header}"
    name = api_key_name(environment, target.api, target.asks, host)
    if name is None or target.key != environment[name]:
        return "no key"
    return f"key {_source(environment, name)} in {header}"


def _host_source(options: Mapping[str, Any], environment: Environment, names: tuple[str, ...]) -> str:
    """The name that has the host's value; else it was given as an option, by whichever of Locust's ways."""
    given = options.get("rag_host") or options.get("host")
    found = next((name for name in names if name in environment and environment[name] == given), None)
    if found is None and not given:
        found = environment.first(names)
    return "--host" if found is None else _source(environment, found)


def _model_source(options: Mapping[str, Any], environment: Environment) -> str:
    if options.get("targets"):
        return "--targets"
    if options.get("deployment"):
        return "--deployment"
    return option_source(environment, "deployment") or "from the URL"


def _source(environment: Environment, name: str) -> str:
    return f"{name} ({environment.source(name)})"
