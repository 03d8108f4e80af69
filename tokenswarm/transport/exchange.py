"""Requests out, answers in, over one kept connection a user.

A request is written by the user's greenlet, which then sleeps; the answer is read by an I/O watcher in gevent's hub:
see `reading`. Sockets come from `connect`.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

import gevent
import gevent.event
from gevent import get_hub

from tokenswarm.transport.connect import ask_for_stamps, dial, open_tunnel, shake_hands
from tokenswarm.transport.connection import Connection
from tokenswarm.transport.http1 import ProtocolError
from tokenswarm.transport.keepalive import KeptConnections
from tokenswarm.transport.proxies import Proxy
from tokenswarm.transport.reading import Exchange, Failure, SinkFor, cut_short, describe
from tokenswarm.transport.run_queue import RunQueue
from tokenswarm.transport.websocket import Opening

LOST_RACE_MS = 250.0
"""A peer that had closed a kept connection before a request reached it is heard of within a round trip. Whatever ends
the connection later than twice the time it took to connect, and this, may be the service's failure."""

MOMENT_S = 0.005
"""The start of a request is awaited no longer."""

Origin = tuple[str, str, int]

Run = Callable[[Connection, Exchange], None]
"""What is done on a connection."""


class Transport:
    """One virtual user's connection to one origin, kept alive between requests.

    `tls`: context for https origins. `proxy`: the HTTP proxy to go through, or `None`. Not for two requests at once.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, proxy: Proxy | None = None) -> None:
        self._tls = tls
        self._proxy = proxy
        self.connection: Connection | None = None
        """The one that is open: in use, or kept for the next exchange."""
        self._origin: Origin | None = None
        self._connected_in_ms = 0.0
        self._idle_s = 0.0
        self.last: Exchange | None = None

    def writes_absolute(self, origin: Origin) -> bool:
        """Whether requests to `origin` go to a plain proxy, which wants the whole URL as their target."""
        return self._proxy is not None and origin[0] == "http"

    def send(
        self,
        origin: Origin,
        request: bytes,
        sink_for: SinkFor,
        timeout_s: float,
        leave_after_s: float | None = None,
        start_at: float = 0.0,
    ) -> Exchange:
        """Send one request to (scheme, host, port) and wait until the answer is complete or has failed, or until
        `leave_after_s` after the start: then the connection is closed, as by a user who closes the page. `start_at`:
        Unix s before which it must not start, at most `MOMENT_S` away, as the loop turns meanwhile without a rest.

        Never raises for a failure of the network or the service: see `Exchange.failure`. Greenlet exits pass
        through with the connection closed and the exchange so far left in `last`.

        A request that is lost with a kept connection, which its peer had closed without our having seen it yet, is
        sent once more on a new connection: keeping it was our choice, and nothing of an answer had come (RFC 9112,
        9.3.1). All times are then of the second sending, and `Exchange.resent` says so.
        """
        if self._proxy is not None and self._proxy.authorization is not None and self.writes_absolute(origin):
            request = _with_header(request, f"Proxy-Authorization: {self._proxy.authorization}")
        limit = _Limit.of(timeout_s, leave_after_s)
        run: Run = lambda connection, exchange: connection.run(exchange, request, sink_for)  # noqa: E731
        return self._send(origin, run, limit, start_at)

    def converse(
        self,
        opening: Opening,
        message: bytes,
        sink_for: SinkFor,
        timeout_s: float,
        leave_after_s: float | None = None,
        is_new: bool = False,
        start_at: float = 0.0,
    ) -> Exchange:
        """The same for a message on a WebSocket, over a connection of its own where `is_new`. The kept one is opened
        where there is none; status and headers are those of the opening, on a kept one as well."""
        if is_new:
            self.close()
        return self._send(
            origin_of(opening.url),
            lambda connection, exchange: connection.converse(exchange, opening, message, sink_for),
            _Limit.of(timeout_s, leave_after_s),
            start_at,
        )

    def _send(self, origin: Origin, run: Run, limit: _Limit, start_at: float) -> Exchange:
        _turn_until(start_at)
        reused = self._is_kept(origin)
        exchange = self._send_once(origin, run, limit, reused)
        if reused and self._was_lost(exchange):
            KeptConnections.of(get_hub()).note_lost(origin, self._idle_s)
            exchange = self._send_once(origin, run, limit, reused=False)
            exchange.resent = True
        if self._proxy is not None and exchange.status is None and exchange.failure not in (None, *_GIVEN_UP):
            exchange.error = f"{exchange.error}, through {self._proxy}"
        elif self._proxy is not None and exchange.status == 407 and exchange.failure is None:
            exchange.error = f"asked by the {self._proxy}"  # no target asks so: RFC 9110, 15.5.8
        return exchange

    def _send_once(self, origin: Origin, run: Run, limit: _Limit, reused: bool) -> Exchange:
        self.last = None
        if not reused:
            self.close()
            RunQueue.of(get_hub()).pass_through()
        exchange = Exchange(started_at=time.time(), started_ns=time.monotonic_ns())
        self.last = exchange
        # What `gevent.Timeout` does, for a fifth of its cost.
        expiry = get_hub().loop.timer(limit.seconds, priority=-1)
        expiry.start(gevent.getcurrent().throw, _Expired, update=True)
        try:
            if not reused:
                self.connection = self._connect(origin)
                self._origin = origin
                exchange.connect_ms = self._connected_in_ms = exchange.ms(time.monotonic_ns())
            assert self.connection is not None
            run(self.connection, exchange)
        except _Expired:
            cut_short(exchange, limit.failure, limit.error)
        except (OSError, ssl.SSLError, ProtocolError) as error:
            cut_short(exchange, Failure.CONNECTION_ERROR, describe(error))
        except BaseException:
            cut_short(exchange, Failure.CANCELLED, "cancelled: the run was stopped")
            raise
        finally:
            expiry.stop()
            expiry.close()
            if exchange.failure is not None or self.connection is None or not self.connection.keep_alive:
                self.close()
        return exchange

    def _is_kept(self, origin: Origin) -> bool:
        """Whether there is a connection that can be used again."""
        if self._origin != origin or self.connection is None:
            return False
        usable, self._idle_s = self.connection.is_usable(), self.connection.idle_s
        kept = KeptConnections.of(get_hub())
        kept.note(origin, usable, self._idle_s)
        return usable and kept.worth_keeping(origin)

    def _was_lost(self, exchange: Exchange) -> bool:
        """Whether a request on a kept connection met with its end: no byte of an answer, and soon after the start."""
        if (
            exchange.failure is not Failure.CONNECTION_ERROR
            or exchange.first_byte_ms is not None
            or exchange.end_ms is None
        ):
            return False
        return exchange.end_ms <= LOST_RACE_MS + 2.0 * self._connected_in_ms

    def try_connection(self, origin: Origin, timeout_s: float) -> str | None:
        """Connect, shake hands, send nothing. What kept it from working, `None` when it worked."""
        try:
            with gevent.Timeout(timeout_s, _Expired):
                self._connect(origin).close()
        except _Expired:
            problem = f"no connection within {timeout_s:g} s"
        except (OSError, ssl.SSLError) as error:
            problem = describe(error)
        else:
            return None
        return problem if self._proxy is None else f"{problem}, through {self._proxy}"

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _connect(self, origin: Origin) -> Connection:
        scheme, host, port = origin
        address = (host, port)
        if self._proxy is not None:
            address = (self._proxy.host, self._proxy.port)
        plain = dial(address)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._proxy is not None and scheme != "http":
                open_tunnel(plain, host, port, self._proxy)
            ask_for_stamps(plain)
            tls = shake_hands(plain, self._tls, host) if scheme in ("https", "wss") else None
        except BaseException:
            plain.close()
            raise
        return Connection(plain, tls)


def _turn_until(at: float) -> None:
    """Let the loop turn without a rest until Unix s `at`. A wall clock that is set meanwhile changes nothing."""
    until_ns = time.monotonic_ns() + int(min(at - time.time(), MOMENT_S) * 1e9)
    while time.monotonic_ns() < until_ns:
        gevent.sleep(0)


_GIVEN_UP = (Failure.CANCELLED, Failure.ABORTED)


class _Limit(NamedTuple):
    """How long a request may take, and what it is if it takes longer."""

    seconds: float
    failure: Failure
    error: str

    @classmethod
    @lru_cache
    def of(cls, timeout_s: float, leave_after_s: float | None) -> _Limit:
        if leave_after_s is None or leave_after_s > timeout_s:
            return cls(timeout_s, Failure.TIMEOUT, f"no complete answer within {timeout_s:g} s")
        return cls(leave_after_s, Failure.ABORTED, f"its user left after {leave_after_s:.3g} s")


def origin_of(url: str) -> Origin:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme in ("https", "wss") else 80)


class _Expired(BaseException):
    """The request's time is up. Not an Exception, so that no handler in between takes it."""


def _with_header(request: bytes, header: str) -> bytes:
    """A request with one more header, after its first line."""
    line, _, rest = request.partition(b"\r\n")
    return b"\r\n".join([line, header.encode("latin-1"), rest])
