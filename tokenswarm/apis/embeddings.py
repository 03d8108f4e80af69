"""Embeddings on the wire. One body, no stream: there is no first token, and no time between tokens. No I/O, no clock.

Source: OpenAI API reference, embeddings; the SDK asks for base64, which is a quarter of the size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenswarm.apis.api import Encoded, Found
from tokenswarm.apis.request import Request, encode_json
from tokenswarm.apis.whole_body import WholeBody
from tokenswarm.payload.errors import ToldError, find_error, read_object
from tokenswarm.payload.usage import Usage, parse_usage, plausible
from tokenswarm.record import Doubt, Outcome

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
        body = {"model": self._deployment, "input": request.texts, "encoding_format": "base64", **request.body}
        return Encoded(encode_json(body), PATH)

    def reader(self, request: EmbeddingsRequest, status: int, headers: Mapping[str, str]) -> EmbeddingsBody:
        return EmbeddingsBody(len(request.texts), status)


class EmbeddingsBody:
    """One answer. It is whole when it has as many embeddings as texts were sent."""

    __slots__ = ("_body", "_expected", "_status")

    def __init__(self, expected: int, status: int = 200) -> None:
        self._body = WholeBody()
        self._expected = expected
        self._status = status

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Raises `BodyTooLarge`."""
        self._body.add(data)
        return False

    def finish(self) -> Found:
        answer = read_object(self._body.data)
        error = answer if isinstance(answer, ToldError) else find_error(answer, message_alone=True)
        if error is not None:
            return Found(error.outcome, error.text)
        assert isinstance(answer, dict)
        return self._read(answer)

    def _read(self, answer: dict[str, Any]) -> Found:
        data, model = answer.get("data"), answer.get("model")
        usage, doubts = _usage(answer.get("usage"))
        columns: dict[str, Any] = {"model": model if isinstance(model, str) else None, **usage.columns()}
        items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
        vectors = [item.get("index", at) for at, item in enumerate(items) if _is_vector(item.get("embedding"))]
        found = len(set(map(repr, vectors)))
        if found != self._expected or len(items) != self._expected:
            said = f"{found} embeddings for {self._expected} texts"
            return Found(Outcome.BAD_PAYLOAD, said, columns=columns)
        doubts += [Doubt.STATUS] if self._status != 200 else []
        return Found(columns=columns | {"doubts": ";".join(doubts) or None})


def _usage(reported: Any) -> tuple[Usage, list[Doubt]]:
    """Prompt tokens: there are no others. Some services count only a total, which is the same."""
    usage = parse_usage(reported) if isinstance(reported, dict) else Usage()
    usage, doubts = plausible(usage, 0, reasoning_streamed=False)
    return Usage(prompt_tokens=usage.prompt_tokens or usage.total_tokens, cached_tokens=usage.cached_tokens), doubts


def _is_vector(value: Any) -> bool:
    """Whether it can be a vector: numbers, or base64 of some. One of nulls is what some servers make of a NaN."""
    if isinstance(value, list):
        return bool(value) and {type(number) for number in value} <= {int, float}
    return isinstance(value, str) and len(value) >= 8 and len(value) % 4 == 0
