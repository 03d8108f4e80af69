"""The openai SDK as the authority on what a request looks like: its URL, headers and authentication.

The SDK costs more than a millisecond of CPU a request, which alone would fill a core at some hundred a second. So it
builds one request, of which URL and headers are kept until the credential has changed; a test holds
what we send against what the SDK sends.

Loading it takes half a second of CPU: that is done by `load_sdk`, before anything is measured, and not by runs that ask
something else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tokenswarm.apis.request import ChatTarget, Sending
from tokenswarm.client.endpoint import Address, Endpoint, FixedEndpoint, KeyedEndpoint, extended

if TYPE_CHECKING:
    import httpx2
    import openai

_PER_REQUEST = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding"})
"""Headers that belong to a connection or a body, and are written with each request."""


class SdkEndpoint:
    """A target as the SDK addresses it, shared by all users of a process."""

    def __init__(self, target: ChatTarget) -> None:
        self.target = target
        self._token: str | None = None
        self._addresses: dict[str, Address] = {}

    def at(self, path: str) -> Address:
        """The address of `path`, built anew when the token has been renewed. Raises what the SDK raises on bad
        parameters."""
        token = self.target.token_provider() if self.target.token_provider is not None else None
        if token != self._token:
            self._addresses.clear()
            self._token = token
        if path not in self._addresses:
            self._addresses[path] = capture_address(self.target, path)
        return self._addresses[path]


def chat_endpoint(target: ChatTarget, sending: Sending) -> Endpoint:
    """Where a target is asked, with what every request is to carry."""
    if target.app is not None:
        return extended(FixedEndpoint(target.endpoint, target.headers), sending)
    if target.asks == "messages" and target.token_provider is None:
        return extended(KeyedEndpoint(target.endpoint, target.key), sending)
    return extended(SdkEndpoint(target), sending)


def load_sdk() -> None:
    """Load the SDK, where a process may need it later and could not spare the time then."""
    importlib.import_module("openai")


def capture_address(target: ChatTarget, path: str) -> Address:
    """What the SDK sends for a request to `path` of `target`, apart from its body. Sends nothing."""
    import httpx2  # comes with the SDK, see load_sdk

    seen: list[httpx2.Request] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200)

    with make_sdk_client(target, httpx2.MockTransport(keep)) as client:
        client.post(path, body={"model": target.deployment}, cast_to=httpx2.Response)
    request = seen[0]
    headers = {name: value for name, value in request.headers.items() if name not in _PER_REQUEST}
    return Address(str(request.url), headers)


def make_sdk_client(target: ChatTarget, transport: httpx2.BaseTransport) -> openai.OpenAI:
    """The SDK's client for a target, over a given transport, without retries of its own."""
    import httpx2  # see load_sdk
    import openai

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
