"""Synthetic prompts of an exact token length, made without a tokenizer.

Every word of `WORDS` is exactly one token in the cl100k_base and the o200k_base vocabulary, with and without a
space before it, so a text of n words is n tokens in both (a test proves it against the real vocabularies). The words
average 4.5 characters with their space, close to the 4 of English on which the service's character-based admission
estimate is built. They are plain and harmless: no content filter has a reason to stop them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

_WORD_LIST = """
a able act add age ago air all also am an and any are area arm art as ask at away bag ball band bar base bay be bed
been bell best big bird bit blue boat body book both bow box boy bus but buy by cake call can cap car card cat city
cold come cook cow cup cut day deep desk did do dog door down dry each ear east easy eat egg end eye face fall far
farm fast few find fine fish fit five flow fly for four free from full fun game get gift give go gold good got had
half hand has hat have he her here hill him his home hop hot hour how ice idea if in inch into it its jar job join
joy just keep key kind king lake land last late law lay left leg less let life lift light like line list live long
lot low made make man many map may me meal meet mix moon more most move much must my name near need net new next
nice nine no not note now nut of off oil old on once one only open or our out over own page pan park part past path
pay pen pet pie pin plan play plus post pot pull put rain ran read red rest rice ride ring road room row rule run
safe said sand sat say sea seat see send set seven she ship shop show side sign sing sit six size sky slow snow so
soft some song soon star stay step sum sun sure take tea team tell ten test than that the then they thin this time
to ton too tool top town toy tree trip true try turn two up upon us use very view wait walk want warm was water wave
way we week well west when who why wide will wind wish with wood word work yard year yes yet you
"""

WORDS: tuple[str, ...] = tuple(_WORD_LIST.split())
"""Each exactly one token in cl100k_base and in o200k_base."""

CLOSING = "Now tell a very long story with all of these words and do not end it early"
"""Ends a prompt so that the model goes on until `max_tokens`; one token a word, as `WORDS`."""

BLOCK_TOKENS = 512
"""Tokens of one shared prefix block, as in the Mooncake traces; where a trace has others, it says so."""

TOKENS_PER_MESSAGE = 3
TOKENS_PER_ROLE = 1
TOKENS_PER_NAME = 1
TOKENS_PER_REPLY = 3
"""What the chat format adds around the texts, for gpt-3.5-turbo-0613 and every chat model after it: three tokens frame
a message, its role is one, a name costs one besides its own text, and three open the reply. One user message of n
tokens is thus a prompt of n + 7. Source: OpenAI cookbook, "How to count tokens with tiktoken"."""

_CLOSING_TOKENS = len(CLOSING.split())
_FRESH_TOKENS = 64
_PHRASE_TOKENS = 32
_PHRASES = 512


class PromptLengths(NamedTuple):
    """Tokens of a request: prompt and completion limit."""

    context_tokens: int
    max_tokens: int


SHAPE_PROFILES: Mapping[str, PromptLengths | None] = {
    "balanced": PromptLengths(500, 500),
    "context": PromptLengths(2000, 200),
    "generation": PromptLengths(500, 1000),
    "custom": None,
}
"""Values of `shape-profile`; `custom` has no lengths of its own: `context-tokens` and `max-tokens` say them."""


class Shared(NamedTuple):
    """A text that several prompts begin with: by name always the same one, for one salt."""

    name: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages ready to be sent, and the prompt tokens they should be billed as, framing included."""

    messages: list[dict[str, str]]
    context_tokens: int


def build_prompt(
    rng: random.Random,
    tokens: int,
    unique: bool = True,
    prefix_blocks: Sequence[int] | None = None,
    closing: bool = False,
    salt: str = "",
    shared: Sequence[Shared] = (),
    block_tokens: int = BLOCK_TOKENS,
) -> str:
    """A text of exactly `tokens` tokens on cl100k_base and o200k_base.

    `unique`: it differs from every other one from its first words on, so that no prompt cache can serve it; otherwise
    the same length gives the same text, always. `prefix_blocks`: ids of shared blocks of `block_tokens` that come
    first, so that requests with equal ids (and `salt`) share exactly that prefix, on every worker; cut where `tokens`
    ends. `shared`: texts in their place, cut in the same way. `closing`: end with `CLOSING` when the text is long
    enough for it. Raises `ValueError` below 1 token.
    """
    if tokens < 1:
        raise ValueError(f"prompt length: expected at least 1 token, got {tokens}")
    parts, left = _begin(shared, tokens, salt) if shared else _blocks(prefix_blocks or (), block_tokens, tokens, salt)
    ends_closed = closing and left >= 2 * _CLOSING_TOKENS
    if ends_closed:
        left -= _CLOSING_TOKENS
    parts += _fresh_parts(rng, left) if unique else _fixed_parts(left)
    if ends_closed:
        parts.append(CLOSING)
    return " ".join(parts)


