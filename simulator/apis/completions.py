"""Legacy completions (`prompt` in, `text` out), as base models, vLLM and gateways serve them. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from simulator.apis.call import (
    FURTHER_FIELDS,
    Call,
    Encoder,
    OpenAiApi,
    Past,
    Refused,
    Saying,
    boolean,
    check_known,
    least_tokens,
    marked,
    stop_texts,
    whole,
)
from simulator.apis.chat import stream_options
from simulator.apis.sampling import chat_limit, check_sampling
from simulator.apis.tokens import Prompt, vocabulary_of
from simulator.config.settings import Deployment
from simulator.wire import azure as wire
from simulator.wire.azure import Chunk, Usage, dump, event
from simulator.wire.dialect import SERVER_ERROR, Dialect

_FIELDS = """
    model prompt max_tokens temperature top_p n stream stream_options logprobs echo stop presence_penalty
    frequency_penalty best_of logit_bias user suffix seed
"""
KNOWN_FIELDS = frozenset(_FIELDS.split())

DEFAULT_MAX_TOKENS = 16


def filtered(body: bytes) -> bytes:
    parsed = json.loads(body.removeprefix(b"data: "))
    for choice in parsed["choices"]:
        choice.update(finish_reason="content_filter", text="")
    return event(parsed) + wire.DONE if body.startswith(b"data: ") else dump(parsed)


_ERROR = dump({"error": SERVER_ERROR})

DIALECT = Dialect(
    content=re.compile(rb'"text":"(?!")'),
    whole_content=re.compile(rb'"text":"'),
    error_event=b"data: " + _ERROR + b"\n\n",
    error_body=_ERROR,
    filtered=filtered,
)


class CompletionsApi(OpenAiApi):
    """`POST .../completions`."""

    name = "completions"
    operation = "Completions_Create"
    dialect = DIALECT

    def read(self, parsed: dict[str, Any], deployment: Deployment, past: Past) -> Call:
        check_known(parsed, KNOWN_FIELDS | FURTHER_FIELDS if deployment.further_fields else KNOWN_FIELDS)
        if deployment.embedding_dimensions is not None or deployment.reasoning:
            raise Refused(wire.not_supported("completion", deployment.model))
        check_sampling(parsed, deployment)
        stream, options = stream_options(parsed)
        prompt = Prompt(vocabulary_of(deployment.model))
        count = add_texts(prompt, parsed.get("prompt", "<|endoftext|>"), "prompt")
        max_tokens = chat_limit(parsed, deployment) or DEFAULT_MAX_TOKENS
        return Call(
            prompt=prompt,
            max_tokens=max_tokens,
            at_least=least_tokens(parsed, max_tokens),
            choices=count * (whole(parsed, "n", 1, 128) or 1),
            stream=stream,
            include_usage=bool(options.get("include_usage")),
            wanted=marked(prompt, stop=stop_texts(parsed)),
            same_answer=parsed.get("temperature") == 0 or parsed.get("seed") is not None,
            extra={"echo": "".join(prompt.texts) if boolean(parsed, "echo") else ""},
        )

    def encoder(self, saying: Saying) -> CompletionsEncoder:
        return CompletionsEncoder(saying)

    def identifier(self, number: int) -> str:
        return f"cmpl-{number:035x}"


def add_texts(prompt: Prompt, given: Any, where: str) -> int:
    """Count a text, tokens, or a list of either. Returns how many there are. Raises Refused."""
    if isinstance(given, str):
        prompt.add_text(given)
        return 1
    if given and _are_tokens(given):
        prompt.add_ids(given)
        return 1
    if isinstance(given, list) and given and all(isinstance(one, str) for one in given):
        for text in given:
            prompt.add_text(text)
        return len(given)
    if not isinstance(given, list) or not given or not all(_are_tokens(one) for one in given):
        message = f"Invalid '{where}': expected a string, tokens, or an array of either."
        raise Refused(wire.invalid(message, where))
    for one in given:
        prompt.add_ids(one)
    return len(given)


def _are_tokens(given: Any) -> bool:
    return isinstance(given, list) and all(type(one) is int for one in given)


class CompletionsEncoder(Encoder):
    """Chunks with the text of one choice each, usage when asked for, [DONE]."""

    def __init__(self, saying: Saying) -> None:
        self._identity = saying.identity
        self._call = saying.call
        self._answers = saying.answers
        self._heads: dict[int, tuple[bytes, bytes]] = {}

    def _body(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        identity = self._identity
        return {
            "id": identity.id,
            "object": "text_completion",
            "created": identity.created,
            "model": identity.model,
            "choices": choices,
            **more,
        }

    def _choice(self, index: int, text: str, reason: str | None) -> dict[str, Any]:
        return {"text": text, "index": index, "finish_reason": reason, "logprobs": None}

    def piece(self, index: int, chunk: Chunk) -> bytes:
        if index not in self._heads:
            head, _, tail = self._event([self._choice(index, "\x00", None)]).partition(b"\\u0000")
            self._heads[index] = head, tail
        head, tail = self._heads[index]
        text = chunk.text if self._answers[index].plain else json.dumps(chunk.text)[1:-1]
        return head + text.encode() + tail

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        return event(self._body(choices, **({"usage": usage} if self._call.include_usage else {})))

    def ending(self, usage: Usage) -> bytes:
        ends = [self._event([self._choice(n, "", _reason(one.finish))]) for n, one in enumerate(self._answers)]
        if self._call.include_usage:
            ends.append(self._event([], wire.usage(usage)))
        return b"".join(ends) + wire.DONE

    def whole(self, usage: Usage) -> bytes:
        echo = self._call.extra["echo"]
        choices = [self._choice(n, echo + one.text, _reason(one.finish)) for n, one in enumerate(self._answers)]
        return dump(self._body(choices, usage=wire.usage(usage)))


def _reason(finish: str) -> str:
    return finish if finish == "length" else "stop"
