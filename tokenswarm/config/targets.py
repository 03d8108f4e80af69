"""Which service is meant: the chat target and the orchestrator, from options and the environment. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tokenswarm.apis.request import ChatTarget, RagTarget, TokenProvider
from tokenswarm.apps.app import App, problems_of_each
from tokenswarm.apps.mapping import read_mapping
from tokenswarm.config.chat_url import is_azure_host, read_chat_url
from tokenswarm.config.environment import (
    AZURE_KEY_NAMES,
    MESSAGES_ENDPOINT_NAMES,
    OPENAI_KEY_NAMES,
    Environment,
    api_key_name,
    endpoint_problems,
    rag_endpoint_problems,
    rag_headers,
    rag_key_names,
)
from tokenswarm.config.key_owner import ENTRA_TOKEN, OWN_API_KEY, KeyOwner
from tokenswarm.userinput import BadInput, parse_json, read_number

DEFAULT_API_VERSION = "2024-10-21"
"""The newest generally available version of the deployments URL (Azure OpenAI API version lifecycle)."""

_ALWAYS_KEYED = ("api.openai.com", "api.anthropic.com")
APIS = ("azure", "azure-v1", "openai")
MAX_TARGETS = 20
NO_KEY = "none"
"""Sent where no key was given: servers of one's own seldom ask for one, and the SDK insists on one."""
_RAG_PATHS = {"v1": "/api/orc", "v2": "/orchestrator"}

Get = Callable[[str], str | None]
"""Looks up an option, or the environment's value for it; `None` when neither is given."""


def build_chat_target(
    get: Get, environment: Environment, token: TokenProvider | None, owner: KeyOwner, problems: list[str]
) -> ChatTarget | None:
    """The chat target; what is missing or wrong is added to `problems`, and then there is none."""
    endpoint = get("host")
    if not endpoint:
        expected = f"--host, {_endpoint_names(get('endpoint'))}"
        problems.append(f"chat endpoint: expected {expected}, got none ({_where_to_look(get, environment)})")
        return None
    if wrong := endpoint_problems(endpoint, "chat endpoint"):
        problems += wrong
        return None
    if (given := get("api")) not in (None, *APIS):
        problems.append(f"api: expected {' or '.join(APIS)}, got {given!r}")
        return None
    url = read_chat_url(endpoint, environment, given, get("api-version"))
    asks = get("endpoint") or url.asks or "chat"
    api, deployment = url.api, get("deployment") or url.deployment
    if not deployment and api != "openai":
        problems.append("deployment: expected --deployment, AZURE_OPENAI_DEPLOYMENT or AOAI_DEPLOYMENT, got none")
    key_name = ENTRA_TOKEN if token is not None else api_key_name(environment, api, asks, endpoint)
    if key_name is not None and (problem := owner.problem(key_name, endpoint, environment)):
        problems.append(problem)
        return None
    key = None if token is not None else _key(key_name, api, asks, endpoint, environment, problems)
    return ChatTarget(
        api=api,
        endpoint=url.base,
        deployment=deployment or "",
        asks=asks,
        api_version=get("api-version") or url.api_version or DEFAULT_API_VERSION,
        key=key,
        token_provider=token,
    )


@dataclass(frozen=True, slots=True)
class SeveralTargets:
    """The targets that share a run, by the names that rows give them. `weights`: `None` where each but the first is
    asked only when the one before it cannot serve."""

    targets: Mapping[str, ChatTarget]
    weights: Sequence[float] | None


@dataclass(frozen=True, slots=True)
class TargetGiven:
    """One entry of the option `targets`."""

    deployment: str
    host: str | None
    weight: float

    @property
    def name(self) -> str:
        return self.deployment if self.host is None else f"{self.deployment} @ {urlsplit(self.host).netloc}"


