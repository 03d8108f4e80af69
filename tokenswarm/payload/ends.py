"""How an answer ended, by the reasons that services give: good, filtered, failed, or not known. No I/O, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenswarm.record import Doubt, Outcome

GOOD_ENDS = frozenset(
    {"stop", "length", "tool_calls", "function_call"}
    | {"end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "model_context_window_exceeded"}
    | {"completed", "max_output_tokens", "eos", "eos_token", "model_length", "complete"}
    | {"tool_call", "tooluse", "stop_str", "max_length"}
)
"""Finish reasons of whole answers: OpenAI's, Anthropic's, and what gateways pass on from Gemini, TGI, Mistral and
Cohere."""

FILTERED_ENDS = frozenset(
    {"content_filter", "content_filtered", "safety", "sensitive", "guardrail_intervened", "refusal", "error_toxic"}
    | {"recitation", "prohibited_content", "blocklist", "spii", "image_safety", "language"}
)
FAILED_ENDS = frozenset(
    {"error", "network_error", "insufficient_system_resource", "abort", "aborted", "cancelled", "failed", "timeout"}
    | {"malformed_function_call", "user_cancel"}
)
"""As OpenRouter, Zhipu, DeepSeek, vLLM, Gemini and Cohere say that generation broke off."""
_BROKEN_WORDS = re.compile(
    r"error|abort|cancel|fail|interrupt|overload|time_?out|malformed|unexpected|too_many|crash|disconnect|preempt|out_of_memory",
    re.I,
)
"""In a reason that nobody has named before, each says that generation broke off."""
_ENUMERATION = re.compile(r"^finish_?reason[._]")
_NO_ENDS = frozenset({"", "null", "none"})
"""What some servers write into chunks before the last one."""


def end_reason(value: object) -> str | None:
    """A finish reason as it stands in an answer (SGLang's own API has it in an object); `None` for what is none."""
    if isinstance(value, dict):
        value = value.get("type")
    return value.strip() if isinstance(value, str) and value.strip().lower() not in _NO_ENDS else None


def _plain(reason: str) -> str:
    """A reason without the name of its enumeration, as some libraries write it."""
    return _ENUMERATION.sub("", reason.lower().replace("-", "_"))


def failed_end(reasons: Iterable[str]) -> tuple[Outcome, str] | None:
    """The outcome where one of the reasons is bad."""
    for reason in reasons:
        if not FILTERED_ENDS.isdisjoint(_plain(reason).split(": ")):  # Gemini's "content_filter: PROHIBITED_CONTENT"
            named = "the content filter" if re.search("content.filter", reason, re.I) else f"the service: {reason}"
            return Outcome.CONTENT_FILTER, f"answer stopped by {named}"
        if _plain(reason) in FAILED_ENDS or _BROKEN_WORDS.search(reason):
            return Outcome.STREAM_ERROR, f"finish reason {reason!r}"
    return None


def unknown_end(reasons: Iterable[str]) -> bool:
    """Whether there is no reason, or one that is not known to be good."""
    known = [_plain(reason) in GOOD_ENDS for reason in reasons]
    return not known or not all(known)


def end_doubts(reasons: Iterable[str], status: int, has_visible: bool) -> list[Doubt]:
    """What is doubtful about an answer that is whole."""
    doubts = {
        Doubt.UNKNOWN_END: unknown_end(reasons),
        Doubt.NO_TEXT: not has_visible,
        Doubt.STATUS: status != 200,
    }
    return [doubt for doubt, is_so in doubts.items() if is_so]
