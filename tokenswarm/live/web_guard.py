"""Who may use the web UI: the guard in front of every route, Locust's own included.

A request passes when its `Host` is one of this UI's names (a foreign name that was rebound to this address is none),
when its `Origin`, if it has one, is the UI itself, and when the browser does not say that another page made it. A
request that changes something must bring the token that only the UI's own pages hold.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Response, make_response, request

from tokenswarm.userinput import BadInput

if TYPE_CHECKING:
    from locust.web import WebUI

TOKEN_HEADER = "X-Tokenswarm-Token"
TOKEN_FIELD = "tokenswarm_token"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OWN_ROUTES = ("locust.", "tokenswarm.")
"""Blueprints whose changing routes ask for the token. A login that a locustfile adds has none to give."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
EVERY_INTERFACE = ("", "*", "0.0.0.0", "::")  # nosec B104: names to look for
DEFAULT_PORTS = {"http": 80, "https": 443}

PROTECTION = (
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Referrer-Policy", "same-origin"),
)
"""Headers of every answer that does not set them itself. The fourth keeps other pages from including an answer where
a browser does not tell who asks: plain http to another machine."""

Origin = tuple[str, str, int]
"""Scheme, host name and port."""


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The names under which a web UI may be asked.

    `names`: host names; `origins`: of a proxy in front that keeps its own name in `Origin`; `scheme`: of the UI
    itself; `any_address`: whether any IP address will do, as none of them can be rebound.
    """

    names: frozenset[str]
    origins: frozenset[Origin] = frozenset()
    scheme: str = "http"
    any_address: bool = False

    def problem(self, method: str, headers: Mapping[str, str]) -> str | None:
        """Why a request is refused; `None` when it is not."""
        host = headers.get("Host", "")
        if not self._is_ours(host):
            return f"Host: expected a name of this web UI (see --web-allowed-hosts), got {host!r:.80}"
        origin = headers.get("Origin")
        if origin is not None and not self._is_own_origin(origin, host):
            return f"Origin: expected this web UI, got {origin!r:.80}"
        site = headers.get("Sec-Fetch-Site", "none")
        if site in ("none", "same-origin") or _is_followed_link(method, headers):
            return None
        return f"Sec-Fetch-Site: expected a request of this web UI's pages, got {site!r:.80}"

    def _is_ours(self, host: str) -> bool:
        parsed = read_origin(f"{self.scheme}://{host}")
        return parsed is not None and (parsed[1] in self.names or (self.any_address and is_address(parsed[1])))

    def _is_own_origin(self, text: str, host: str) -> bool:
        origin = read_origin(text)
        return origin is not None and (origin == read_origin(f"{self.scheme}://{host}") or origin in self.origins)


def _is_followed_link(method: str, headers: Mapping[str, str]) -> bool:
    """Whether somebody follows a link to one of our pages, in a window of its own."""
    mode, destination = headers.get("Sec-Fetch-Mode"), headers.get("Sec-Fetch-Dest", "document")
    return method == "GET" and mode == "navigate" and destination == "document"


def read_origin(text: str) -> Origin | None:
    """Scheme, name and port of "http://name:1234"; `None` for "null" and whatever else has more or less."""
    try:
        parts = urlsplit(text)
        scheme, name, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        return None
    if scheme not in DEFAULT_PORTS or not name or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    return scheme, name.rstrip("."), port or DEFAULT_PORTS[scheme]


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def allow_hosts(bound_to: str, is_tls: bool, further: Iterable[str] = ()) -> AllowedHosts:
    """The names of a web UI that listens on `bound_to`, and those that the option `web-allowed-hosts` adds.

    Raises `BadInput` for what is no name.
    """
    names, origins = set(LOOPBACK_NAMES), set()
    everywhere = bound_to in EVERY_INTERFACE
    if everywhere:
        names |= {socket.gethostname().lower()}
    else:
        names.add(bound_to.lower())
    for entry in further:
        found = [read_origin(each) for each in ([entry] if "://" in entry else [f"http://{entry}", f"https://{entry}"])]
        if None in found or "*" in entry:
            raise BadInput([f"web-allowed-hosts: expected a name as load.example.com, got {entry!r:.80}"])
        origins |= {origin for origin in found if origin is not None}
        names |= {origin[1] for origin in found if origin is not None}
    scheme = "https" if is_tls else "http"
    return AllowedHosts(frozenset(names), frozenset(origins), scheme, everywhere)


class WebGuard:
    """The guard of one web UI. `token` is of this process and is only told in its own pages."""

    def __init__(self, web_ui: WebUI, allowed: AllowedHosts) -> None:
        self.token = secrets.token_urlsafe(32)
        assert web_ui.app is not None
        self._app = web_ui.app
        self._allowed = allowed
        self._is_tls = allowed.scheme == "https"

    def attach(self) -> None:
        """Stand in front of all routes and hooks, those of a locustfile included."""
        self._app.before_request_funcs.setdefault(None, []).insert(0, self._check)
        setattr(self._app, "wsgi_app", protect(self._app.wsgi_app))  # noqa: B010 - as Flask says to
        for cookie in ("SESSION_COOKIE", "REMEMBER_COOKIE"):
            self._app.config[f"{cookie}_SAMESITE"] = "Strict"
            self._app.config[f"{cookie}_HTTPONLY"] = True
            self._app.config[f"{cookie}_SECURE"] = self._is_tls

    def _check(self) -> Response | None:
        problem = self._allowed.problem(request.method, dict(request.headers))
        if problem is None and request.method not in SAFE_METHODS and _is_own_route(request.endpoint):
            given = request.headers.get(TOKEN_HEADER) or request.form.get(TOKEN_FIELD) or ""
            if not secrets.compare_digest(given.encode(), self.token.encode()):
                problem = (
                    f"{TOKEN_HEADER}: expected the token of this web UI's pages (GET llm/form has it), got another"
                )
        return None if problem is None else _refuse(problem)


def _refuse(problem: str) -> Response:
    response = make_response(problem + "\n", 403)
    response.mimetype = "text/plain"
    return response


def _is_own_route(endpoint: str | None) -> bool:
    return endpoint is None or endpoint.startswith(OWN_ROUTES)


def protect(app: Callable[..., Any]) -> Callable[..., Any]:
    """A WSGI application whose answers no other page may read or frame: Locust's own would tell any origin."""

    def protected(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            kept = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
            names = {name.lower() for name, _ in kept}
            return start_response(status, kept + [pair for pair in PROTECTION if pair[0].lower() not in names], *rest)

        return app(environ, start)

    return protected
