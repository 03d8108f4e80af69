"""Embeddings: a batch of texts to vectors of unit length, the same for the same text. Pure."""

from __future__ import annotations

import base64
import re
import zlib
from typing import Any

import numpy as np

from simulator.apis.call import Call, Encoder, OpenAiApi, Past, Refused, Saying, check_known, choice, whole
from simulator.apis.completions import add_texts
from simulator.apis.sampling import unsupported
from simulator.apis.tokens import Prompt, vocabulary_of
from simulator.config.settings import Deployment
from simulator.wire import azure as wire
from simulator.wire.azure import Usage, dump
from simulator.wire.dialect import SERVER_ERROR, Dialect

KNOWN_FIELDS = frozenset({"model", "input", "dimensions", "encoding_format", "user", "input_type"})

MOST_INPUTS = 2048
MOST_TOKENS_OF_AN_INPUT = 8192
FIXED_LENGTH = "text-embedding-ada"
"""Models with this name take no `dimensions`."""

DIALECT = Dialect(
    content=re.compile(rb'"embedding":\[?'),
    whole_content=re.compile(rb'"embedding":\[?'),
    error_event=b"",
    error_body=dump({"error": SERVER_ERROR}),
    filtered=lambda body: dump({"error": wire.prompt_filtered().error}),
)


class EmbeddingsApi(OpenAiApi):
    """`POST .../embeddings`."""

    name = "embeddings"
    operation = "Embeddings_Create"
    dialect = DIALECT

    def read(self, parsed: dict[str, Any], deployment: Deployment, past: Past) -> Call:
        check_known(parsed, KNOWN_FIELDS)
        longest = deployment.embedding_dimensions
        if longest is None:
            raise Refused(wire.not_supported("embeddings", deployment.model))
        dimensions = whole(parsed, "dimensions", 1)
        if dimensions is not None and deployment.model.startswith(FIXED_LENGTH):
            raise unsupported("dimensions")
        if dimensions is not None and dimensions > longest:
            message = f"Invalid value for 'dimensions' = {dimensions}. Must be less than or equal to {longest}."
            raise Refused(wire.invalid(message, "dimensions"))
        form = choice(parsed, "encoding_format", ("float", "base64")) or "float"
        prompt = Prompt(vocabulary_of(deployment.model))
        inputs = _inputs(parsed, deployment, prompt)
        return Call(prompt, extra={"inputs": inputs, "dimensions": dimensions or longest, "base64": form == "base64"})

    def encoder(self, saying: Saying) -> EmbeddingsEncoder:
        return EmbeddingsEncoder(saying)

    def identifier(self, number: int) -> str:
        return f"embd-{number:035x}"


def _inputs(parsed: dict[str, Any], deployment: Deployment, prompt: Prompt) -> list[bytes]:
    """Each input as bytes, its tokens counted in `prompt`. Raises Refused."""
    given = parsed.get("input")
    if given is None:
        raise Refused(wire.invalid("Missing required parameter: 'input'.", "input", "missing_required_parameter"))
    single = isinstance(given, str) or (isinstance(given, list) and all(type(one) is int for one in given))
    each = [given] if single else given
    if not isinstance(each, list) or not each or any(not one for one in each):
        raise Refused(wire.invalid("'$.input' is invalid. Please check the API reference.", "input"))
    if len(each) > MOST_INPUTS:
        message = f"Invalid 'input': expected an array of at most {MOST_INPUTS} inputs, but got {len(each)} instead."
        raise Refused(wire.invalid(message, "input"))
    limit = min(deployment.context_tokens, MOST_TOKENS_OF_AN_INPUT)
    for one in each:
        before = prompt.total
        add_texts(prompt, one, "input")
        if (tokens := prompt.total - before) > limit:
            message = f"This model's maximum context length is {limit} tokens, however you requested {tokens} tokens "
            raise Refused(wire.invalid(f"{message}in your prompt. Please reduce your prompt.", "input"))
    return [str(one).encode("utf-8", "replace") for one in each]


class EmbeddingsEncoder(Encoder):
    """One body; there is no stream."""

    def __init__(self, saying: Saying) -> None:
        self._extra = saying.call.extra
        self._model = saying.identity.model

    def whole(self, usage: Usage) -> bytes:
        data = [
            {"object": "embedding", "index": index, "embedding": self._shown(vector(one, self._extra["dimensions"]))}
            for index, one in enumerate(self._extra["inputs"])
        ]
        used = {"prompt_tokens": usage.prompt, "total_tokens": usage.prompt}
        return dump({"object": "list", "data": data, "model": self._model, "usage": used})

    def _shown(self, values: np.ndarray[Any, np.dtype[np.float32]]) -> str | list[float]:
        if self._extra["base64"]:
            return base64.b64encode(values.astype("<f4").tobytes()).decode()
        return [round(float(value), 8) for value in values]


def vector(text: bytes, dimensions: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A direction drawn by the text; a shorter one is the beginning of the longer one, scaled to length 1."""
    values = np.random.default_rng(zlib.crc32(text)).standard_normal(dimensions, dtype=np.float32)
    return np.asarray(values / np.linalg.norm(values), dtype=np.float32)