def parse_several(text: str) -> tuple[list[TargetGiven], bool]:
    """`gpt-4.1 = 3, gpt-4.1-mini @ https://other.example = 1`, or `first > second`; and whether it is by priority.
    Raises `BadInput` with every problem."""
    by_priority = ">" in text
    parts = [part.strip() for part in text.split(">" if by_priority else ",")]
    problems: list[str] = []
    found = [_target_given(part, by_priority, problems) for part in parts]
    names = [each.name for each in found]
    if not 2 <= len(parts) <= MAX_TARGETS:
        problems.append(f"targets: expected 2 to {MAX_TARGETS} of them, got {len(parts)}")
    problems += [
        f"targets: expected each once, got {name!r} again" for name in {n for n in names if names.count(n) > 1}
    ]
    if problems:
        raise BadInput(problems)
    return found, by_priority


def _target_given(part: str, by_priority: bool, problems: list[str]) -> TargetGiven:
    where, _, weighed = part.partition("=")
    deployment, at, host = (each.strip() for each in where.partition("@"))
    weight = read_number(weighed.strip()) if weighed else 1.0
    if not deployment or not deployment.isprintable() or "," in deployment:
        problems.append(f"targets: expected a deployment, got {part!r:.80}")
    if weight is None or not 0 < weight <= 1e6 or (weighed and by_priority):
        expected = "no weight beside >" if by_priority else "a weight above 0"
        problems.append(f"targets: expected {expected}, got {weighed.strip()!r:.40}")
    if at:
        problems += endpoint_problems(host, "targets")
    return TargetGiven(deployment, host if at else None, weight or 1.0)


def build_several(
    get: Get, environment: Environment, token: TokenProvider | None, owner: KeyOwner, problems: list[str]
) -> SeveralTargets | None:
    """The targets of the option `targets`, each with the key of its own host; `None` without it, or where something is
    wrong, which is added to `problems`."""
    text = get("targets")
    if text is None:
        return None
    try:
        given, by_priority = parse_several(text)
    except BadInput as error:
        problems += error.problems
        return None
    targets: dict[str, ChatTarget] = {}
    for each in given:
        own = {"deployment": each.deployment, "host": each.host}
        target = build_chat_target(partial(_first_given, own, get), environment, token, owner, problems)
        if target is not None:
            targets[each.name] = target
    if len(targets) < len(given):
        return None
    return SeveralTargets(targets, None if by_priority else [each.weight for each in given])


def _first_given(own: Mapping[str, str | None], get: Get, name: str) -> str | None:
    return own.get(name) or get(name)


def _endpoint_names(asks: str | None) -> str:
    return "ANTHROPIC_BASE_URL or OPENAI_BASE_URL" if asks == "messages" else "AZURE_OPENAI_ENDPOINT or OPENAI_BASE_URL"


def build_app_target(
    get: Get, environment: Environment, owner: KeyOwner, carries_keys: bool, problems: list[str]
) -> ChatTarget | None:
    """An application with a format of its own; what is missing or wrong is added to `problems`, and then there is
    none. Keys go in the option `headers` alone: `carries_keys`, whether there are any."""
    found: list[str] = []
    model = get("deployment") or ""
    app = None
    try:
        mapping = read_mapping(get)
    except BadInput as error:
        found += [*error.problems, *problems_of_each(get)]
    else:
        try:
            app = App(mapping, model)
        except BadInput as error:
            found += error.problems
    endpoint = get("host") or get("rag-host")
    if not endpoint:
        found.append("app: expected --host, the application's URL, got none")
    elif wrong := rag_endpoint_problems(endpoint, "app"):
        found += wrong
    elif carries_keys and (problem := owner.problem(OWN_API_KEY, endpoint, environment)):
        found.append(problem)
    if (stream := get("stream")) is not None and stream != "yes":
        found.append(f"stream: expected app-stream = json for an application that answers in one body, got {stream!r}")
    problems += found
    if found or app is None or endpoint is None:
        return None
    url = _joined(endpoint, app.mapping.path)
    return ChatTarget(api="app", endpoint=url, deployment=model, asks="app", app=app, headers=app.headers)


def takes_limit(target: ChatTarget) -> bool:
    """Whether questions say how long answers may be: an application's template has a place for it, or none."""
    return not isinstance(target.app, App) or "max_tokens" in target.app.placeholders


