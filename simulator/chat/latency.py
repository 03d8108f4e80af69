"""When each token of an answer is due and what it says, decided before the first byte is sent. Pure and seeded.

The same seed, deployment and request body give the same answer; when a body comes again, its occurrence number makes
it another draw, so that a run can be repeated whatever the order in which requests arrive.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from simulator.config.settings import Deployment
from simulator.wire.azure import Answer, Chunk

UNBOUNDED_COMPLETION = 200
"""Mean tokens of a completion when neither the request nor the deployment says how long it is."""

GAP_SPREAD = 0.7
"""A gap between tokens stays within this share of its mean."""

_VOCABULARY = """
the of and to in is that for it as was with be by on not he this are or his from at which but have an had
they you were there one all we can her has more will would about who what when so no out up into than them
only other time new some could these two may first then do any like my now over such our man me even most
made after also did many must before back see through way where get much go well your know should down work
year because come people just say each those take day good how long great own under still part house small
end large world high place again number while here both between against three water never same another found
home life system service report data
"""

WORDS = _VOCABULARY.split()
"""Each is one token with a space before it."""


def seeded(seed: int, deployment: str, digest: str, occurrence: int) -> random.Random:
    """The source of chance for one request."""
    return random.Random(f"{seed}|{deployment}|{digest}|{occurrence}")


def load_multiplier(deployment: Deployment, in_progress: int) -> float:
    """How much slower everything is with this many requests in progress."""
    return 1 + (deployment.load_factor - 1) * min(1.0, in_progress / deployment.max_concurrent)


def plan_answer(
    deployment: Deployment, rng: random.Random, uncached_tokens: int, max_tokens: int | None, multiplier: float
) -> Answer:
    """Draw lengths, times and words of one completion."""
    limit = min(max_tokens or deployment.max_output_tokens, deployment.max_output_tokens)
    wanted = _wanted_tokens(deployment, rng, max_tokens)
    thoughts = _draw(rng, deployment.reasoning_tokens, deployment.reasoning_std) if deployment.reasoning else 0
    reasoning = min(limit, thoughts)
    visible = min(wanted, limit - reasoning)
    cut = thoughts + wanted > limit or (deployment.completion_tokens is None and max_tokens is not None)
    prefill = deployment.ttft_base_ms + deployment.ttft_per_token_ms * uncached_tokens
    first_ms = max(0.0, rng.gauss(prefill, deployment.ttft_std_ms)) * multiplier
    instants = list(_instants(deployment, rng, first_ms, reasoning + visible, multiplier))
    chunks = tuple(_chunks(deployment, rng, instants[reasoning:]))
    return Answer(
        chunks=chunks,
        completion_tokens=reasoning + visible,
        reasoning_tokens=reasoning,
        finish_reason="length" if cut else "stop",
        end_ms=instants[-1] if instants else first_ms,
    )


def _wanted_tokens(deployment: Deployment, rng: random.Random, max_tokens: int | None) -> int:
    if deployment.completion_tokens is not None:
        return max(1, _draw(rng, deployment.completion_tokens, deployment.completion_std))
    return max_tokens or UNBOUNDED_COMPLETION


def _draw(rng: random.Random, mean: float, std: float) -> int:
    return max(0, round(rng.gauss(mean, std)))


def _instants(
    deployment: Deployment, rng: random.Random, first_ms: float, tokens: int, multiplier: float
) -> Iterator[float]:
    """When each token is generated."""
    mean, std = deployment.tbt_ms * multiplier, deployment.tbt_std_ms * multiplier
    low, high = mean * (1 - GAP_SPREAD), mean * (1 + GAP_SPREAD)
    gauss, instant = rng.gauss, first_ms
    for _ in range(tokens):
        yield instant
        gap = gauss(mean, std) if std else mean
        instant += low if gap < low else high if gap > high else gap


def _chunks(deployment: Deployment, rng: random.Random, instants: list[float]) -> Iterator[Chunk]:
    """Group tokens into chunks; a chunk is due when its last token is, or when its whole buffer is released."""
    size = deployment.tokens_per_chunk
    words = rng.choices(WORDS, k=len(instants))
    burst = deployment.buffer_tokens if deployment.content_filter == "buffered" else size
    for start in range(0, len(instants), burst):
        end = min(start + burst, len(instants))
        for first in range(start, end, size):
            tokens = min(size, end - first)
            due_ms = instants[end - 1] if burst > size else instants[first + tokens - 1]
            text = " " + " ".join(words[first : first + tokens])
            yield Chunk(due_ms, text if first else text[1:].capitalize(), tokens)
