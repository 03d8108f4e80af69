"""What a request comes to, whatever its API; and what an API has to offer to the service. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from simulator.apis.tokens import Prompt
from simulator.config.settings import Deployment
from simulator.wire import azure as wire
from simulator.wire.azure import Answer, Chunk, Refusal, Usage
from simulator.wire.dialect import Dialect

FILTER_MARKER = "[[simulate content filter]]"
"""A prompt that contains this is refused by the content filter."""
REFUSAL_MARKER = "[[simulate refusal]]"
"""A prompt that contains this is answered with a refusal by the model."""
ANSWER_MARKER = re.compile(r"\[\[simulate answer: (.{1,4000}?)\]\]", re.DOTALL)
"""The answer to a prompt that contains this begins with what it holds, unless the deployment answers wrong."""

REFUSAL = "I'm sorry, but I can't help with that request."


class Refused(Exception):
    """The request gets `refusal` and no answer. `reason` is for the truth log."""

    def __init__(self, refusal: Refusal, headers: dict[str, str] | None = None, reason: str | None = None) -> None:
        self.refusal = refusal
        self.headers = headers or {}
        self.reason = reason
        super().__init__(refusal.error.get("message"))


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the answer may call. `parameters` is a JSON schema."""

    name: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the answer is to be: words, JSON by a schema, calls of tools, a refusal."""

    schema: dict[str, Any] | None = None
    tools: tuple[Tool, ...] = ()
    """The tools that are called, in order; empty: none."""
    stop: tuple[str, ...] = ()
    says: str | None = None
    refuses: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A request that a deployment can work on."""

    prompt: Prompt
    max_tokens: int | None = None
    choices: int = 1
    stream: bool = False
    include_usage: bool = False
    include_obfuscation: bool | None = None
    wanted: Wanted = Wanted()
    at_least: int = 0
    """Tokens before which the answer may not end by itself."""
    effort: str | None = None
    """`reasoning_effort`."""
    service_tier: str | None = None
    same_answer: bool = False
    """The client asked for the same answer each time (temperature 0 or a seed)."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What only the API itself needs for its answer."""

    @property
    def prompt_tokens(self) -> int:
        return self.prompt.total


@dataclass(frozen=True, slots=True)
class Saying:
    """Everything that an encoder needs for the answers to one request."""

    call: Call
    identity: wire.Identity
    answers: list[Answer]
    deployment: Deployment
    cached_tokens: int
    pad: Any
    """A `random.Random` for paddings."""


class Encoder(Protocol):
    """The answers of one request as bytes. What an API has not is empty: events that carry no token, or streams."""

    def opening(self) -> bytes:
        """What comes with the headers of a stream."""
        return b""

    def lead(self, index: int, chunk: Chunk) -> bytes:
        """Events without a token that precede a chunk of choice `index`."""
        return b""

    def piece(self, index: int, chunk: Chunk) -> bytes:
        """The event with the chunk's token; empty where the API shows none for it."""
        return b""

    def trail(self, sent: int) -> bytes:
        """Events without a token after the `sent`-th piece."""
        return b""

    def ending(self, usage: Usage) -> bytes:
        """Everything after the last token of a stream."""
        return b""

    def whole(self, usage: Usage) -> bytes:
        """The body of an answer that is not streamed."""


class Api(Protocol):
    """One API of the service, without state."""

    name: str
    operation: str
    """How 429 texts call it."""
    dialect: Dialect

    def check_headers(self, headers: Mapping[str, str]) -> None:
        """Raises Refused when a header is missing that the API wants."""

    def read(self, parsed: dict[str, Any], deployment: Deployment, past: Past) -> Call:
        """Check every field that the simulator looks at. Raises Refused."""

    def encoder(self, saying: Saying) -> Encoder: ...

    def identifier(self, number: int) -> str:
        """The id of an answer made out of 140 random bits."""

    def error_body(self, refusal: Refusal, request_id: str) -> bytes: ...

    def quota_headers(self, headers: dict[str, str], now: float) -> dict[str, str]:
        """What is left of a quota, in this API's own headers."""


class OpenAiApi:
    """What OpenAI's own APIs share: no header of theirs is needed, errors and quota headers go out as the service has
    them."""

    def check_headers(self, headers: Mapping[str, str]) -> None:
        """None is needed."""

    def error_body(self, refusal: Refusal, request_id: str) -> bytes:
        return refusal.body

    def quota_headers(self, headers: dict[str, str], now: float) -> dict[str, str]:
        return headers


