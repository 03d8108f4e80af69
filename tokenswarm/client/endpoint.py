"""Where requests go, and with which credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


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
