"""Where requests go, and with which credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode

from tokenswarm.apis.request import Sending


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, and the headers that every request to it has."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Endpoint(Protocol):
    """A base URL whose credentials may be renewed."""

    def at(self, path: str) -> Address:
        """Where a request for `path` goes now; asked before each attempt."""
        ...


class FixedEndpoint:
    """A base URL with headers that stay as they are."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._headers = dict(headers or {})
        self._addresses: dict[str, Address] = {}

    def at(self, path: str) -> Address:
        address = self._addresses.get(path)
        if address is None:
            url = self._url.rstrip("/") + "/" + path.lstrip("/") if path else self._url
            address = self._addresses[path] = Address(url, self._headers)
        return address


class KeyedEndpoint(FixedEndpoint):
    """A base URL of Anthropic's Messages API, which takes its key by a header of its own."""

    def __init__(self, url: str, key: str | None) -> None:
        super().__init__(url, {"x-api-key": key or "none", "content-type": "application/json", "accept": "*/*"})


class ExtendedEndpoint:
    """An endpoint whose every request carries further headers, in place of those of the same name, and parameters."""

    def __init__(self, endpoint: Endpoint, headers: Mapping[str, str], query: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._names = {name.lower() for name in headers}
        self._query = urlencode(query)
        self._known: tuple[Address, Address] | None = None

    def at(self, path: str) -> Address:
        plain = self._endpoint.at(path)
        if self._known is None or self._known[0] is not plain:
            self._known = plain, self._extended(plain)
        return self._known[1]

    def _extended(self, plain: Address) -> Address:
        kept = {name: value for name, value in plain.headers.items() if name.lower() not in self._names}
        joint = "&" if "?" in plain.url else "?"
        url = plain.url + joint + self._query if self._query else plain.url
        return Address(url, {**kept, **self._headers})


def extended(endpoint: Endpoint, sending: Sending) -> Endpoint:
    """`endpoint` with the headers and parameters that every request is to carry."""
    if not sending.headers and not sending.query:
        return endpoint
    return ExtendedEndpoint(endpoint, sending.headers, sending.query)
