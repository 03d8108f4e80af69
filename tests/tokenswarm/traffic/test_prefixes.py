from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.tokenswarm.config.test_settings import problems, settings
from tests.tokenswarm.sender.test_composer import composer
from tokenswarm.traffic.prefixes import SharedPrefix
from tokenswarm.workload.arrivals import Arrival
from tokenswarm.workload.distributions import parse_length


def prefix(documents: int, zipf: float, length: str = "100") -> SharedPrefix:
    return SharedPrefix(50, documents, parse_length(length), zipf, 1)


@pytest.mark.parametrize("zipf", [0.0, 0.8, 1.0, 2.0])
def test_documents_are_drawn_in_proportion_to_a_power_of_their_number(zipf: float) -> None:
    made, rng, count = prefix(5, zipf), random.Random(3), 50_000
    drawn = Counter(made.draw(rng).document for _ in range(count))
    whole = sum(number**-zipf for number in range(1, 6))
    for number in range(1, 6):
        expected = count * number**-zipf / whole
        assert abs(drawn[number] - expected) < 5 * expected**0.5


def test_a_document_has_one_length_in_every_process() -> None:
    one, other = prefix(40, 1.0, "uniform(100, 900)"), prefix(40, 1.0, "uniform(100, 900)")
    lengths = [one.length_of(number) for number in range(1, 41)]
    assert lengths == [other.length_of(number) for number in range(1, 41)]
    assert len(set(lengths)) > 20 and min(lengths) >= 100 and max(lengths) <= 900


OPTIONS = {
    "context_tokens": "1000", "shared_prefix_tokens": "200", "documents": "4", "document_tokens": "uniform(300, 500)",
}  # fmt: skip


def words(request: object) -> list[str]:
    return str(request.messages[-1]["content"]).split()  # type: ignore[attr-defined]


def test_prompts_share_the_prefix_and_their_document_and_nothing_else() -> None:
    source = composer(**OPTIONS)
    made = [source.next_chat(Arrival(number, 0.0)) for number in range(40)]
    assert {len(words(each)) + 8 - 1 for each in made} == {1000} == {each.context_tokens for each in made}
    for one in made:
        for other in made:
            same = sum(1 for _ in iter_common(words(one), words(other)))
            if one is other:
                continue
            if one.question_id == other.question_id:
                assert same - (one.shared_tokens or 0) in (0, 1, 2)  # the next word may be the same by chance
            else:
                assert 200 <= same <= 202
    assert {each.question_id for each in made} == {f"document-{number}" for number in range(1, 5)}


def iter_common(one: list[str], other: list[str]):  # type: ignore[no-untyped-def]
    for first, second in zip(one, other, strict=False):
        if first != second:
            return
        yield first


def test_an_arrivals_prompt_is_the_same_whoever_sends_it_and_another_by_salt() -> None:
    arrival = Arrival(5, 0.0)
    one, other = (composer(seed, **OPTIONS).next_chat(arrival) for seed in (1, 2))
    assert one.messages == other.messages
    elsewhere = composer(prompt_salt="tuesday", **OPTIONS).next_chat(arrival)
    assert elsewhere.question_id == one.question_id
    assert words(elsewhere)[:20] != words(one)[:20] and words(elsewhere)[200:220] != words(one)[200:220]


def test_a_prompt_shorter_than_what_is_shared_is_cut() -> None:
    source = composer(**OPTIONS)
    short = source.next_chat(Arrival(1, 0.0, 120, 5))
    assert short.context_tokens == short.shared_tokens == 120 or (short.shared_tokens or 0) >= 113
    whole = source.next_chat(Arrival(2, 0.0))
    assert words(short) == words(whole)[: len(words(short))]


def test_later_turns_share_what_was_said_before() -> None:
    source = composer(**{**OPTIONS, "turns": "3", "step_tokens": "50"})
    first = source.next_chat(Arrival(1, 0.0))
    source.answer("an answer of five words", None, True)
    second = source.next_chat(None)
    assert second.question_id == first.question_id
    assert (first.shared_tokens or 0) < 700 < 1000 <= (second.shared_tokens or 0) < (second.context_tokens or 0)


def test_completions_share_prefixes_too() -> None:
    source = composer(**{**OPTIONS, "endpoint": "completions"})
    one, other = (source.next_chat(Arrival(number, 0.0)) for number in (1, 2))
    assert words(one)[:200] == words(other)[:200]


def test_prompts_without_options_share_their_system_prompt_alone() -> None:
    assert composer(context_tokens="300").next_chat(None).shared_tokens == 0
    assert (composer(context_tokens="300", system_prompt="x" * 400).next_chat(None).shared_tokens or 0) >= 100
    assert composer(context_tokens="300", prompt_prefix="shared").next_chat(None).shared_tokens is None


def test_what_would_be_ignored_is_refused() -> None:
    assert problems(document_tokens="100") == ["document-tokens: expected documents beside it, got none"]
    found = problems(documents="5", dataset="scenarios/dataset.csv", context_tokens="9000")
    assert found == ["shared-prefix-tokens, documents: expected made-up prompts, got a dataset"]
    assert "embeddings" in problems(documents="5", endpoint="embeddings", context_tokens="9000")[0]
    assert "unique" in problems(documents="5", prompt_prefix="shared", context_tokens="9000")[0]
    (short,) = problems(documents="5", context_tokens="900")
    assert short.startswith("context-tokens: expected more than the 1000 of shared-prefix-tokens and a document")
    assert problems(documents="2.5", context_tokens="9000")[0].startswith("documents: expected a whole number")
    (recorded,) = problems(documents="5", requests="scenarios/traces/sample-requests.jsonl")
    assert recorded.startswith("requests: expected no documents beside it")
    assert settings(documents="5", context_tokens="9000").traffic.prefix is not None


def test_a_trace_with_blocks_of_its_own_is_refused(tmp_path: Path) -> None:
    row = {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}
    (tmp_path / "trace.jsonl").write_text(json.dumps(row) + "\n")
    assert problems(documents="5", trace=str(tmp_path / "trace.jsonl")) == [
        "shared-prefix-tokens, documents: expected a trace without hash_ids, got one with them"
    ]
    assert settings(documents="5", trace="scenarios/traces/sample-azure.csv").traffic.prefix is not None
