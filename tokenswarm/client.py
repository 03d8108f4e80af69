"""Calls to a chat-completion deployment and to a RAG orchestrator. Each attempt gives one record; none raises.

The chat request is built by the openai SDK (URL style, authentication, token refresh) and sent by our transport, so
no SDK code runs while an answer streams and none is inside a measured latency.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import gevent
import httpx2
import openai

from tokenswarm.answer import Call, Emit, Reply, chat_record, rag_record
from tokenswarm.attempt import Caller
from tokenswarm.rag import RagStream
from tokenswarm.request import (
    ChatRequest,
    ChatTarget,
    RagRequest,
    RagTarget,
    Sending,
    chat_body,
    chat_sink,
    rag_body,
    write_request,
)
from tokenswarm.retry import wait_before_retry
from tokenswarm.sdk import MeasuringTransport, make_sdk_client
from tokenswarm.transport import Exchange, Transport, proxy_for


class ChatClient:
    """One virtual user's way to a chat deployment, with its own kept connection."""

    def __init__(self, target: ChatTarget, sending: Sending, caller: Caller) -> None:
        self._target = target
        self._sending = sending
        self._caller = caller
        host = urlsplit(target.endpoint)
        self._measuring = MeasuringTransport(
            Transport(sending.tls, proxy_for(host.scheme, host.hostname or "")), sending.timeout_s
        )
        self._sdk = make_sdk_client(target, self._measuring)

    def call(self, request: ChatRequest, emit: Emit, scheduled_at: float | None = None) -> Reply:
        """Send a request, and again as `retry` says; `emit` gets a record as each attempt ends."""

        def attempt(call: Call) -> Reply:
            return self._attempt(request, call)

        return _call(attempt, self._sending.retry, emit, scheduled_at)

    def close(self) -> None:
        self._measuring.close()

    def _attempt(self, request: ChatRequest, call: Call) -> Reply:
        self._measuring.expect(lambda status, headers: chat_sink(status, headers, request))
        options: Any = {"headers": {"x-ms-client-request-id": call.request_id}}
        try:
            self._sdk.post(
                "/chat/completions",
                body=chat_body(request, self._target.deployment),
                cast_to=httpx2.Response,
                options=options,
            )
        except openai.OpenAIError as error:
            exchange = self._measuring.exchange
            if exchange is None:  # the SDK failed before anything was sent: a token that could not be had
                exchange = _unsent(f"{type(error).__name__}: {error}")
        except BaseException:
            call.emit(chat_record(request, _cancelled(self._measuring.exchange), call, self._caller).record)
            raise
        else:
            exchange = self._measuring.exchange
        assert exchange is not None
        return chat_record(request, exchange, call, self._caller)


class RagClient:
    """One virtual tester's way to an orchestrator, with its own kept connection."""

    def __init__(self, target: RagTarget, sending: Sending, caller: Caller) -> None:
        self._target = target
        self._sending = sending
        self._caller = caller
        url = urlsplit(target.url)
        self._origin = (url.scheme, url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        self._transport = Transport(sending.tls, proxy_for(url.scheme, url.hostname or ""))

    def call(self, request: RagRequest, emit: Emit, scheduled_at: float | None = None) -> Reply:
        """Send a question, and again as `retry` says; `emit` gets a record as each attempt ends."""

        def attempt(call: Call) -> Reply:
            return self._attempt(request, call)

        return _call(attempt, self._sending.retry, emit, scheduled_at)

    def close(self) -> None:
        self._transport.close()

    def _attempt(self, request: RagRequest, call: Call) -> Reply:
        body = rag_body(request, self._target)
        headers = {
            "Content-Type": "application/json",
            "Accept": "*/*",
            "x-ms-client-request-id": call.request_id,
            **self._target.headers,
        }
        streams = self._target.contract != "v1"
        try:
            exchange = self._transport.send(
                self._origin,
                lambda absolute: write_request("POST", self._target.url, headers, body, absolute),
                lambda status, _headers: RagStream() if streams and status == 200 else None,
                self._sending.timeout_s,
            )
        except BaseException:
            exchange = _cancelled(self._transport.last)
            call.emit(rag_record(request, self._target, exchange, call, self._caller).record)
            raise
        return rag_record(request, self._target, exchange, call, self._caller)


def _call(attempt: Callable[[Call], Reply], retry: str, emit: Emit, scheduled_at: float | None) -> Reply:
    call = Call(emit, uuid.uuid4().hex, 1, scheduled_at)
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


def _cancelled(exchange: Exchange | None) -> Exchange:
    """An exchange that the end of the run cut short, as far as it got."""
    if exchange is None:
        exchange = _unsent("stopped before it was sent")
    if exchange.end_ms is None:
        exchange.end_ms = exchange.ms(time.monotonic_ns())
    exchange.failure = "cancelled"
    exchange.error = "cancelled: the run was stopped"
    return exchange


def _unsent(error: str) -> Exchange:
    now = time.monotonic_ns()
    return Exchange(started_at=time.time(), started_ns=now, end_ms=0.0, failure="connection_error", error=error[:500])
