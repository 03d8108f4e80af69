"""What Azure OpenAI puts on the wire: events of a stream, completions, headers, error bodies. Pure."""

from __future__ import annotations

import json
import math
import random
import string
from dataclasses import dataclass
from typing import Any, NamedTuple

DONE = b"data: [DONE]\n\n"

_SAFE = {"filtered": False, "severity": "safe"}
_COMPLETION_FILTER = {name: _SAFE for name in ("hate", "self_harm", "sexual", "violence")}
_PROMPT_FILTER = {
    "hate": _SAFE,
    "jailbreak": {"detected": False, "filtered": False},
    "self_harm": _SAFE,
    "sexual": _SAFE,
    "violence": _SAFE,
}


def event(body: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + dump(body) + b"\n\n"


def dump(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Identity:
    """What all events of one answer have in common."""

    id: str
    created: int
    model: str
    fingerprint: str
    include_usage: bool = False
    azure: bool = True
    """Content-filter verdicts are Azure's; a plain OpenAI-compatible server has none."""
    service_tier: str | None = None
    """Said in the answer when the request named one."""

    def chunk(
        self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None, obfuscation: str | None = None
    ) -> dict[str, Any]:
        """A `chat.completion.chunk`, keys in alphabetical order."""
        chunk: dict[str, Any] = {
            "choices": choices,
            "created": self.created,
            "id": self.id,
            "model": self.model,
            **({"obfuscation": obfuscation} if obfuscation else {}),
            "object": "chat.completion.chunk",
            **({"service_tier": self.service_tier} if self.service_tier else {}),
            "system_fingerprint": self.fingerprint,
        }
        if self.include_usage:
            chunk["usage"] = usage
        return chunk

    def choice(self, index: int, delta: dict[str, Any], finish: str | None, verdict: Any) -> dict[str, Any]:
        filtered = {"content_filter_results": verdict} if self.azure else {}
        return {**filtered, "delta": delta, "finish_reason": finish, "index": index, "logprobs": None}

    def role_event(self, index: int) -> bytes:
        delta = {"content": "", "refusal": None, "role": "assistant"}
        return event(self.chunk([self.choice(index, delta, None, {})]))

    def finish_event(self, index: int, reason: str) -> bytes:
        return event(self.chunk([self.choice(index, {}, reason, {})]))

    def usage_event(self, usage: dict[str, Any]) -> bytes:
        return event(self.chunk([], usage))


class ContentEvents:
    """Content events of one choice, with everything but the text prepared: one concatenation per chunk."""

    def __init__(self, identity: Identity, index: int, verdicts: bool, obfuscation: random.Random | None) -> None:
        verdict = _COMPLETION_FILTER if verdicts else {}
        choice = identity.choice(index, {"content": "\x00"}, None, verdict)
        whole = event(identity.chunk([choice], obfuscation="\x01" if obfuscation else None))
        self._head, _, tail = whole.partition(b"\\u0000")
        self._tail, _, self._end = tail.partition(b"\\u0001")
        self._obfuscation = obfuscation

    def event(self, text: str) -> bytes:
        """`text` must need no escaping in JSON."""
        if self._obfuscation is None:
            return self._head + text.encode() + self._tail
        padding = "".join(self._obfuscation.choices(string.ascii_letters + string.digits, k=16 - len(text) % 16))
        return self._head + text.encode() + self._tail + padding.encode() + self._end


def prompt_filter_event() -> bytes:
    """The first event of an Azure stream: verdicts about the prompt, no choice."""
    return event(
        {
            "choices": [],
            "created": 0,
            "id": "",
            "model": "",
            "object": "",
            "prompt_filter_results": prompt_filter_results(),
        }
    )


def prompt_filter_results() -> list[dict[str, Any]]:
    return [{"prompt_index": 0, "content_filter_results": _PROMPT_FILTER}]


def async_verdict_event(index: int, start: int, end: int) -> bytes:
    """A verdict of the asynchronous filter about characters `start` to `end`: a choice without a delta."""
    choice = {
        "content_filter_offsets": {"check_offset": end, "end_offset": end, "start_offset": start},
        "content_filter_results": _COMPLETION_FILTER,
        "finish_reason": None,
        "index": index,
    }
    return event({"choices": [choice], "created": 0, "id": "", "model": "", "object": ""})


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request. `completion` includes `reasoning`, `prompt` includes `cached`."""

    prompt: int
    cached: int
    completion: int
    reasoning: int


def usage(used: Usage) -> dict[str, Any]:
    """Usage as chat and legacy completions report it."""
    return {
        "completion_tokens": used.completion,
        "completion_tokens_details": {
            "accepted_prediction_tokens": 0,
            "audio_tokens": 0,
            "reasoning_tokens": used.reasoning,
            "rejected_prediction_tokens": 0,
        },
        "prompt_tokens": used.prompt,
        "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": used.cached},
        "total_tokens": used.prompt + used.completion,
    }


def completion_body(
    identity: Identity, messages: list[dict[str, Any]], reasons: list[str], used: dict[str, Any]
) -> bytes:
    """The body of a chat completion that is not streamed."""
    choices: list[dict[str, Any]] = [
        {
            **({"content_filter_results": _COMPLETION_FILTER} if identity.azure else {}),
            "finish_reason": reason,
            "index": index,
            "logprobs": None,
            "message": message,
        }
        for index, (message, reason) in enumerate(zip(messages, reasons, strict=True))
    ]
    body = {
        "choices": choices,
        "created": identity.created,
        "id": identity.id,
        "model": identity.model,
        "object": "chat.completion",
        **({"prompt_filter_results": prompt_filter_results()} if identity.azure else {}),
        **({"service_tier": identity.service_tier} if identity.service_tier else {}),
        "system_fingerprint": identity.fingerprint,
        "usage": used,
    }
    return dump(body)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that carries no completion."""

    status: int
    error: dict[str, Any]

    @property
    def body(self) -> bytes:
        return dump({"error": self.error})


UNAUTHORIZED = Refusal(
    401,
    {
        "code": "401",
        "message": "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid "
        "key for an active subscription and use a correct regional API endpoint for your resource.",
    },
)
NO_RESOURCE = Refusal(404, {"code": "404", "message": "Resource not found"})
NO_DEPLOYMENT = Refusal(
    404,
    {
        "code": "DeploymentNotFound",
        "message": "The API deployment for this resource does not exist. If you created the deployment within the "
        "last 5 minutes, please wait a moment and try again.",
    },
)


def no_model(model: str) -> Refusal:
    """What a plain OpenAI-compatible server says to an unknown model."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return Refusal(404, {"message": message, "type": "invalid_request_error", "param": None, "code": "model_not_found"})


def invalid(message: str, param: str | None = None, code: str | None = None) -> Refusal:
    """400: the request itself is wrong."""
    return Refusal(400, {"message": message, "type": "invalid_request_error", "param": param, "code": code})


def context_exceeded(limit: int, tokens: int) -> Refusal:
    return invalid(
        f"This model's maximum context length is {limit} tokens. However, your messages resulted in {tokens} tokens. "
        "Please reduce the length of the messages.",
        "messages",
        "context_length_exceeded",
    )


def prompt_filtered() -> Refusal:
    """400: the prompt itself was refused by the content filter."""
    verdict = _PROMPT_FILTER | {"hate": {"filtered": True, "severity": "high"}}
    return Refusal(
        400,
        {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
            "policy. Please modify your prompt and retry. To learn more about our content filtering policies please "
            "read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": verdict},
        },
    )


def not_supported(operation: str, model: str) -> Refusal:
    """400: the model is of another kind."""
    message = f"The {operation} operation does not work with the specified model, {model}. Please choose different "
    return Refusal(400, {"code": "OperationNotSupported", "message": message + "model and try again."})


def throttled(model: str, name: str, region: str, reason: str, retry_after_s: float, under: str) -> Refusal:
    """429. The real text of a provisioned deployment is not known; a client must go by status and headers."""
    seconds = max(1, math.ceil(retry_after_s))
    if reason == "capacity":
        message = (
            "The system is currently experiencing high demand and cannot process your request. Your request exceeds "
            f"the maximum usage size allowed during peak load. Please retry after {seconds} seconds. For improved "
            "latency reliability, consider switching to Provisioned Throughput."
        )
        return Refusal(429, {"code": "429", "message": message})
    if reason == "utilization":
        message = f"The provisioned deployment {name} is above 100% utilization. Please retry after {seconds} seconds."
        return Refusal(429, {"code": "429", "message": message})
    kind = "token" if reason == "tokens" else "call"
    message = (
        f"Your requests to {name} for {model} in {region} have exceeded the {kind} rate limit for your "
        f"current OpenAI S0 pricing tier. This request was for {under}. Please retry "
        f"after {seconds} seconds. To increase your default rate limit, visit: https://aka.ms/oai/quotaincrease."
    )
    return Refusal(429, {"code": "RateLimitReached", "message": message})


def policy_header(reason: str) -> dict[str, str]:
    """Names the policy that refused a pay-as-you-go request."""
    kind = {"tokens": "Token", "requests": "Call"}.get(reason)
    return {"policy-id": f"DeploymentRatelimit-{kind}"} if kind else {}


def answer_headers(request_id: str, client_request_id: str | None, region: str, deployment: str) -> dict[str, str]:
    """The ids and routing headers that come with every answer of a deployment."""
    headers = {
        "apim-request-id": request_id,
        "x-request-id": request_id,
        "x-ms-region": region,
        "x-ms-deployment-name": deployment,
    }
    return headers | ({"x-ms-client-request-id": client_request_id} if client_request_id else {})


class Chunk(NamedTuple):
    """Tokens that are sent together: `due_ms` after the start of generation, their text, how many they are."""

    due_ms: float
    text: str
    tokens: int
    part: int = 0
    """Of an answer that calls tools: which call."""
    starts: bool = False
    """Whether it names the tool of its part; its text is empty then."""
    reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A planned completion of one choice."""

    chunks: tuple[Chunk, ...]
    completion_tokens: int
    """Including the reasoning tokens."""
    reasoning_tokens: int
    finish: str
    """stop, length, stop_sequence, tools or refusal: each API has its own words for them."""
    end_ms: float
    """When the last token, of reasoning or of text, is due."""
    kind: str = "text"
    """text, tools or refusal."""
    tools: tuple[tuple[str, str], ...] = ()
    """Id and name of each tool that is called, by part."""
    plain: bool = True
    """Whether the text needs no escaping in JSON."""
    stopped_by: str | None = None
    """The stop sequence that ended it."""

    @property
    def text(self) -> str:
        return "".join([chunk.text for chunk in self.chunks if not chunk.reasoning])

    @property
    def thoughts(self) -> str:
        """Reasoning that is shown."""
        return "".join([chunk.text for chunk in self.chunks if chunk.reasoning])

    def part_text(self, part: int) -> str:
        """The arguments of one call."""
        return "".join([chunk.text for chunk in self.chunks if chunk.part == part and not chunk.reasoning])
