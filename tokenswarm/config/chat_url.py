"""What a chat endpoint's URL says: the base URL, the API, and the deployment and api-version where it names them.

People paste what a portal or a code sample shows, so all of these are read, and the start says what was made of them:

- a resource (`https://NAME.openai.azure.com`), on any of Azure's clouds: API azure-v1; API azure where an api-version
  stands beside it that is a date (in the URL, the option or OPENAI_API_VERSION), and for a region's own host
- a URL of a deployment (`.../openai/deployments/NAME/chat/completions?api-version=...`), with or without its end,
  behind a gateway's path or not: API azure, the part before `/openai/deployments` as the base
- a URL that ends in `/openai/v1`: azure-v1 on an Azure host or under an Azure name, else openai
- a Foundry project (`https://NAME.services.ai.azure.com/api/projects/...`): its resource
- any other path: a gateway before Azure OpenAI when an Azure variable gives it, or an Azure key alone is there (API
  azure, the path kept; azure-v1 when it ends in `/v1`), else the base URL of an OpenAI-compatible server
- ANTHROPIC_BASE_URL: `/v1` behind it, as Anthropic's SDK has it
- the end of a request's URL (`/chat/completions`, `/responses`, ...) is cut off, and says what is asked
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
_REQUEST_PATHS = re.compile(r"/(?P<asks>chat/completions|completions|responses|embeddings|messages|models)$")
_DATED = re.compile(r"\d{4}-\d\d-\d\d")
"""How api-versions of the deployments URL begin; those of v1 are words."""

DEFAULT_SCOPE = "https://cognitiveservices.azure.com/.default"
V1_SCOPE = "https://ai.azure.com/.default"
"""What an Entra token is for: the deployments URL and everything else; v1. Source: Microsoft's documents of both."""
_DEPLOYMENT = re.compile(r"(?P<prefix>.*)/openai/deployments(?:/(?P<name>[^/]+))?")


@dataclass(frozen=True, slots=True)
class ChatUrl:
    """`base`: what the SDK takes for the API as its endpoint or base URL. The others are `None` when not in the URL."""

    api: str
    base: str
    deployment: str | None = None
    api_version: str | None = None
    asks: str | None = None


def is_azure_host(url: str) -> bool:
    """Whether a URL's host is a resource of Azure's."""
    return (urlsplit(url).hostname or "").endswith(AZURE_HOSTS)


def token_scope(url: str, api: str) -> str:
    """The scope of an Entra token for an API of a resource, in its cloud."""
    hostname = urlsplit(url).hostname or ""
    for cloud in _CLOUDS[1:]:
        if hostname.endswith((f".azure.{cloud}", f".microsoft.{cloud}")):
            return f"https://cognitiveservices.azure.{cloud}/.default"
    return V1_SCOPE if api == "azure-v1" else DEFAULT_SCOPE


def read_chat_url(url: str, environment: Environment, api: str | None = None, version: str | None = None) -> ChatUrl:
    """What `url` says, whatever else is given; `api`, where somebody has named it, decides over the guess. `version`:
    the api-version that is given elsewhere."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    path, asks = _without_request(parts.path.rstrip("/"))
    version = dict(parse_qsl(parts.query)).get("api-version") or version
    deployment = _DEPLOYMENT.fullmatch(path)
    if deployment is not None and api in (None, "azure"):
        return ChatUrl("azure", origin + deployment["prefix"], deployment["name"], version, asks)
    if is_azure_host(url) and not path.endswith("/v1"):
        path = ""  # what a portal shows behind a resource's name: /openai, /models, /api/projects/NAME
    if environment.get("ANTHROPIC_BASE_URL") == url and not path.endswith("/v1"):
        path += "/v1"
    api = api or _infer_api(url, path, environment, version)
    if api == "azure-v1" and not path.endswith("/v1"):
        path += AZURE_V1_PATH
    return ChatUrl(api, origin + (path or ("/v1" if api == "openai" else "")), None, version, asks)


def _without_request(path: str) -> tuple[str, str | None]:
    """A path without the end of a request's URL, and what that asks: an option `endpoint`."""
    found = _REQUEST_PATHS.search(path)
    if found is None:
        return path, None
    asks = found["asks"].removesuffix("/completions") if found["asks"] != "completions" else "completions"
    return path[: found.start()], None if asks == "models" else asks


def _infer_api(url: str, path: str, environment: Environment, version: str | None) -> str:
    azure = is_azure_host(url) or _is_given_as_azure(url, environment)
    if path.endswith(AZURE_V1_PATH) and azure:
        return "azure-v1"
    if is_azure_host(url):
        of_region = ".api.cognitive." in (urlsplit(url).hostname or "")
        is_dated = version is not None and _DATED.match(version) is not None
        return "openai" if path else "azure" if of_region or is_dated else "azure-v1"
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
