"""The openai SDK over our own transport: it builds and signs requests, we send and time them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import openai

from tokenswarm.request import ChatTarget, write_request
from tokenswarm.transport import Exchange, Sink, Transport


class MeasuringTransport(httpx2.BaseTransport):
    """What the SDK takes for its HTTP client: sends with our transport and keeps the exchange for us."""

    def __init__(self, transport: Transport, timeout_s: float) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._sink_for: Callable[[int, dict[str, str]], Sink | None] = lambda _status, _headers: None
        self.exchange: Exchange | None = None

    def expect(self, sink_for: Callable[[int, dict[str, str]], Sink | None]) -> None:
        """Who takes the next answer."""
        self._sink_for = sink_for
        self.exchange = None
        self._transport.last = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        origin = (url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80))
        headers = {name: value for name, value in request.headers.items() if name not in _OWN_HEADERS}
        body = request.read()
        try:
            self.exchange = self._transport.send(
                origin,
                lambda absolute: write_request(request.method, str(url), headers, body, absolute),
                self._sink_for,
                self._timeout_s,
            )
        except BaseException:
            self.exchange = self._transport.last
            raise
        if self.exchange.status is None:
            raise httpx2.ConnectError(self.exchange.error or "no answer", request=request)
        return httpx2.Response(self.exchange.status, request=request)

    def close(self) -> None:
        self._transport.close()


_OWN_HEADERS = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding"})


def make_sdk_client(target: ChatTarget, transport: httpx2.BaseTransport) -> openai.OpenAI:
    """The SDK's client for a target, over a transport of ours, without retries of its own."""
    http_client = httpx2.Client(transport=transport, trust_env=False)
    if target.api == "azure":
        return openai.AzureOpenAI(
            azure_endpoint=target.endpoint,
            api_version=target.api_version,
            api_key=target.key,
            azure_ad_token_provider=target.token_provider,
            max_retries=0,
            http_client=http_client,
        )
    key: Any = target.token_provider if target.token_provider is not None else target.key
    return openai.OpenAI(base_url=target.endpoint, api_key=key, max_retries=0, http_client=http_client)


def warm_up_sdk(target: ChatTarget) -> None:
    """Pay the SDK's first-use costs (lazy imports, a `uname` subprocess) before users start: once, without network."""
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200))
    client = make_sdk_client(target, transport)
    client.post("/chat/completions", body={"model": target.deployment}, cast_to=httpx2.Response)
    client.close()
