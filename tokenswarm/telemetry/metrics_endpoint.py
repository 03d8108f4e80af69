"""`/metrics` of a run for a Prometheus server, by Prometheus' own client library."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from tokenswarm.record import RequestRecord
from tokenswarm.redaction import SECRETS
from tokenswarm.telemetry.instruments import Instruments
from tokenswarm.userinput import BadInput

DEFAULT_HOST = "127.0.0.1"


class ListenAddress(NamedTuple):
    """Where to listen."""

    host: str
    port: int


class Watched(Protocol):
    """What is known of a run while it is on (`tokenswarm.live.monitor.Monitor`)."""

    @property
    def in_flight(self) -> int: ...

    @property
    def user_count(self) -> int: ...


def parse_address(text: str) -> ListenAddress:
    """`9464`, `0.0.0.0:9464`, `[::]:9464`. Raises `BadInput`."""
    host, _, port = text.strip().rpartition(":")
    if not port.isascii() or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise BadInput([f"prometheus: expected PORT or HOST:PORT such as 9464 or 0.0.0.0:9464, got {text!r}"])
    return ListenAddress(host.strip("[]") or DEFAULT_HOST, int(port))


class MetricsEndpoint:
    """One for a process, over all its runs."""

    def __init__(self, address: ListenAddress) -> None:
        self._address = address
        self._registry = CollectorRegistry()
        self._instruments = Instruments(self._registry)
        self._watched: Watched | None = None
        for name, text, read in (
            ("in_flight", "Requests under way", lambda: self._watched.in_flight if self._watched else 0),
            ("users", "Users that run", lambda: self._watched.user_count if self._watched else 0),
        ):
            Gauge(f"tokenswarm_{name}", text, registry=self._registry).set_function(read)

    def open(self) -> None:
        """Listen. Raises `BadInput` where that cannot be."""
        host, port = self._address
        try:
            start_http_server(port, host, self._registry)
        except OSError as error:
            raise BadInput([f"prometheus: expected an address to listen on, got {host}:{port}: {error}"]) from error

    def follow(self, test_name: str, watched: Watched) -> Callable[[RequestRecord], None]:
        """A run starts: what is to be called with each of its rows."""
        name = SECRETS.redact(test_name)
        self._watched = watched
        return lambda record: self._instruments.add(name, record)

    def leave(self) -> None:
        """The run is over; the counters stay."""
        self._watched = None
