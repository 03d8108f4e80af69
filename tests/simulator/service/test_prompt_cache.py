from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.service.prompt_cache import PromptCache, prefixes


@pytest.mark.parametrize(
    ("shared", "cached"), [(0, 0), (1023, 0), (1024, 1024), (1151, 1024), (1152, 1152), (2000, 1920), (3000, 2944)]
)
def test_the_cache_knows_1024_tokens_and_then_steps_of_128(shared, cached):
    cache = PromptCache()
    first = array("I", range(3000))
    cache.remember(prefixes(first))
    other = first[:shared] + array("I", [9999] * (3000 - shared))
    assert cache.look_up(prefixes(other)) == cached


def test_the_oldest_prefixes_are_forgotten():
    cache = PromptCache(capacity=2)
    prompts = [prefixes(array("I", [n] * 1024)) for n in range(3)]
    for prompt in prompts:
        cache.remember(prompt)
    assert [cache.look_up(prompt) for prompt in prompts] == [0, 1024, 1024]


@given(st.lists(st.integers(0, 2**32 - 1), max_size=5), st.integers(0, 2500))
def test_a_prompt_seen_before_is_cached_to_its_last_step(ids, repeat):
    prompt = array("I", ids * repeat)
    cache = PromptCache()
    cache.remember(prefixes(prompt))
    expected = 0 if len(prompt) < 1024 else 1024 + (len(prompt) - 1024) // 128 * 128
    assert cache.look_up(prefixes(prompt)) == expected
