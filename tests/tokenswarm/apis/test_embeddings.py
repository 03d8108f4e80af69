"""Embeddings: as the openai SDK asks and reads them, and what an answer that is none comes to."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.scripted_server import scripted_server
from tokenswarm.apis.embeddings import Embeddings, EmbeddingsBody, EmbeddingsRequest
from tokenswarm.record import Doubt, Outcome

TEXTS = ["one", "zwei ü"]


def answer(n: int = 2, **more: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": i, "embedding": "AACAPwAAAAA="} for i in range(n)]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 9, "total_tokens": 9}, **more}


def body(value: Any, expected: int = 2) -> Any:
    reader = EmbeddingsBody(expected)
    reader.feed(value if isinstance(value, bytes) else json.dumps(value).encode(), 1.0, 0.0)
    return reader.finish()


def test_a_whole_answer_has_prompt_tokens_and_no_first_token() -> None:
    found = body(answer())
    assert (found.outcome, found.columns["prompt_tokens"], found.columns["completion_tokens"]) == (Outcome.OK, 9, None)
    assert "ttft_ms" not in found.columns


@pytest.mark.parametrize(
    ("value", "outcome", "error"),
    [
        (answer(1), Outcome.BAD_PAYLOAD, "1 embeddings for 2 texts"),
        (answer(data=[{"embedding": []}] * 2), Outcome.BAD_PAYLOAD, "0 embeddings for 2 texts"),
        (answer(data=None), Outcome.BAD_PAYLOAD, "0 embeddings for 2 texts"),
        ({"error": {"code": "c", "message": "m"}}, Outcome.STREAM_ERROR, "c: m"),
        ([1], Outcome.BAD_PAYLOAD, "body is not a JSON object: list"),
    ],
)
def test_an_answer_that_is_none(value: Any, outcome: Outcome, error: str) -> None:
    found = body(value)
    assert (found.outcome, found.error) == (outcome, error)


def test_usage_of_zero_is_absent() -> None:
    found = body(answer(usage={"prompt_tokens": 0}))
    assert (found.columns["prompt_tokens"], found.columns["doubts"]) == (None, Doubt.ZERO_USAGE)


def test_the_sdk_sends_and_reads_the_same() -> None:
    data = json.dumps(answer()).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
    with (
        scripted_server([head + data]) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0) as client,
    ):
        found = client.embeddings.create(model="m", input=TEXTS, dimensions=2)
    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    encoded = Embeddings("m").encode(EmbeddingsRequest(texts=TEXTS, body={"dimensions": 2}))
    assert json.loads(encoded.body) == json.loads(sent)
    assert head.startswith(b"POST /v1" + encoded.path.encode() + b" ")
    assert found.data[0].embedding == [1.0, 0.0] and found.usage.prompt_tokens == 9