class Past(Protocol):
    """Conversations that the service keeps."""

    def recall(self, response_id: str) -> tuple[Any, int] | None:
        """Token ids and frames of a conversation up to an answer, or None."""


def parse_json(body: bytes) -> dict[str, Any]:
    """The body as an object. Raises Refused."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        message = f"The body of the request could not be parsed as JSON: {error}"
        raise Refused(wire.invalid(message)) from error
    if not isinstance(parsed, dict):
        raise Refused(wire.invalid("The body of the request must be a JSON object."))
    return parsed


def check_prompt(call: Call, deployment: Deployment) -> None:
    """What the model, behind the limiter, refuses: a prompt too long or too bad. Raises Refused."""
    if call.prompt_tokens > deployment.context_tokens:
        raise Refused(wire.context_exceeded(deployment.context_tokens, call.prompt_tokens), reason="context_length")
    if any(FILTER_MARKER in text for text in call.prompt.texts):
        raise Refused(wire.prompt_filtered(), reason="content_filter")


def marked(prompt: Prompt, **more: Any) -> Wanted:
    """What the markers in a prompt ask for; the last answer marker counts."""
    says = None
    for text in prompt.texts:
        if "[[simulate" in text:
            says = next((found.group(1) for found in reversed([*ANSWER_MARKER.finditer(text)])), says)
    return Wanted(says=says, refuses=any(REFUSAL_MARKER in text for text in prompt.texts), **more)


_FURTHER = """
    min_tokens ignore_eos top_k min_p repetition_penalty length_penalty stop_token_ids skip_special_tokens
    spaces_between_special_tokens include_stop_str_in_output chat_template_kwargs add_generation_prompt
    priority guided_json guided_regex guided_choice structured_outputs return_token_ids cache_salt
"""
FURTHER_FIELDS = frozenset(_FURTHER.split())
"""Fields that vLLM takes beside OpenAI's."""


def least_tokens(parsed: dict[str, Any], max_tokens: int | None) -> int:
    """`min_tokens`, or all of max_tokens with `ignore_eos`. Raises Refused."""
    least = whole(parsed, "min_tokens", 0) or 0
    return max(least, max_tokens or 0) if boolean(parsed, "ignore_eos") else least


def check_known(parsed: dict[str, Any], known: frozenset[str]) -> None:
    for name in sorted(parsed.keys() - known):
        raise Refused(wire.invalid(f"Unrecognized request argument supplied: {name}"))


def whole(parsed: dict[str, Any], name: str, low: int, high: int | None = None) -> int | None:
    """A whole number, or None when it is not given. Raises Refused."""
    value = parsed.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "an integer")
    if value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"{low} to {high}"
        raise Refused(wire.invalid(f"Invalid '{name}': expected {limits}, but got {value} instead.", name))
    return value


def number(parsed: dict[str, Any], name: str, low: float, high: float) -> float | None:
    """A number, or None when it is not given. Raises Refused."""
    value = parsed.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(name, "a number")
    if not low <= value <= high:
        message = f"Invalid '{name}': expected a value from {low} to {high}, but got {value} instead."
        raise Refused(wire.invalid(message, name))
    return value


def boolean(parsed: dict[str, Any], name: str) -> bool:
    value = parsed.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(name, "a boolean")
    return bool(value)


def choice(parsed: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str | None:
    """One of `allowed`, or None when it is not given. Raises Refused."""
    value = parsed.get(name)
    if value is None:
        return None
    if value not in allowed:
        listed = ", ".join(f"'{one}'" for one in allowed)
        message = f"Invalid value: {json.dumps(value)[:80]}. Supported values are: {listed}."
        raise Refused(wire.invalid(message, name, "invalid_value"))
    return str(value)


def table(parsed: Mapping[str, Any], name: str, where: str | None = None) -> dict[str, Any]:
    """An object, empty when it is not given. Raises Refused."""
    value = parsed.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong_type(where or name, "an object")
    return value


def wrong_type(name: str, expected: str) -> Refused:
    return Refused(wire.invalid(f"Invalid type for '{name}': expected {expected}.", name))


def stop_texts(parsed: dict[str, Any], name: str = "stop", most: int | None = 4) -> tuple[str, ...]:
    """Stop sequences: a text or a list of them. Raises Refused."""
    value = parsed.get(name)
    texts = [value] if isinstance(value, str) else value or []
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise wrong_type(name, "a string or an array of strings")
    if most is not None and len(texts) > most:
        raise Refused(wire.invalid(f"Invalid '{name}': expected at most {most} sequences.", name))
    return tuple(texts)
