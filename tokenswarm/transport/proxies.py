"""Which proxy the environment names for an origin."""

from __future__ import annotations

import urllib.request


def proxy_for(scheme: str, host: str) -> str | None:
    """The proxy that the environment names for an origin (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), or `None`."""
    proxies = urllib.request.getproxies()
    if urllib.request.proxy_bypass(host):
        return None
    return proxies.get(scheme) or proxies.get("all")
