"""Token counts as services report them, and whether they can be. No I/O, no clock.

Names: OpenAI's usage object; `input_tokens`/`output_tokens` of its Responses and of Anthropic; Ollama's `eval_count`s;
cached prompt tokens as
DeepSeek (`prompt_cache_hit_tokens`), Anthropic (`cache_read_input_tokens`) and Moonshot (`cached_tokens`) name them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tokenswarm.record import Doubt, TokenSource

MAX_COUNT = 100_000_000
"""A count beyond this is no token count of one request."""

_PROMPT = (("prompt_tokens",), ("input_tokens",), ("prompt_eval_count",))
_COMPLETION = (("completion_tokens",), ("output_tokens",), ("eval_count",))
_REASONING = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
    ("reasoning_tokens",),
)
_REJECTED = (("completion_tokens_details", "rejected_prediction_tokens"),)
_CACHED = (
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
    ("prompt_cache_hit_tokens",),
    ("cache_read_input_tokens",),
    ("cached_tokens",),
)
_COUNTS = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens", "total_tokens", "rejected_tokens")


@dataclass(slots=True)
class Usage:
    """Token counts of one request; `None` where the service reported none. `ill_formed`: it reported what is none."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    total_tokens: int | None = None
    rejected_tokens: int | None = None
    """Of a prediction in the request, counted beside what was generated, and never sent."""
    ill_formed: bool = False

    def take(self, later: Usage) -> None:
        """Take a later report in: each figure that it has, but no 0 in place of a count."""
        for name in _COUNTS:
            value = getattr(later, name)
            if value is not None and (value > 0 or getattr(self, name) is None):
                setattr(self, name, value)
        self.ill_formed |= later.ill_formed

    def columns(self) -> dict[str, Any]:
        """The record's columns of tokens."""
        known = self.prompt_tokens is not None or self.completion_tokens is not None
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "cached_tokens": self.cached_tokens,
            "token_source": TokenSource.USAGE if known else TokenSource.NONE,
        }


def parse_usage(usage: Mapping[str, Any]) -> Usage:
    """Read a usage object; a field that is no count stays `None`."""
    found = Usage()
    found.prompt_tokens = _first(usage, _PROMPT, found)
    found.completion_tokens = _first(usage, _COMPLETION, found)
    found.reasoning_tokens = _first(usage, _REASONING, found)
    found.cached_tokens = _first(usage, _CACHED, found)
    found.rejected_tokens = _first(usage, _REJECTED, found)
    found.total_tokens = _first(usage, (("total_tokens",),), found) or None
    return found


def plausible(usage: Usage, chunks: int, reasoning_streamed: bool) -> tuple[Usage, list[Doubt]]:
    """What can be of a report, beside an answer in so many `chunks` with tokens; every correction is a doubt."""
    checked = replace(usage)
    doubts = [Doubt.USAGE] if usage.ill_formed else []
    if usage.prompt_tokens == 0 or (usage.completion_tokens == 0 and chunks):
        doubts.append(Doubt.ZERO_USAGE)  # a prompt is never empty
        checked.prompt_tokens = usage.prompt_tokens or None
        if chunks:
            checked.completion_tokens = usage.completion_tokens or None
    doubts += _check_cached(checked)
    doubts += _check_reasoning(checked)
    streamed = streamed_tokens(checked, reasoning_streamed)
    if streamed is not None and chunks > 1.5 * streamed + 2:
        doubts.append(Doubt.FEW_TOKENS)
    return checked, doubts


def streamed_tokens(usage: Usage | None, reasoning_streamed: bool) -> int | None:
    """Completion tokens that were sent as chunks: all, less reasoning tokens where those are not streamed, and less
    those of a prediction that was not met."""
    if usage is None or usage.completion_tokens is None:
        return None
    hidden = 0 if reasoning_streamed else usage.reasoning_tokens or 0
    streamed = usage.completion_tokens - hidden
    rejected = usage.rejected_tokens or 0
    return streamed - rejected if rejected < streamed else streamed


def _check_cached(usage: Usage) -> list[Doubt]:
    """Cached tokens are part of the prompt's; where the total shows that they were counted beside, they are added."""
    prompt, cached = usage.prompt_tokens, usage.cached_tokens
    if prompt is None or not cached:
        return []
    beside = usage.total_tokens == prompt + cached + (usage.completion_tokens or 0)
    if beside:
        usage.prompt_tokens = prompt + cached
    elif cached > prompt:
        usage.cached_tokens = None
    else:
        return []
    return [Doubt.USAGE]


def _check_reasoning(usage: Usage) -> list[Doubt]:
    """Reasoning tokens are part of the completion's; where they were counted beside, or only in the total, they are
    added, so that prompt and completion are what was used."""
    prompt, completion, reasoning = usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens or 0
    if completion is None:
        usage.reasoning_tokens = None
        return [Doubt.USAGE] if reasoning else []
    beyond = None if usage.total_tokens is None or prompt is None else usage.total_tokens - prompt - completion
    if beyond is not None and beyond < 0:
        return _without_excess(usage, completion, reasoning)
    if not reasoning and beyond:
        reasoning = beyond  # thinking that only the total has
    if reasoning and (beyond == reasoning or (beyond is None and reasoning > completion)):
        usage.completion_tokens, usage.reasoning_tokens = completion + reasoning, reasoning
        return [Doubt.REASONING_BESIDE]
    return _without_excess(usage, completion, reasoning) if beyond or reasoning > completion else []


def _without_excess(usage: Usage, completion: int, reasoning: int) -> list[Doubt]:
    """The total contradicts its parts: reasoning beyond the completion is taken as absent."""
    if reasoning > completion:
        usage.reasoning_tokens = None
    return [Doubt.USAGE]


def _first(usage: Mapping[str, Any], paths: tuple[tuple[str, ...], ...], found: Usage) -> int | None:
    """The first of several fields that has a count; one that is there and is no count is noted."""
    least = None
    for path in paths:
        value: Any = usage
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            continue
        count = count_of(value)
        if count is None:
            found.ill_formed = True
        elif count:
            return count
        else:
            least = 0
    return least


def count_of(value: Any) -> int | None:
    """A whole number, 10.0 too, from 0 to `MAX_COUNT`; `None` for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_COUNT:
        return None
    return int(value) if value == int(value) else None