def _joined(endpoint: str, path: str) -> str:
    """The URL of a path below an endpoint, which may name that path already."""
    parts = urlsplit(endpoint)
    base, path = parts.path.rstrip("/"), "/" + path.lstrip("/") if path else ""
    whole = (base if base.endswith(path) else base + path) or "/"
    return f"{parts.scheme}://{parts.netloc}{whole}"


def build_rag_target(get: Get, environment: Environment, owner: KeyOwner, problems: list[str]) -> RagTarget | None:
    """The orchestrator; what is missing or wrong is added to `problems`, and then there is none."""
    endpoint = get("rag-host") or get("host")
    if not endpoint:
        problems.append("orchestrator: expected --host, --rag-host or ORCHESTRATOR_ENDPOINT, got none")
        return None
    if wrong := rag_endpoint_problems(endpoint, "orchestrator"):
        problems += wrong
        return None
    contract = get("rag-contract") or "v1"
    if contract not in _RAG_PATHS:
        problems.append(f"rag-contract: expected v1 or v2, got {contract!r}")
        return None
    path = get("rag-path") or _RAG_PATHS[contract]
    names = rag_key_names(environment, contract).values()
    if refused := [each for name in names if (each := owner.problem(name, endpoint, environment))]:
        problems += refused
        return None
    headers = rag_headers(environment, contract)
    if not headers and get("rag-path") is None:
        wanted = "ORCHESTRATOR_FUNCTION_KEY" if contract == "v1" else "ORCHESTRATOR_APP_APIKEY and DAPR_API_TOKEN"
        looked_for = f"no key was given; looked for {wanted} in the environment and env files"
        problems.append(f"orchestrator key: expected a key, got none ({looked_for})")
    return RagTarget(
        contract=contract,
        url=endpoint.rstrip("/") + "/" + path.lstrip("/"),
        headers=headers,
        body=_json_object(get("rag-body"), "rag-body", problems),
        answer_path=get("rag-answer-path") or "answer",
    )


def build_host(get: Get, environment: Environment, owner: KeyOwner, problems: list[str]) -> str | None:
    """The base URL for users with an API of their own; what is missing or wrong is added to `problems`."""
    host = get("host")
    wrong = endpoint_problems(host, "host") if host else ["host: expected --host, the base URL of the API, got none"]
    if host and not wrong and (problem := owner.problem(OWN_API_KEY, host, environment)):
        wrong = [problem]
    problems += wrong
    return None if wrong else host


def _key(
    name: str | None, api: str, asks: str, endpoint: str, environment: Environment, problems: list[str]
) -> str | None:
    if name is not None:
        return environment[name]
    hostname = urlsplit(endpoint).hostname or ""
    if api == "openai" and hostname not in _ALWAYS_KEYED and not is_azure_host(endpoint):
        return NO_KEY
    names = OPENAI_KEY_NAMES if api == "openai" else AZURE_KEY_NAMES
    looked_at = " and ".join((*(("ANTHROPIC_API_KEY",) if asks == "messages" else ()), *names))
    blank = environment.left_blank(names)
    looked_for = f"no key was given; looked for {looked_at} in the environment and env files{blank}"
    problems.append(f"API key: expected a key or --auth entra, got none ({looked_for})")
    return None


def _where_to_look(get: Get, environment: Environment) -> str:
    """What a user may have forgotten who gave no endpoint."""
    if given := get("env-file"):
        return f"looked in the environment and {given}{environment.left_blank(MESSAGES_ENDPOINT_NAMES)}"
    if Path(".env").is_file():
        return "there is a .env here: give --env-file .env"
    for folder in Path.cwd().parents:
        if (folder / ".env").is_file():
            return f"there is a .env in {folder}: go there, or give --env-file {folder / '.env'}"
    return "no --env-file was given; `tokenswarm init` asks for the endpoint and writes .env"


def _json_object(text: str | None, name: str, problems: list[str]) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = parse_json(text)
    except ValueError as error:
        problems.append(f"{name}: expected a JSON object, got {text!r} ({error})")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{name}: expected a JSON object, got {text!r}")
        return {}
    return value
