from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.chat.tokens import PromptCache, count_tokens, prefixes, prompt_pieces


def test_pieces_of_all_texts_plus_four_a_message_plus_three():
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "what is\n this"}, {"type": "image_url"}]},
        {"role": "assistant", "content": None},
    ]
    pieces = prompt_pieces(messages)
    assert pieces == ["be", "brief", "what", "is", "this"]
    assert count_tokens(len(pieces), len(messages)) == 5 + 12 + 3


@pytest.mark.parametrize(
    ("shared", "cached"), [(0, 0), (1023, 0), (1024, 1024), (1151, 1024), (1152, 1152), (2000, 1920), (3000, 2944)]
)
def test_the_cache_knows_1024_tokens_and_then_steps_of_128(shared, cached):
    cache = PromptCache()
    first = [f"w{n}" for n in range(3000)]
    cache.remember(prefixes(first))
    assert cache.look_up(prefixes(first[:shared] + ["other"] * (3000 - shared))) == cached


def test_the_oldest_prefixes_are_forgotten():
    cache = PromptCache(capacity=2)
    prompts = [prefixes([str(n)] * 1024) for n in range(3)]
    for prompt in prompts:
        cache.remember(prompt)
    assert [cache.look_up(prompt) for prompt in prompts] == [0, 1024, 1024]


@given(st.lists(st.text(min_size=1), max_size=5), st.integers(0, 2500))
def test_a_prompt_seen_before_is_cached_to_its_last_step(words, repeat):
    pieces = words * repeat
    cache = PromptCache()
    cache.remember(prefixes(pieces))
    expected = 0 if len(pieces) < 1024 else 1024 + (len(pieces) - 1024) // 128 * 128
    assert cache.look_up(prefixes(pieces)) == expected
