"""Pure: what kind of question is this, and what should be searched for? By rules, so that it is repeatable.

A deployed orchestrator asks the model. The simulated model writes filler text that carries no decision, so a call
whose answer is thrown away would only be a disguised sleep.
"""

from __future__ import annotations

import re
from enum import StrEnum

from simulator.rag.retrieval import extract_terms

KNOWN_SHARE = 0.5
"""A first question is off topic when fewer of its terms than this share occur in the corpus."""

_GREETING = re.compile(
    r"(hi|hello|hey|good (morning|afternoon|evening|day)|thanks|thank you|bye|goodbye|see you|cheers)"
    r"( (there|all|everyone|again|so|very|much|bye|a|lot|and|for|the|your|help|goodbye))*",
)
_OFF_TOPIC = re.compile(
    r"\b(joke|poem|song|recipe|horoscope|lottery|football|weather forecast|president|prime minister)\b"
)
_LEANS_BACK = re.compile(
    r"\b(it|its|they|them|their|that|this|those|these|there|one|he|she)\b|^(and|then|also|what about)\b"
)

REWRITE_BELOW_TERMS = 4
"""A later question with fewer terms of its own than this is completed from the one before."""

MOST_TERMS = 12
"""Length at which a completed query is cut off, its oldest terms first."""


class Intent(StrEnum):
    GREETING = "greeting"
    OFF_TOPIC = "off_topic"
    QUESTION = "question"


def triage(question: str, known_share: float, first: bool) -> Intent:
    """`known_share` of the question's terms occurs in the corpus; it judges a first question only, because a later one
    may lean on what was said before ("and how heavy is it?")."""
    words = " ".join(re.findall(r"[a-z]+", question.lower()))
    if _GREETING.fullmatch(words):
        return Intent.GREETING
    if _OFF_TOPIC.search(words) or (first and known_share < KNOWN_SHARE):
        return Intent.OFF_TOPIC
    return Intent.QUESTION


def rewrite(question: str, previous: list[str]) -> list[str]:
    """Search terms for `question` after the queries `previous` (oldest first, as rewritten; empty: nothing searched).

    A question that leans back, or has few terms of its own, is completed with the terms of the latest earlier query
    that had at least two. As that one may have been completed itself, the topic survives a row of such questions.
    """
    terms = extract_terms(question)
    if len(terms) >= REWRITE_BELOW_TERMS and not _LEANS_BACK.search(question.lower()):
        return terms
    for earlier in reversed(previous):
        if len(earlier_terms := extract_terms(earlier)) >= 2:
            return list(dict.fromkeys(terms + earlier_terms))[:MOST_TERMS]
    return terms
