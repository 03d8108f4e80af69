"""Where a key may go: to the endpoint it came with, and where somebody has said so by name. No I/O.

A key belongs to the endpoint that the environment names beside it; where it names none, to the one that the command
line or the scenario gave when the process started. A form or a flag that names another host needs a key of that host,
or its URL in the option `send-keys-to`. A key that came with https never goes over plain http to another machine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from tokenswarm.config.environment import ENDPOINT_NAMES, RAG_ENDPOINT_NAMES, Environment, endpoint_problems
from tokenswarm.userinput import BadInput

ENTRA_TOKEN = "the Entra token"
OWN_API_KEY = "what the locustfile sends"
AZURE_ENDPOINT_NAMES = ENDPOINT_NAMES[:2]
LOOPBACK = ("localhost", "127.0.0.1", "::1")
DEFAULT_PORTS: Mapping[str, int] = MappingProxyType({"http": 80, "https": 443})


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Who the keys of a process belong to.

    `launched`: endpoints that were given when the process started; `None` in a worker, whose master has checked them.
    `allowed`: further ones that `send-keys-to` names.
    """

    launched: Collection[str] | None = None
    allowed: Collection[str] = ()

    def problem(self, key: str, endpoint: str, environment: Environment) -> str | None:
        """Why a key may not be sent to an endpoint; `None` when it may. `key`: its name in the environment,
        `ENTRA_TOKEN` or `OWN_API_KEY`."""
        owners = endpoints_of(key, environment) or self.launched
        if owners is None or any(_is_same(owner, endpoint) for owner in owners):
            return None
        if _is_plain(endpoint) and any(urlsplit(owner).scheme == "https" for owner in owners):
            return f"API key: expected https for {key}, which came with https, got {endpoint!r:.100}"
        if any(_is_same(each, endpoint) for each in self.allowed):
            return None
        came_with = ", ".join(owners) or "no endpoint"
        return (
            f"API key: expected one of {_origin_text(endpoint)}'s own, got {key}, which came with {came_with} "
            f"(give endpoint and key together, or --send-keys-to {_origin_text(endpoint)})"
        )


def endpoints_of(key: str, environment: Environment) -> list[str]:
    """The endpoints that the environment names beside a key; empty when it names none."""
    return [environment[name] for name in _endpoint_names(key, environment) if name in environment]


def _endpoint_names(key: str, environment: Environment) -> tuple[str, ...]:
    if key == "OPENAI_API_KEY" and "AZURE_OPENAI_API_KEY" in environment:
        return ("OPENAI_BASE_URL",)
    if key == "AZURE_OPENAI_API_KEY" and environment.first(AZURE_ENDPOINT_NAMES):
        return AZURE_ENDPOINT_NAMES
    if key in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", ENTRA_TOKEN):
        return ENDPOINT_NAMES
    if key == "ANTHROPIC_API_KEY":
        return ("ANTHROPIC_BASE_URL",)
    if key == OWN_API_KEY:
        return ()
    return RAG_ENDPOINT_NAMES


def parse_endpoints(text: str | None, name: str) -> tuple[str, ...]:
    """The URLs of a comma-separated option. Raises `BadInput`."""
    urls = tuple(url.strip() for url in (text or "").split(",") if url.strip())
    if problems := [problem for url in urls for problem in endpoint_problems(url, name)]:
        raise BadInput(problems)
    return urls


def _is_same(owner: str, endpoint: str) -> bool:
    """Whether an endpoint is the owner's, perhaps over https where the owner said http; paths do not matter."""
    one, other = urlsplit(owner), urlsplit(endpoint)
    if _name(one.hostname) != _name(other.hostname):
        return False
    upgraded = (one.scheme, other.scheme) == ("http", "https") and one.port is None and other.port is None
    return upgraded or (one.scheme == other.scheme and _port(owner) == _port(endpoint))


def _name(hostname: str | None) -> str:
    name = (hostname or "").rstrip(".").lower()
    return LOOPBACK[0] if name in LOOPBACK else name


def _port(url: str) -> int | None:
    parts = urlsplit(url)
    return parts.port or DEFAULT_PORTS.get(parts.scheme)


def _is_plain(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    return parts.scheme == "http" and _name(parts.hostname) != LOOPBACK[0]


def _origin_text(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc}"
