"""When each token of an answer is due and what it says, decided before the first byte is sent. Pure and seeded.

The same seed, deployment and request body give the same answer; when a body comes again, its occurrence number makes
it another draw, so that a run can be repeated whatever the order in which requests arrive.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from simulator.config.settings import Deployment
from simulator.service.content import Content
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


@dataclass(frozen=True, slots=True)
class Draw:
    """The sources of chance of one answer: `times` for instants, `says` for its length and words."""

    times: random.Random
    says: random.Random


def plan_answer(
    deployment: Deployment,
    draw: Draw,
    uncached_tokens: int,
    max_tokens: int | None,
    multiplier: float,
    content: Content | None = None,
    effort: str | None = None,
    at_least: int = 0,
) -> Answer:
    """Draw lengths, times and words of one completion. Without `content` it says plain words."""
    limit = min(max_tokens or deployment.max_output_tokens, deployment.max_output_tokens)
    wanted = max(at_least, _wanted_tokens(deployment, draw.says, max_tokens))
    thoughts = _thoughts(deployment, draw.says, effort)
    reasoning = min(limit, thoughts)
    units = None if content is None else _units(content, draw.says, wanted)
    wanted = wanted if units is None else sum(unit.tokens for unit in units)
    visible = min(wanted, limit - reasoning)
    endless = deployment.completion_tokens is None and max_tokens is not None
    cut = thoughts + wanted > limit or (endless and (content is None or content.goes_on))
    prefill = deployment.ttft_base_ms + deployment.ttft_per_token_ms * uncached_tokens
    first_ms = max(0.0, draw.times.gauss(prefill, deployment.ttft_std_ms)) * multiplier
    instants = list(_instants(deployment, draw.times, first_ms, reasoning + visible, multiplier))
    kind = "text" if content is None else content.kind
    return Answer(
        chunks=(*_shown(deployment, draw, instants[:reasoning]), *_said(deployment, draw, units, instants[reasoning:])),
        completion_tokens=reasoning + visible,
        reasoning_tokens=reasoning,
        finish="length" if cut else {"text": "stop"}.get(kind, kind),
        end_ms=instants[-1] if instants else first_ms,
        kind=kind,
        tools=() if content is None else tuple((part.identifier, part.name) for part in content.parts if part.name),
        plain=content is None,
    )


def _shown(deployment: Deployment, draw: Draw, instants: list[float]) -> Iterator[Chunk]:
    """Reasoning, where the deployment shows it."""
    if deployment.reasoning_shown:
        yield from (chunk._replace(reasoning=True) for chunk in _chunks(deployment, draw.says, instants))


def _said(deployment: Deployment, draw: Draw, units: list[_Unit] | None, instants: list[float]) -> Iterator[Chunk]:
    if units is None:
        return _chunks(deployment, draw.says, instants)
    return _unit_chunks(deployment, units, instants)


def stopped(answer: Answer, stops: tuple[str, ...]) -> Answer:
    """`answer` ended before the first stop sequence in its text; the token with which the sequence ends is its last."""
    if not stops or answer.kind != "text":
        return answer
    text = answer.text
    found = [(at, stop) for stop in stops if (at := text.find(stop)) >= 0]
    if not found:
        return answer
    at, stop = min(found, key=lambda one: one[0])
    kept: list[Chunk] = []
    length = 0
    tokens = 0
    for chunk in answer.chunks:
        tokens += chunk.tokens
        room = at - length
        if chunk.reasoning or room > 0:
            kept.append(chunk if chunk.reasoning else chunk._replace(text=chunk.text[:room]))
        length += 0 if chunk.reasoning else len(chunk.text)
        if length >= at + len(stop):
            hidden = 0 if any(one.reasoning for one in kept) else answer.reasoning_tokens
            return replace(
                answer,
                chunks=tuple(kept),
                completion_tokens=hidden + tokens,
                finish="stop_sequence",
                end_ms=chunk.due_ms,
                stopped_by=stop,
            )
    return answer


EFFORT_SHARES = {"none": 0.0, "minimal": 0.1, "low": 0.4, "medium": 1.0, "high": 2.0, "xhigh": 4.0}
"""Reasoning tokens against those at medium effort. Figures of ours: models differ."""


def _thoughts(deployment: Deployment, rng: random.Random, effort: str | None) -> int:
    if not deployment.reasoning:
        return 0
    share = EFFORT_SHARES[effort or "medium"]
    return _draw(rng, deployment.reasoning_tokens * share, deployment.reasoning_std * share)


class _Unit(NamedTuple):
    """The least that a chunk can hold: a token, or the naming of a tool."""

    text: str
    tokens: int = 1
    part: int = 0
    starts: bool = False


def _units(content: Content, rng: random.Random, wanted: int) -> list[_Unit]:
    units = []
    for number, part in enumerate(content.parts):
        if part.name:
            units.append(_Unit("", part.name_tokens, number, True))
        units += [_Unit(piece, 1, number) for piece in part.pieces]
    if content.goes_on:
        units += [_Unit(f" {word}") for word in rng.choices(WORDS, k=max(0, wanted - len(units)))]
    return units


def _unit_chunks(deployment: Deployment, units: list[_Unit], instants: list[float]) -> Iterator[Chunk]:
    """As many units as have their instants, in chunks that do not reach over the parts."""
    at = 0
    group: list[_Unit] = []
    for unit in units:
        if at + unit.tokens > len(instants):
            break
        if group and (unit.starts or group[0].starts or len(group) == deployment.tokens_per_chunk):
            yield _chunk_of(group, instants[at - 1])
            group = []
        group.append(unit)
        at += unit.tokens
    if group:
        yield _chunk_of(group, instants[at - 1])


def _chunk_of(group: list[_Unit], due_ms: float) -> Chunk:
    text = "".join([unit.text for unit in group])
    return Chunk(due_ms, text, sum(unit.tokens for unit in group), group[0].part, group[0].starts)


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
