"""Calls to a chat-completion deployment and to a RAG orchestrator. Each attempt gives one record; none raises.

Requests are put together before the clock starts, and answers are read by the transport: nothing of ours or of the
SDK's runs inside a measured latency but the transport itself.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import gevent

from tokenswarm.apis.gpt_rag import RagStream
from tokenswarm.apis.request import (
    ChatRequest,
    RagRequest,
    RagTarget,
    Sending,
    chat_body,
    chat_sink,
    rag_body,
    write_request,
)
from tokenswarm.client.attempt import Caller
from tokenswarm.client.attempt_record import Call, Emit, Reply, chat_record, rag_record
from tokenswarm.client.retry import wait_before_retry
from tokenswarm.client.sdk import ChatTemplate, encode_body
from tokenswarm.transport.connect import proxy_for
from tokenswarm.transport.exchange import Exchange, SinkFor, Transport

REQUEST_ID_HEADER = "x-ms-client-request-id"
"""Carries `<call_id>-<attempt>`; Azure services write it into their logs."""


class Client:
    """One virtual user's way to a target, with its own kept connection."""

    def __init__(self, sending: Sending, caller: Caller) -> None:
        self._sending = sending
        self._caller = caller
        self._transport: Transport | None = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _post(self, url: str, headers: Mapping[str, str], body: bytes, call: Call, sink_for: SinkFor) -> Exchange:
        """Send one attempt. What interrupts it (the end of the run) passes through; its exchange is `_interrupted`."""
        parts = urlsplit(url)
        origin = (parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        if self._transport is None:
            self._transport = Transport(self._sending.tls, proxy_for(parts.scheme, origin[1]))
        all_headers = {**headers, REQUEST_ID_HEADER: call.request_id}
        if self._caller.trace_headers is not None:
            all_headers |= self._caller.trace_headers(call.call_id, call.attempt)
        absolute = self._transport.writes_absolute(origin)
        request = write_request("POST", url, all_headers, body, absolute)
        return self._transport.send(origin, request, sink_for, self._sending.timeout_s)

    def _interrupted(self) -> Exchange | None:
        """The exchange that the end of the run cut short, as far as it got; `None` if it had not begun."""
        return self._transport.last if self._transport is not None else None


class ChatClient(Client):
    """Calls a chat deployment."""

    def __init__(self, template: ChatTemplate, sending: Sending, caller: Caller) -> None:
        super().__init__(sending, caller)
        self._template = template

    def encode(self, request: ChatRequest) -> bytes:
        """The body that a request is sent with."""
        return encode_body(chat_body(request, self._template.target.deployment))

    def call(
        self, request: ChatRequest, emit: Emit, scheduled_at: float | None = None, encoded: bytes | None = None
    ) -> Reply:
        """Send a request, and again as `retry` says; `emit` gets a record as each attempt ends. `encoded`: its body,
        where that was made before the request was due."""
        body = self.encode(request) if encoded is None else encoded

        def attempt(call: Call) -> Reply:
            template = self._template.current()
            try:
                exchange = self._post(
                    template.url,
                    template.headers,
                    body,
                    call,
                    lambda status, headers: chat_sink(status, headers, request),
                )
            except BaseException:
                if (cut := self._interrupted()) is not None:
                    call.emit(chat_record(request, cut, call, self._caller).record)
                raise
            return chat_record(request, exchange, call, self._caller)

        return _call(attempt, self._sending.retry, emit, scheduled_at)


class RagClient(Client):
    """Asks an orchestrator."""

    def __init__(self, target: RagTarget, sending: Sending, caller: Caller) -> None:
        super().__init__(sending, caller)
        self._target = target
        self._headers = {"Content-Type": "application/json", "Accept": "*/*", **target.headers}

    def encode(self, request: RagRequest) -> bytes:
        """The body that a question is sent with."""
        return rag_body(request, self._target)

    def call(
        self, request: RagRequest, emit: Emit, scheduled_at: float | None = None, encoded: bytes | None = None
    ) -> Reply:
        """Send a question, and again as `retry` says; `emit` gets a record as each attempt ends. `encoded`: its body,
        where that was made before the question was due."""
        target = self._target
        body = self.encode(request) if encoded is None else encoded
        streams = target.contract != "v1"

        def attempt(call: Call) -> Reply:
            try:
                exchange = self._post(
                    target.url,
                    self._headers,
                    body,
                    call,
                    lambda status, _headers: RagStream() if streams and status == 200 else None,
                )
            except BaseException:
                if (cut := self._interrupted()) is not None:
                    call.emit(rag_record(request, target, cut, call, self._caller).record)
                raise
            return rag_record(request, target, exchange, call, self._caller)

        return _call(attempt, self._sending.retry, emit, scheduled_at)


def _call(attempt: Callable[[Call], Reply], retry: str, emit: Emit, scheduled_at: float | None) -> Reply:
    call = Call(emit, os.urandom(16).hex(), 1, scheduled_at)
    first_ns = time.monotonic_ns()
    while True:
        reply = attempt(call)
        emit(reply.record)
        if retry == "none":
            return reply
        since_first_s = (time.monotonic_ns() - first_ns) / 1e9
        wait = wait_before_retry(reply.record, since_first_s, random.random())
        if wait is None:
            return reply
        gevent.sleep(wait)
        call.attempt += 1
        call.first_started_at = call.first_started_at or reply.record.started_at
