from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from simulator.rag.retrieval import Index, extract_terms, read_corpus
from simulator.rag.triage import Intent, rewrite, triage

SCENARIOS = Path(__file__).parents[3] / "scenarios"
INDEX = Index(read_corpus())


def read_questions() -> list[tuple[str, str]]:
    with (SCENARIOS / "dataset.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True))
    assert rows[0] == ["id", "question"]
    return [(row[0], row[1]) for row in rows[1:]]


def search(terms: list[str]) -> list[str]:
    return [passage.source for passage in INDEX.search(terms, 3)]


def test_the_corpus_is_complete_and_readable() -> None:
    corpus = read_corpus()
    assert len(corpus) >= 30
    for passage in corpus:
        assert passage.title and len(passage.text.split()) > 50, passage.source


def test_the_dataset_has_enough_different_questions() -> None:
    questions = read_questions()
    assert len(questions) >= 60
    assert len({identity for identity, _ in questions}) == len({text for _, text in questions}) == len(questions)


@pytest.mark.parametrize(("identity", "question"), read_questions(), ids=lambda value: value.partition(" ")[0])
def test_each_question_of_the_dataset_finds_the_document_its_id_names(identity: str, question: str) -> None:
    terms = extract_terms(question)
    assert triage(question, INDEX.known_share(terms), first=True) is Intent.QUESTION
    assert identity.rsplit("-", 1)[0] in search(terms)


def test_every_document_is_asked_about() -> None:
    asked = {identity.rsplit("-", 1)[0] for identity, _ in read_questions()}
    assert asked == {passage.source for passage in read_corpus()}


def test_conversations_find_something_in_every_question() -> None:
    conversations = [json.loads(line) for line in (SCENARIOS / "conversations.jsonl").read_text("utf-8").splitlines()]
    assert len(conversations) >= 12
    intents = []
    for conversation in conversations:
        previous: list[str] = []
        for question in conversation["turns"]:
            intent = triage(question, INDEX.known_share(extract_terms(question)), first=not previous)
            terms = rewrite(question, previous) if intent is Intent.QUESTION else []
            assert intent is not Intent.QUESTION or search(terms), question
            previous.append(" ".join(terms))
            intents.append(intent)
        assert len(previous) >= 3
    assert set(intents) == set(Intent)


def test_a_title_weighs_more_than_the_text() -> None:
    assert search(["otter"])[0] == "otter-cargo-bike"


@pytest.mark.parametrize("terms", [[], ["xyzzy"], ["and"], ["near"]])
def test_search_takes_any_terms(terms: list[str]) -> None:
    assert isinstance(search(terms), list)


def test_terms_are_words_without_stop_words() -> None:
    assert extract_terms('How long is the "Otter", and the OTTER\'s box? x') == ["otter", "box"]
    assert extract_terms('NEAR("a" OR *) --') == ["near"]


@pytest.mark.parametrize(
    ("question", "intent"),
    [
        ("Hi", Intent.GREETING),
        ("Good morning, everyone!", Intent.GREETING),
        ("thank you very much, bye", Intent.GREETING),
        ("Hello, what does the Meadow cost?", Intent.QUESTION),
        ("Tell me a joke about bicycles", Intent.OFF_TOPIC),
        ("Explain quantum chromodynamics to grandmothers", Intent.OFF_TOPIC),
        ("???", Intent.OFF_TOPIC),
    ],
)
def test_triage(question: str, intent: Intent) -> None:
    assert triage(question, INDEX.known_share(extract_terms(question)), first=True) is intent


def test_a_later_question_is_judged_by_its_greeting_only() -> None:
    assert triage("And elsewhere?", 0.0, first=False) is Intent.QUESTION
    assert triage("Thanks", 0.0, first=False) is Intent.GREETING


def test_a_question_that_leans_back_is_completed_from_the_one_before() -> None:
    previous = ["kestrel cost", ""]
    assert rewrite("And how heavy is it?", previous) == ["heavy", "kestrel", "cost"]
    assert rewrite("When is the canteen serving lunch today?", previous) == ["canteen", "serving", "lunch", "today"]
    assert rewrite("And how heavy is it?", []) == ["heavy"]


def test_a_row_of_questions_that_lean_back_keeps_its_topic() -> None:
    previous = ["kestrel cost"]
    for _ in range(10):
        previous.append(" ".join(rewrite("And how heavy is it?", previous[-2:])))
    assert previous[-1] == "heavy kestrel cost"
