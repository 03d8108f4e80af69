"""What a chat endpoint's URL says: the base URL, the API, and the deployment and api-version where it names them.

People paste what a portal or a code sample shows, so all of these are read, and the start says what was made of them:

- a resource (`https://NAME.openai.azure.com`), on any of Azure's clouds: API azure
- a URL of a deployment (`.../openai/deployments/NAME/chat/completions?api-version=...`), with or without its end,
  behind a gateway's path or not: API azure, the part before `/openai/deployments` as the base
- a URL that ends in `/openai/v1`: azure-v1 on an Azure host or under an Azure name, else openai
- a Foundry project (`https://NAME.services.ai.azure.com/api/projects/...`): its resource, API azure
- any other path: a gateway before Azure OpenAI when an Azure variable gives it, or an Azure key alone is there (API
  azure, the path kept; azure-v1 when it ends in `/v1`), else the base URL of an OpenAI-compatible server
- the end of a request's URL (`/chat/completions`, `/responses`, ...) is cut off
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from tokenswarm.config.environment import Environment

_CLOUDS = ("com", "us", "cn")
AZURE_HOSTS = tuple(
    f".{service}.azure.{cloud}" for cloud in _CLOUDS for service in ("openai", "services.ai", "cognitiveservices")
) + tuple(f".api.cognitive.{owner}" for owner in ("microsoft.com", "microsoft.us", "azure.us", "azure.cn"))
"""Ends of the host names of Azure's resources, in its public, US Government and China clouds."""

AZURE_V1_PATH = "/openai/v1"
_AZURE_NAMES = ("AZURE_OPENAI_ENDPOINT", "AOAI_ENDPOINT")
_REQUEST_PATHS = re.compile(r"/(?:chat/completions|completions|responses|embeddings|messages|models)$")
_DEPLOYMENT = re.compile(r"(?P<prefix>.*)/openai/deployments(?:/(?P<name>[^/]+))?")


@dataclass(frozen=True, slots=True)
class ChatUrl:
    """`base`: what the SDK takes for the API as its endpoint or base URL. The others are `None` when not in the URL."""

    api: str
    base: str
    deployment: str | None = None
    api_version: str | None = None


def is_azure_host(url: str) -> bool:
    """Whether a URL's host is a resource of Azure's."""
    return (urlsplit(url).hostname or "").endswith(AZURE_HOSTS)


def token_scope(url: str | None) -> str | None:
    """The scope of an Entra token for a resource in one of Azure's other clouds; `None` for the public one."""
    hostname = urlsplit(url or "").hostname or ""
    cloud = next(
        (cloud for cloud in _CLOUDS[1:] if hostname.endswith((f".azure.{cloud}", f".microsoft.{cloud}"))), None
    )
    return f"https://cognitiveservices.azure.{cloud}/.default" if cloud else None


def read_chat_url(url: str, environment: Environment, api: str | None = None) -> ChatUrl:
    """What `url` says, whatever else is given; `api`, where somebody has named it, decides over the guess."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    path = _REQUEST_PATHS.sub("", parts.path.rstrip("/"))
    version = dict(parse_qsl(parts.query)).get("api-version")
    deployment = _DEPLOYMENT.fullmatch(path)
    if deployment is not None and api in (None, "azure"):
        return ChatUrl("azure", origin + deployment["prefix"], deployment["name"], version)
    if is_azure_host(url) and not path.endswith("/v1"):
        path = ""  # what a portal shows behind a resource's name: /openai, /models, /api/projects/NAME
    api = api or _infer_api(url, path, environment)
    if api == "azure-v1" and not path.endswith("/v1"):
        path += AZURE_V1_PATH
    return ChatUrl(api, origin + (path or ("/v1" if api == "openai" else "")), None, version)


def _infer_api(url: str, path: str, environment: Environment) -> str:
    azure = is_azure_host(url) or _is_given_as_azure(url, environment)
    if path.endswith(AZURE_V1_PATH) and azure:
        return "azure-v1"
    if is_azure_host(url):
        return "openai" if path else "azure"
    if not azure:
        return "openai"
    return "azure-v1" if path.endswith("/v1") else "azure"


def _is_given_as_azure(url: str, environment: Environment) -> bool:
    """Whether the URL stands under an Azure name, or stands alone beside an Azure key and nothing of OpenAI's."""
    if any(environment.get(name) == url for name in _AZURE_NAMES):
        return True
    if "OPENAI_BASE_URL" in environment:
        return False
    if not urlsplit(url).path.strip("/"):
        return environment.first((*_AZURE_NAMES, "AZURE_OPENAI_API_KEY")) is not None
    return "AZURE_OPENAI_API_KEY" in environment and environment.first((*_AZURE_NAMES, "OPENAI_API_KEY")) is None