def build_messages(
    rng: random.Random,
    context_tokens: int,
    system_prompt: str | None = None,
    unique: bool = True,
    prefix_blocks: Sequence[int] | None = None,
    closing: bool = True,
    salt: str = "",
    shared: Sequence[Shared] = (),
    block_tokens: int = BLOCK_TOKENS,
) -> Prompt:
    """Messages whose prompt tokens, framing included, are `context_tokens` in total.

    A system prompt counts by `estimate_tokens`, hence makes the total an estimate; the user's text fills the rest and
    has at least one word, so a total too small for that comes out larger (see `Prompt.context_tokens`). The user's
    text is what `unique` makes unique: a system prompt of 1024 tokens or more may still be served from the cache.
    """
    messages = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
    taken = system_tokens(system_prompt) + TOKENS_PER_MESSAGE + TOKENS_PER_ROLE
    taken += TOKENS_PER_REPLY if system_prompt is None else 0
    tokens = max(1, context_tokens - taken)
    text = build_prompt(rng, tokens, unique, prefix_blocks, closing, salt, shared, block_tokens)
    messages.append({"role": "user", "content": text})
    return Prompt(messages, taken + tokens)


@lru_cache(maxsize=16)
def system_tokens(system_prompt: str | None) -> int:
    """Prompt tokens of a system prompt alone, as `estimate_messages` has them; 0 without one."""
    return 0 if system_prompt is None else estimate_messages([{"role": "system", "content": system_prompt}])


def message_overhead(messages: Sequence[Mapping[str, Any]]) -> int:
    """Prompt tokens that the chat format adds to the texts of `messages` (see `TOKENS_PER_MESSAGE`)."""
    names = sum("name" in message for message in messages)
    return len(messages) * (TOKENS_PER_MESSAGE + TOKENS_PER_ROLE) + names * TOKENS_PER_NAME + TOKENS_PER_REPLY


def estimate_tokens(text: str) -> int:
    """Tokens of `text`, estimated: a quarter of its UTF-8 bytes, rounded up; 0 for an empty text.

    OpenAI's rule of thumb is 4 characters a token for English; bytes keep it usable for other scripts. An estimate
    for admission and budgets, never for a result: usually within a third for prose, worse for code and digits.
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def estimate_messages(messages: Sequence[Mapping[str, Any]]) -> int:
    """Prompt tokens of a request with `messages`: framing as documented, texts estimated."""
    texts = sum(estimate_tokens(_content(message)) + estimate_tokens(message.get("name", "")) for message in messages)
    return texts + message_overhead(messages)


def _content(message: Mapping[str, Any]) -> str:
    """What a message says; of one that calls tools, or gives what they said, its JSON."""
    content = message.get("content")
    return content if isinstance(content, str) else json.dumps(message, ensure_ascii=False)


@lru_cache(maxsize=4096)
def block_text(block: int, salt: str = "", tokens: int = BLOCK_TOKENS) -> str:
    """The shared prefix block with this id: with one salt always the same words."""
    return " ".join(_block_words(block, salt, tokens))


@lru_cache(maxsize=128)
def shared_text(shared: Shared, salt: str = "") -> str:
    """The words of a shared text."""
    return " ".join(_fresh_parts(random.Random(f"{shared.name} of {salt}"), shared.tokens))


def _begin(shared: Sequence[Shared], tokens: int, salt: str) -> tuple[list[str], int]:
    parts: list[str] = []
    left = tokens
    for each in shared:
        if each.tokens <= left:
            parts.append(shared_text(each, salt))
        elif left:
            parts.append(" ".join(shared_text(each, salt).split()[:left]))
        left = max(0, left - each.tokens)
    return parts, left


def _blocks(blocks: Sequence[int], block_tokens: int, tokens: int, salt: str) -> tuple[list[str], int]:
    whole, rest = divmod(tokens, block_tokens)
    parts = [block_text(block, salt, block_tokens) for block in blocks[:whole]]
    left = tokens - len(parts) * block_tokens
    if len(blocks) > whole and rest:
        parts.append(" ".join(_block_words(blocks[whole], salt, block_tokens)[:rest]))
        left = 0
    return parts, left


def _fresh_parts(rng: random.Random, tokens: int) -> list[str]:
    """Fresh words first (500 bits of them: no two texts begin alike), then ready-made phrases, which are fast."""
    phrases, rest = divmod(max(0, tokens - _FRESH_TOKENS), _PHRASE_TOKENS)
    fresh = min(tokens, _FRESH_TOKENS) + rest
    return rng.choices(WORDS, k=fresh) + rng.choices(_phrases(), k=phrases)


@lru_cache(maxsize=256)
def _fixed_parts(tokens: int) -> list[str]:
    return _fresh_parts(random.Random("the one prompt of this length"), tokens)


@cache
def _phrases() -> tuple[str, ...]:
    rng = random.Random("phrases")
    return tuple(" ".join(rng.choices(WORDS, k=_PHRASE_TOKENS)) for _ in range(_PHRASES))


def _block_words(block: int, salt: str, tokens: int) -> list[str]:
    # Seeded by text: Python seeds an int by its absolute value, and blocks 1 and -1 must not be one.
    return random.Random(f"block {block}{salt and ' of '}{salt}").choices(WORDS, k=tokens)
