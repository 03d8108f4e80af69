"""Calls to an API. Each attempt gives one record; none raises.

Requests are put together before the clock starts, and answers are read by the transport: nothing of ours or of the
SDK's runs inside a measured latency but the transport itself.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from typing import Generic, TypeVar

import gevent

from tokenswarm.apis.api import Api, Encoded, Reader
from tokenswarm.apis.request import Request, Sending, head_of, with_body, write_request
from tokenswarm.client.attempt import Caller
from tokenswarm.client.attempt_record import Call, Emit, Reply, attempt_record
from tokenswarm.client.endpoint import Address, Endpoint
from tokenswarm.client.retry import wait_before_retry
from tokenswarm.transport.exchange import Origin, Transport, origin_of
from tokenswarm.transport.proxies import proxy_for
from tokenswarm.transport.reading import Exchange, SinkFor
from tokenswarm.transport.websocket import Opening

REQUEST_ID_HEADER = "x-ms-client-request-id"
"""Carries `<call_id>-<attempt>`; Azure services write it into their logs."""

SWITCHED = 101
"""Status of a WebSocket's opening."""

Asked = TypeVar("Asked", bound=Request)


class Client(Generic[Asked]):
    """One virtual user's way to an API at an endpoint, with its own kept connection."""

    def __init__(self, api: Api[Asked], endpoint: Endpoint, sending: Sending, caller: Caller) -> None:
        self._api = api
        self._endpoint = endpoint
        self._sending = sending
        self._caller = caller
        self.transport: Transport | None = None
        self._way: _Way | None = None

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def encode(self, request: Asked) -> Encoded:
        """What a request is sent as."""
        return self._api.encode(request)

    def call(
        self,
        request: Asked,
        emit: Emit,
        scheduled_at: float | None = None,
        encoded: Encoded | None = None,
        due_at: float | None = None,
    ) -> Reply:
        """Send a request, and again as `retry` says while the run is on; `emit` gets a record as each attempt ends.
        `encoded`: what it is sent as, where that was made before the request was due; `due_at`: Unix s at which one
        that no plan has scheduled starts, a moment after the call."""
        encoded = self.encode(request) if encoded is None else encoded
        call = Call(emit, self._caller.id_prefix + os.urandom(16).hex(), 1, scheduled_at, due_at=due_at)
        first_ns = time.monotonic_ns()
        while True:
            since_first_s = (time.monotonic_ns() - first_ns) / 1e9
            reply = self._attempt(request, encoded, call, since_first_s)
            emit(reply.record)
            if self._sending.retry == "none":
                return reply
            since_first_s = (time.monotonic_ns() - first_ns) / 1e9
            wait = wait_before_retry(reply.record, since_first_s, random.random())
            if wait is None or _has_left(request, since_first_s + wait) or self._pause(wait):
                return reply
            call.attempt += 1
            call.first_started_at = call.first_started_at or reply.record.started_at

    def _pause(self, wait_s: float) -> bool:
        """Wait before the next attempt. True when the run has ended meanwhile: there is none then."""
        stopping = self._caller.stopping
        if stopping is not None:
            return bool(stopping.wait(wait_s))
        gevent.sleep(wait_s)
        return False

    def _attempt(self, request: Asked, encoded: Encoded, call: Call, since_first_s: float) -> Reply:
        """One attempt. What interrupts it (the end of the run) passes through, after a row of how far it got."""
        reader: Reader | None = None

        def sink_for(status: int, headers: dict[str, str]) -> Reader | None:
            nonlocal reader
            answered = 200 <= status < 300 or status == SWITCHED
            reader = self._api.reader(request, status, headers) if answered else None
            return reader

        try:
            left_s = None if request.abort_after_s is None else max(0.0, request.abort_after_s - since_first_s)
            exchange = self._post(encoded, call, sink_for, left_s)
        except BaseException:
            cut = self.transport.last if self.transport is not None else None
            if cut is not None:
                call.emit(attempt_record(request, reader, cut, call, self._caller).record)
            raise
        return attempt_record(request, reader, exchange, call, self._caller)

    def _post(self, encoded: Encoded, call: Call, sink_for: SinkFor, leave_after_s: float | None) -> Exchange:
        address = self._endpoint.at(encoded.path)
        call.url = address.url
        way = self._way
        if way is None or way.address is not address:
            way = self._way = self._way_to(address)
        headers = {**encoded.headers, REQUEST_ID_HEADER: call.request_id}
        if self._caller.trace_headers is not None:
            headers |= self._caller.trace_headers(call.call_id, call.attempt)
        timeout_s, transport = self._sending.timeout_s, way.transport
        if encoded.is_message:
            opening = Opening("ws" + address.url.removeprefix("http"), {**address.headers, **headers})
            is_new = encoded.is_new
            return transport.converse(opening, encoded.body, sink_for, timeout_s, leave_after_s, is_new, call.start_at)
        if headers.keys().isdisjoint(address.headers):
            data = with_body(way.head, headers, encoded.body)
        else:
            data = write_request("POST", address.url, {**address.headers, **headers}, encoded.body, way.absolute)
        return transport.send(way.origin, data, sink_for, timeout_s, leave_after_s, call.start_at)

    def _way_to(self, address: Address) -> _Way:
        origin = origin_of(address.url)
        if self.transport is None:
            self.transport = Transport(self._sending.tls, proxy_for(*origin))
        absolute = self.transport.writes_absolute(origin)
        return _Way(address, origin, self.transport, absolute, head_of("POST", address.url, address.headers, absolute))


@dataclass(frozen=True, slots=True)
class _Way:
    """Where attempts go as long as their address is the same, and what each of them begins with."""

    address: Address
    origin: Origin
    transport: Transport
    absolute: bool
    """Whether a request has its whole URL in its first line."""
    head: bytes


def _has_left(request: Request, at_s: float) -> bool:
    """Whether the user will have left by so many seconds after the first attempt began."""
    return request.abort_after_s is not None and at_s >= request.abort_after_s
