"""Embeddings on the wire. One body, no stream: there is no first token, and no time between tokens. No I/O, no clock.

Source: OpenAI API reference, embeddings; the SDK asks for base64, which is a quarter of the size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jiter

from tokenswarm.apis.api import Encoded, Found
from tokenswarm.apis.chat_completions import encode_json
from tokenswarm.apis.request import Request
from tokenswarm.apis.whole_body import WholeBody
from tokenswarm.payload.errors import describe_error, unreadable
from tokenswarm.payload.usage import Usage, count_of
from tokenswarm.record import Outcome

PATH = "/embeddings"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsRequest(Request):
    """Texts to embed. `body`: further parameters of the API."""

    texts: list[str]
    name: str = "embeddings"
    body: Mapping[str, Any] = field(default_factory=dict)


class Embeddings:
    """The API of embeddings; `deployment` is the model that a body names."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment

    def encode(self, request: EmbeddingsRequest) -> Encoded:
        body = {"input": request.texts, "model": self._deployment, "encoding_format": "base64", **request.body}
        return Encoded(encode_json(body), PATH)

    def reader(self, request: EmbeddingsRequest, status: int, headers: Mapping[str, str]) -> EmbeddingsBody:
        return EmbeddingsBody(len(request.texts))


class EmbeddingsBody:
    """One answer. It is whole when it has as many embeddings as texts were sent."""

    __slots__ = ("_body", "_expected")

    def __init__(self, expected: int) -> None:
        self._body = WholeBody()
        self._expected = expected

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Raises `BodyTooLarge`."""
        self._body.add(data)
        return False

    def finish(self) -> Found:
        try:
            answer = jiter.from_json(self._body.data)
        except ValueError as cause:
            return Found(Outcome.BAD_PAYLOAD, unreadable(self._body.data, cause))
        if not isinstance(answer, dict):
            return Found(Outcome.BAD_PAYLOAD, f"body is not a JSON object: {type(answer).__name__}")
        if answer.get("error"):
            return Found(Outcome.STREAM_ERROR, describe_error(answer))
        return self._read(answer)

    def _read(self, answer: dict[str, Any]) -> Found:
        usage, data, model = answer.get("usage"), answer.get("data"), answer.get("model")
        columns: dict[str, Any] = {"model": model if isinstance(model, str) else None}
        if isinstance(usage, dict) and (prompt := count_of(usage.get("prompt_tokens"))):
            columns |= Usage(prompt_tokens=prompt).columns()
        items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
        found = sum(bool(item.get("embedding")) for item in items)
        if found != self._expected:
            return Found(Outcome.BAD_PAYLOAD, f"{found} embeddings for {self._expected} texts", columns=columns)
        return Found(columns=columns)
