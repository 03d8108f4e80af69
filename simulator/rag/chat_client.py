"""The orchestrator's own calls to the chat target, over HTTP like anybody else's."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx2

from simulator.truth.log import INTERNAL_HEADER

TIMEOUT_S = 120.0

Messages = list[dict[str, str]]


class ChatFailed(Exception):
    """A chat call did not give an answer. `status` is None when it broke in another way than by its status."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ChatClient:
    """Streams completions of one deployment (classic URL style, `api-key`). Never retries: a 429 is a failure.

    The connections belong to the event loop of the first call.
    """

    def __init__(self, base_url: str, key: str, deployment: str, api_version: str) -> None:
        self._url = f"{base_url.rstrip('/')}/openai/deployments/{deployment}/chat/completions?api-version={api_version}"
        self._headers = {"api-key": key, INTERNAL_HEADER: "1"}
        self._http: httpx2.AsyncClient | None = None

    async def complete(self, messages: Messages, max_tokens: int, call_id: str) -> str:
        """The whole answer."""
        async with aclosing(self.stream(messages, max_tokens, call_id)) as pieces:
            return "".join([piece async for piece in pieces])

    async def stream(self, messages: Messages, max_tokens: int, call_id: str) -> AsyncGenerator[str, None]:
        """The pieces of the answer as they arrive, none empty. `call_id` is sent as x-ms-client-request-id.

        Raises ChatFailed: an error status, an error in the stream, a stream without its end, a broken connection.
        """
        request = self._open().stream(
            "POST",
            self._url,
            json={"messages": messages, "max_tokens": max_tokens, "stream": True},
            headers={"x-ms-client-request-id": call_id},
        )
        try:
            async with request as response:
                if response.status_code != 200:
                    raise ChatFailed(_explain(response.status_code, await response.aread()), response.status_code)
                async with aclosing(_read_pieces(response)) as pieces:
                    async for piece in pieces:
                        yield piece
        except httpx2.HTTPError as error:
            raise ChatFailed(f"chat target: {type(error).__name__}: {error}") from error

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def _open(self) -> httpx2.AsyncClient:
        if self._http is None:
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
            self._http = httpx2.AsyncClient(
                headers=self._headers,
                timeout=TIMEOUT_S,
                limits=limits,
                # Loading certificates that plain http never uses would stop every stream of this process for 25 ms.
                verify=self._url.startswith("https:"),
                trust_env=False,  # a proxy from the environment must not come between two targets of one machine
            )
        return self._http


async def _read_pieces(response: httpx2.Response) -> AsyncGenerator[str, None]:
    done = False
    async with aclosing(_read_lines(response)) as lines:
        async for line in lines:  # to the very end, past [DONE]: only then can the connection be used again
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                done = True
            elif piece := _content(data):
                yield piece
    if not done:
        raise ChatFailed("chat target: the stream ended before [DONE]")


async def _read_lines(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    # Not aiter_lines: it also splits at U+2028, which may stand inside a JSON string.
    rest = b""
    async with aclosing(response.aiter_bytes()) as blocks:
        async for block in blocks:
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield line
    yield rest


def _content(data: bytes) -> str:
    try:
        event: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise ChatFailed(f"chat target: event is not JSON: {error}") from error
    if "error" in event:
        raise ChatFailed(f"chat target: {event['error']}")
    choices = event.get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""


def _explain(status: int, body: bytes) -> str:
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = body[:200].decode("utf-8", "replace")
    return f"Error code: {status} - {message}"
