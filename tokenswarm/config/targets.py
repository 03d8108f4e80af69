"""Which service is meant: the chat target and the orchestrator, from options and the environment. No I/O, no clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tokenswarm.apis.request import ChatTarget, RagTarget, TokenProvider
from tokenswarm.config.environment import Environment, api_key_name, endpoint_problems, rag_headers, rag_key_names
from tokenswarm.config.key_owner import ENTRA_TOKEN, OWN_API_KEY, KeyOwner

DEFAULT_API_VERSION = "2024-10-21"
"""The newest generally available version of the deployments URL (Azure OpenAI API version lifecycle)."""

DEFAULT_MODEL = "gpt-4o"
"""Model name for OpenAI-compatible servers when nothing names one."""

AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
APIS = ("azure", "azure-v1", "openai")
AZURE_V1_PATH = "/openai/v1"
_RAG_PATHS = {"v1": "/api/orc", "v2": "/orchestrator"}

Get = Callable[[str], str | None]
"""Looks up an option, or the environment's value for it; `None` when neither is given."""


def build_chat_target(
    get: Get, environment: Environment, token: TokenProvider | None, owner: KeyOwner, problems: list[str]
) -> ChatTarget | None:
    """The chat target; what is missing or wrong is added to `problems`, and then there is none."""
    endpoint = get("host")
    if not endpoint:
        problems.append(
            "chat endpoint: expected --host, AZURE_OPENAI_ENDPOINT or OPENAI_BASE_URL, got none (is --env-file given?)"
        )
        return None
    if wrong := endpoint_problems(endpoint, "chat endpoint"):
        problems += wrong
        return None
    api = get("api") or infer_api(endpoint, environment)
    if api not in APIS:
        problems.append(f"api: expected {' or '.join(APIS)}, got {api!r}")
        return None
    deployment = get("deployment")
    if not deployment and api != "openai":
        problems.append("deployment: expected --deployment, AZURE_OPENAI_DEPLOYMENT or AOAI_DEPLOYMENT, got none")
    key_name = ENTRA_TOKEN if token is not None else api_key_name(environment, api)
    if key_name is not None and (problem := owner.problem(key_name, endpoint, environment)):
        problems.append(problem)
        return None
    key = None if token is not None else _key(key_name, api, endpoint, environment, problems)
    if api == "openai" and not urlsplit(endpoint).path.strip("/"):
        endpoint = endpoint.rstrip("/") + "/v1"
    if api == "azure-v1" and not endpoint.rstrip("/").endswith(AZURE_V1_PATH):
        endpoint = endpoint.rstrip("/") + AZURE_V1_PATH
    return ChatTarget(
        api=api,
        endpoint=endpoint,
        deployment=deployment or DEFAULT_MODEL,
        asks=get("endpoint") or "chat",
        api_version=get("api-version") or DEFAULT_API_VERSION,
        key=key,
        token_provider=token,
    )


def build_rag_target(get: Get, environment: Environment, owner: KeyOwner, problems: list[str]) -> RagTarget | None:
    """The orchestrator; what is missing or wrong is added to `problems`, and then there is none."""
    endpoint = get("rag-host") or get("host")
    if not endpoint:
        problems.append("orchestrator: expected --host, --rag-host or ORCHESTRATOR_ENDPOINT, got none")
        return None
    if wrong := endpoint_problems(endpoint, "orchestrator"):
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
        expected = "ORCHESTRATOR_FUNCTION_KEY" if contract == "v1" else "ORCHESTRATOR_APP_APIKEY or DAPR_API_TOKEN"
        problems.append(f"orchestrator key: expected {expected} in the environment or --env-file, got none")
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


def infer_api(endpoint: str, environment: Environment) -> str:
    """The API of an endpoint: a whole base URL is taken as it is, an Azure host or an Azure key means Azure."""
    parts = urlsplit(endpoint)
    is_azure_host = (parts.hostname or "").endswith(AZURE_HOSTS)
    if parts.path.strip("/"):
        return "azure-v1" if is_azure_host and parts.path.rstrip("/").endswith(AZURE_V1_PATH) else "openai"
    if is_azure_host:
        return "azure"
    azure_names = ("AZURE_OPENAI_ENDPOINT", "AOAI_ENDPOINT", "AZURE_OPENAI_API_KEY")
    return "azure" if environment.first(azure_names) and "OPENAI_BASE_URL" not in environment else "openai"


def _key(name: str | None, api: str, endpoint: str, environment: Environment, problems: list[str]) -> str | None:
    if name is not None:
        return environment[name]
    hostname = urlsplit(endpoint).hostname or ""
    if api == "openai" and not hostname.endswith(("api.openai.com", *AZURE_HOSTS)):
        return "none"  # servers of one's own seldom ask for a key; the SDK insists on one
    expected = "OPENAI_API_KEY" if api == "openai" else "AZURE_OPENAI_API_KEY or OPENAI_API_KEY"
    problems.append(f"API key: expected {expected} in the environment or --env-file (or --auth entra), got none")
    return None


def _json_object(text: str | None, name: str, problems: list[str]) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        problems.append(f"{name}: expected a JSON object, got {text!r} ({error})")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{name}: expected a JSON object, got {text!r}")
        return {}
    return value
