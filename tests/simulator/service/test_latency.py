from __future__ import annotations

import itertools
import statistics
from dataclasses import replace

import pytest

from simulator.config.settings import Deployment
from simulator.service.latency import WORDS, Draw, load_multiplier, plan_answer, seeded

EXACT = Deployment(ttft_base_ms=100, ttft_per_token_ms=0.5, ttft_std_ms=0, tbt_ms=20, tbt_std_ms=0)


def plan(deployment=EXACT, uncached=0, max_tokens=4, multiplier=1.0, draw=0):
    rng = seeded(1, "d", "digest", draw)
    return plan_answer(deployment, Draw(rng, rng), uncached, max_tokens, multiplier)


def test_the_first_token_waits_for_the_uncached_prompt_and_the_others_for_their_gap():
    answer = plan(uncached=200, max_tokens=4)
    assert [chunk.due_ms for chunk in answer.chunks] == [200, 220, 240, 260]
    assert answer.end_ms == 260
    assert (answer.completion_tokens, answer.finish) == (4, "length")
    assert len(answer.text.split()) == 4


def test_load_stretches_everything():
    busy = replace(EXACT, load_factor=3.0, max_concurrent=10)
    assert [load_multiplier(busy, n) for n in (0, 5, 10, 99)] == [1, 2, 3, 3]
    assert [chunk.due_ms for chunk in plan(busy, multiplier=2.0).chunks] == [200, 240, 280, 320]


def test_a_chunk_of_several_tokens_is_due_with_its_last_one():
    answer = plan(replace(EXACT, tokens_per_chunk=3), max_tokens=7)
    assert [(chunk.due_ms, chunk.tokens) for chunk in answer.chunks] == [(140, 3), (200, 3), (220, 1)]
    assert len(answer.text.split()) == 7


def test_a_buffering_filter_lets_out_bursts():
    answer = plan(replace(EXACT, content_filter="buffered", buffer_tokens=4), max_tokens=6)
    assert [chunk.due_ms for chunk in answer.chunks] == [160, 160, 160, 160, 200, 200]


def test_reasoning_tokens_come_first_unseen_and_count():
    thinking = replace(EXACT, reasoning=True, reasoning_tokens=10, reasoning_std=0)
    answer = plan(thinking, max_tokens=12)
    assert (answer.reasoning_tokens, answer.completion_tokens, answer.finish) == (10, 12, "length")
    assert [chunk.due_ms for chunk in answer.chunks] == [300, 320]
    nothing_left = plan(thinking, max_tokens=8)
    assert (nothing_left.chunks, nothing_left.reasoning_tokens, nothing_left.finish) == ((), 8, "length")
    assert nothing_left.end_ms == 240


@pytest.mark.parametrize(
    ("mean", "max_tokens", "tokens", "finish"),
    [(None, 30, 30, "length"), (None, None, 200, "stop"), (20, 30, 20, "stop"), (50, 30, 30, "length")],
)
def test_a_completion_stops_by_itself_or_at_max_tokens(mean, max_tokens, tokens, finish):
    answer = plan(replace(EXACT, completion_tokens=mean), max_tokens=max_tokens)
    assert (answer.completion_tokens, answer.finish) == (tokens, finish)


def test_the_same_draw_is_the_same_answer_and_the_next_one_is_not():
    varied = replace(EXACT, tbt_std_ms=5, ttft_std_ms=20)
    assert plan(varied, draw=0) == plan(varied, draw=0)
    assert plan(varied, draw=0) != plan(varied, draw=1)


def test_gaps_have_the_mean_asked_for_and_keep_their_bounds():
    answer = plan(replace(EXACT, tbt_std_ms=15), max_tokens=4000)
    dues = [chunk.due_ms for chunk in answer.chunks]
    gaps = [b - a for a, b in itertools.pairwise(dues)]
    assert statistics.mean(gaps) == pytest.approx(20, abs=0.6)
    assert min(gaps) >= 6 - 1e-6
    assert max(gaps) <= 34 + 1e-6


def test_words_need_no_escaping_in_json():
    assert all(word.isascii() and word.isalpha() for word in WORDS)
    assert len(WORDS) == len(set(WORDS))
