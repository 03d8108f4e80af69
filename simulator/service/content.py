"""What an answer says beyond plain words: JSON by a schema, tool calls, refusals, wrong answers. Pure and seeded."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from simulator.apis.call import REFUSAL, Wanted
from simulator.apis.tokens import Vocabulary
from simulator.service.schema import satisfy

WRONG_SAYING = "It is not known here."
"""How an answer begins that was to begin with something else, and is wrong."""


@dataclass(frozen=True, slots=True)
class Part:
    """A text in tokens; for a call of a tool with its id, name and how many tokens naming it takes."""

    pieces: tuple[str, ...]
    identifier: str = ""
    name: str = ""
    name_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Content:
    """`kind` is text, tools or refusal; `goes_on` with plain words after it, up to the answer's length."""

    kind: str
    parts: tuple[Part, ...]
    goes_on: bool = False


def compose(
    wanted: Wanted, vocabulary: Vocabulary, rng: random.Random, words: list[str], wrong: bool
) -> Content | None:
    """What is wanted, or None for plain words. Raises schema.Unsatisfiable."""
    if wanted.refuses:
        return Content("refusal", (Part(tuple(vocabulary.pieces(REFUSAL))),))
    if wanted.tools:
        return Content("tools", tuple(_tool_part(tool, vocabulary, rng, words, wrong) for tool in wanted.tools))
    if wanted.schema is not None:
        return Content("text", (Part(tuple(vocabulary.pieces(_json(wanted.schema, rng, words, wrong)))),))
    if wanted.says is not None:
        text = WRONG_SAYING if wrong else wanted.says
        return Content("text", (Part(_pieces(text, vocabulary)),), goes_on=True)
    return None


def _tool_part(tool: Any, vocabulary: Vocabulary, rng: random.Random, words: list[str], wrong: bool) -> Part:
    arguments = tuple(vocabulary.pieces(_json(tool.parameters, rng, words, wrong)))
    return Part(arguments, f"call_{rng.getrandbits(96):024x}", tool.name, len(vocabulary.encode(tool.name)))


def _json(schema: dict[str, Any], rng: random.Random, words: list[str], wrong: bool) -> str:
    """A wrong one is valid JSON of another shape: a list with an object no schema of ours asks for."""
    value = [{"wrong": True}] if wrong else satisfy(schema, rng, words)
    return json.dumps(value, separators=(",", ":"))


def _pieces(text: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Tokens of ASCII; other text word by word, as tokens may end within a character."""
    return tuple(vocabulary.pieces(text)) if text.isascii() else tuple(f" {word}" for word in text.split())
