"""Which proxy an origin is reached through, as the environment says.

`HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` (or in lower case, which comes first; an empty value means none) hold
`http://[user:password@]host[:port]`; a value without a scheme is a host. `NO_PROXY` lists, separated by commas or
blanks, what is reached directly:

- `*`: everything
- a host name: that host and all below it, with or without `.` or `*.` in front
- an address, or a network as `10.0.0.0/8` or `fd00::/8`: of targets that are given by address, no name is looked up
- a pattern with `*` anywhere, as `192.168.*`
- any of these but a network followed by `:port`: only at that port

Semicolons and bars separate, too, and what was written as a URL is taken for its host, as people from Windows and Java
write them.

Only HTTP proxies over a plain connection are spoken to: SOCKS and TLS to the proxy itself are refused by name.
"""

from __future__ import annotations

import ipaddress
import os
import re
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import unquote, urlsplit

_NETWORK = re.compile(r"\[?[0-9a-f.:]+\]?/[0-9a-f.:]+")

DEFAULT_PORT = 80
"""Of a proxy's URL without one, as of any http URL."""


class ProxyError(ValueError):
    """A proxy that the environment names cannot be used."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `authorization`: value of its Proxy-Authorization header; `source`: the variable naming it."""

    host: str
    port: int
    source: str
    authorization: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """How messages name it: without its credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"proxy {host}:{self.port} ({self.source})"


def proxy_for(scheme: str, host: str, port: int | None = None) -> Proxy | None:
    """The proxy for an origin, `None` for a direct connection. Raises `ProxyError` when it is none that can be used."""
    proxies = urllib.request.getproxies()
    name = scheme if proxies.get(scheme) else "all"
    value = proxies.get(name)
    if not value or _is_excepted(proxies.get("no", ""), host, port):
        return None
    if "no" not in proxies and urllib.request.proxy_bypass(host):  # where the system's settings have a list of theirs
        return None
    return parse_proxy(value, _source(name))


def parse_proxy(value: str, source: str) -> Proxy:
    """The proxy that a variable's value means. Raises `ProxyError`, which shows no credentials."""
    text = value.strip()
    url = text if "://" in text else f"http://{text}"
    scheme = url.partition("://")[0].lower()
    if scheme.startswith("socks"):
        raise ProxyError(f"{source}: expected an HTTP proxy (http://host:port), got a SOCKS proxy, which is not spoken")
    if scheme != "http":
        got = "https (TLS to the proxy itself), which is not spoken" if scheme == "https" else f"{scheme[:20]!r}"
        raise ProxyError(f"{source}: expected an HTTP proxy (http://host:port), got the scheme {got}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not re.fullmatch(r"[\w.:%-]+", host) or port == 0:
        raise ProxyError(f"{source}: expected an HTTP proxy (http://host:port), got something else")
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + b64encode(pair.encode()).decode()
    return Proxy(host, port or DEFAULT_PORT, source, authorization)


def proxy_secrets() -> list[str]:
    """Passwords of the proxies that the environment names, as they stand there and as they are sent."""
    found: list[str] = []
    for value in urllib.request.getproxies().values():
        credentials = value.partition("://")[2] if "://" in value else value
        if "@" in credentials:
            pair = credentials.rpartition("@")[0]
            password = pair.partition(":")[2]
            found += [password, unquote(password), b64encode(unquote(pair).encode()).decode()]
    return [each for each in found if each]


def _source(name: str) -> str:
    """The variable that the value comes from; the system's settings where there is none."""
    variable = f"{name}_proxy"
    return next((each for each in (variable, variable.upper()) if os.environ.get(each)), "system proxy settings")


def _is_excepted(exceptions: str, host: str, port: int | None) -> bool:
    bare = host.strip("[]").lower().rstrip(".")
    address = _address(bare.partition("%")[0])
    entries = [entry.rpartition("://")[2] for entry in re.split(r"[,;|\s]+", exceptions.lower()) if entry]
    return any(_excepts(entry, bare, address, port) for entry in entries)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _excepts(entry: str, host: str, address: Address | None, port: int | None) -> bool:
    if entry == "*":
        return True
    if _NETWORK.fullmatch(entry):
        return address is not None and _holds(entry.replace("[", "").replace("]", ""), address)
    name, at_port = _split_port(entry.partition("/")[0])
    if at_port is not None and at_port != port:
        return False
    if "*" in name[1:]:
        return fnmatchcase(host, name)
    if address is not None:
        return _address(name.partition("%")[0]) == address
    name = name.removeprefix("*").removeprefix(".").rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_port(entry: str) -> tuple[str, int | None]:
    """Host and port of an entry; the colons of a bare IPv6 address are no port."""
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::(\d{1,5}))?", entry)
    if match is None:
        return entry, None
    return match[1] or match[2], int(match[3]) if match[3] else None


def _address(text: str) -> Address | None:
    """An address in a text; one of version 4 that is written as one of version 6 is that of version 4."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _holds(network: str, address: Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
