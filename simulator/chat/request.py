"""From the body of a chat request to what it asks for, or to the 400 that it gets. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from simulator.chat.tokens import count_tokens, prompt_pieces
from simulator.config.settings import Deployment
from simulator.wire import azure as wire
from simulator.wire.azure import Refusal

_FIELDS = """
    messages model max_tokens max_completion_tokens n stream stream_options temperature top_p presence_penalty
    frequency_penalty stop seed user logit_bias logprobs top_logprobs response_format tools tool_choice
    parallel_tool_calls functions function_call data_sources reasoning_effort metadata store modalities audio
    prediction service_tier prompt_cache_key safety_identifier verbosity web_search_options
"""
KNOWN_FIELDS = frozenset(_FIELDS.split())

RANGES = {"temperature": (0, 2), "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2)}

FILTER_MARKER = "[[simulate content filter]]"
"""A prompt that contains this is refused by the content filter."""

MAX_MESSAGES = 2048


class Refused(Exception):
    """The request gets `refusal` and no completion."""

    def __init__(self, refusal: Refusal, headers: dict[str, str] | None = None, reason: str | None = None) -> None:
        self.refusal = refusal
        self.headers = headers or {}
        self.reason = reason
        super().__init__(refusal.error.get("message"))


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat request that a deployment can work on."""

    pieces: list[str]
    prompt_tokens: int
    max_tokens: int | None
    n: int
    stream: bool
    include_usage: bool
    include_obfuscation: bool | None


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


def parse_chat(parsed: dict[str, Any], deployment: Deployment) -> ChatRequest:
    """Check every field that the simulator looks at. Raises Refused."""
    for name in sorted(parsed.keys() - KNOWN_FIELDS):
        raise Refused(wire.invalid(f"Unrecognized request argument supplied: {name}"))
    messages = _messages(parsed)
    _check_sampling(parsed, deployment)
    options = parsed.get("stream_options") or {}
    stream = _boolean(parsed, "stream")
    if options and not stream:
        raise Refused(
            wire.invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
        )
    if not isinstance(options, dict):
        raise Refused(wire.invalid("Invalid type for 'stream_options': expected an object.", "stream_options"))
    pieces = prompt_pieces(messages)
    return ChatRequest(
        pieces=pieces,
        prompt_tokens=count_tokens(len(pieces), len(messages)),
        max_tokens=_max_tokens(parsed, deployment),
        n=_whole(parsed, "n", 1, 128) or 1,
        stream=stream,
        include_usage=bool(options.get("include_usage")),
        include_obfuscation=options.get("include_obfuscation"),
    )


def check_prompt(parsed: dict[str, Any], request: ChatRequest, deployment: Deployment) -> None:
    """What the model, behind the limiter, refuses: a prompt too long or too bad. Raises Refused."""
    if request.prompt_tokens > deployment.context_tokens:
        raise Refused(wire.context_exceeded(deployment.context_tokens, request.prompt_tokens), reason="context_length")
    if FILTER_MARKER in json.dumps(parsed["messages"], ensure_ascii=False):
        raise Refused(wire.prompt_filtered(), reason="content_filter")


def _messages(parsed: dict[str, Any]) -> list[dict[str, Any]]:
    messages = parsed.get("messages")
    if messages is None:
        raise Refused(wire.invalid("Missing required parameter: 'messages'.", "messages"))
    if not isinstance(messages, list) or not messages or len(messages) > MAX_MESSAGES:
        raise Refused(
            wire.invalid(f"Invalid 'messages': expected an array of 1 to {MAX_MESSAGES} messages.", "messages")
        )
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            where = f"messages[{index}]"
            raise Refused(wire.invalid(f"Invalid '{where}': expected an object with a role.", where))
        if not isinstance(message.get("content"), str | list | None):
            where = f"messages[{index}].content"
            raise Refused(wire.invalid(f"Invalid '{where}': expected a string or an array of parts.", where))
    return messages


def _max_tokens(parsed: dict[str, Any], deployment: Deployment) -> int | None:
    old, new = (_whole(parsed, name, 1) for name in ("max_tokens", "max_completion_tokens"))
    if old is not None and deployment.reasoning:
        raise Refused(
            wire.invalid(
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                "max_tokens",
                "unsupported_parameter",
            )
        )
    if old is not None and new is not None:
        raise Refused(
            wire.invalid("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
        )
    wanted = new if old is None else old
    if wanted is not None and wanted > deployment.max_output_tokens:
        name = "max_tokens" if new is None else "max_completion_tokens"
        raise Refused(
            wire.invalid(
                f"{name} is too large: {wanted}. This model supports at most {deployment.max_output_tokens} "
                "completion tokens.",
                name,
            )
        )
    return wanted


def _check_sampling(parsed: dict[str, Any], deployment: Deployment) -> None:
    for name, (low, high) in RANGES.items():
        value = parsed.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused(wire.invalid(f"Invalid type for '{name}': expected a number.", name))
        if not low <= value <= high:
            message = f"Invalid '{name}': expected a value from {low} to {high}, but got {value} instead."
            raise Refused(wire.invalid(message, name))
        if deployment.reasoning and name == "temperature" and value != 1:
            raise Refused(
                wire.invalid(
                    f"Unsupported value: 'temperature' does not support {value} with this model. "
                    "Only the default (1) value is supported.",
                    name,
                    "unsupported_value",
                )
            )


def _whole(parsed: dict[str, Any], name: str, low: int, high: int | None = None) -> int | None:
    value = parsed.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(wire.invalid(f"Invalid type for '{name}': expected an integer.", name))
    if value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"{low} to {high}"
        raise Refused(wire.invalid(f"Invalid '{name}': expected {limits}, but got {value} instead.", name))
    return value


def _boolean(parsed: dict[str, Any], name: str) -> bool:
    value = parsed.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refused(wire.invalid(f"Invalid type for '{name}': expected a boolean.", name))
    return bool(value)
