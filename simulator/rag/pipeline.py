"""The orchestrator's work on one question, stage by stage, without any HTTP of its own side.

    history -> triage -> [rewrite -> retrieval] -> generation -> [groundedness] -> persist

Greetings and off-topic questions skip what is in brackets, which makes the latencies bimodal. Generation and the
groundedness check are real calls to the chat target; history and retrieval are real databases. The two `..._delay_ms`
settings add what a remote database would, and are 0 unless set.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

from simulator.config.settings import RagSettings
from simulator.rag.chat_client import ChatClient, ChatFailed, Messages
from simulator.rag.history import Exchange, History
from simulator.rag.retrieval import Index, Passage, extract_terms, read_corpus
from simulator.rag.triage import Intent, rewrite, triage

FAILURES = (ChatFailed, sqlite3.Error)
"""What a stage may raise."""

UNGROUNDED = "ungrounded"
"""Verdict of the groundedness check that replaces the answer; every other reply lets it pass."""

UNGROUNDED_ANSWER = "The documents I have do not answer this question."


@dataclass(slots=True)
class Turn:
    """What is known about one question so far. `stages`: milliseconds by name, in the order they ended."""

    question: str
    conversation_id: str
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    history: list[Exchange] = field(default_factory=list)
    intent: Intent = Intent.QUESTION
    terms: list[str] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    answer: str = ""
    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside; a stage that fails is timed too."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = round((time.perf_counter() - began) * 1e3, 3)


class Pipeline:
    def __init__(self, settings: RagSettings) -> None:
        self._settings = settings
        self.history = History(settings.history_path)
        self._index = Index(read_corpus())
        self._chat = ChatClient(settings.chat_url, settings.chat_key, settings.deployment, settings.api_version)

    async def recall(self, turn: Turn) -> None:
        with turn.stage("history"):
            await self._delay("history", self._settings.history_delay_ms, turn)
            turn.history = await self.history.recall(turn.conversation_id, self._settings.history_turns)

    async def prepare(self, turn: Turn) -> None:
        """Triage, and for a question the search."""
        with turn.stage("triage"):
            known_share = self._index.known_share(extract_terms(turn.question))
            turn.intent = triage(turn.question, known_share, first=not turn.history)
        if turn.intent is not Intent.QUESTION:
            return
        if turn.history:
            with turn.stage("rewrite"):
                turn.terms = rewrite(turn.question, [exchange.query for exchange in turn.history])
        else:
            turn.terms = extract_terms(turn.question)
        with turn.stage("retrieval"):
            await self._delay("retrieval", self._settings.retrieval_delay_ms, turn)
            turn.passages = self._index.search(turn.terms, self._settings.passages)

    async def generate(self, turn: Turn) -> AsyncGenerator[str, None]:
        """The answer in the pieces in which the chat target sends it; `turn.answer` grows along."""
        question = turn.intent is Intent.QUESTION
        max_tokens = self._settings.answer_tokens if question else self._settings.greeting_tokens
        with turn.stage("generation"):
            call = self._chat.stream(answer_messages(turn), max_tokens, f"{turn.request_id}-generation")
            async with aclosing(call) as pieces:
                async for piece in pieces:
                    turn.answer += piece
                    yield piece

    async def work(self, turn: Turn) -> None:
        """All stages up to the answer, which is left in `turn`. Raises one of `FAILURES`."""
        await self.recall(turn)
        await self.prepare(turn)
        async with aclosing(self.generate(turn)) as pieces:
            async for _ in pieces:
                pass

    async def check_groundedness(self, turn: Turn) -> None:
        """Ask the chat target whether the passages carry the answer, and replace it when they do not."""
        if turn.intent is not Intent.QUESTION or not self._settings.groundedness_check:
            return
        with turn.stage("groundedness"):
            verdict = await self._chat.complete(
                groundedness_messages(turn), self._settings.groundedness_tokens, f"{turn.request_id}-groundedness"
            )
        if verdict.strip(" .\n").lower() == UNGROUNDED:
            turn.answer = UNGROUNDED_ANSWER

    async def persist(self, turn: Turn) -> None:
        with turn.stage("persist"):
            await self.history.append(turn.conversation_id, Exchange(turn.question, turn.answer, " ".join(turn.terms)))

    async def aclose(self) -> None:
        await self._chat.aclose()
        await self.history.aclose()
        self._index.close()

    async def _delay(self, stage: str, mean_ms: float, turn: Turn) -> None:
        if mean_ms > 0:
            await asyncio.sleep(draw_delay_s(f"{self._settings.seed}/{stage}/{turn.question}", mean_ms))


def draw_delay_s(key: str, mean_ms: float) -> float:
    """A log-normal time with mean `mean_ms` and a spread of about 40 percent, fixed by `key`."""
    sigma = 0.4
    return mean_ms / 1e3 * random.Random(key).lognormvariate(-sigma * sigma / 2, sigma)


def answer_messages(turn: Turn) -> Messages:
    """System prompt with the passages, the earlier turns, the question."""
    if turn.intent is Intent.QUESTION:
        system = (
            "You answer questions about Quillmere Cycles for its staff and customers. Use only the sources below, "
            "name the source of each statement in square brackets, and say so when they do not hold the answer.\n\n"
            f"{format_passages(turn.passages)}"
        )
    else:
        system = "You are the assistant of Quillmere Cycles. Greet politely and offer help with company questions only."
    earlier = [
        message
        for exchange in turn.history
        for message in (
            {"role": "user", "content": exchange.question},
            {"role": "assistant", "content": exchange.answer},
        )
    ]
    return [{"role": "system", "content": system}, *earlier, {"role": "user", "content": turn.question}]


def groundedness_messages(turn: Turn) -> Messages:
    instruction = f"Is the answer carried by the sources? Reply with one word: grounded or {UNGROUNDED}."
    content = f"{format_passages(turn.passages)}\n\nQuestion: {turn.question}\n\nAnswer: {turn.answer}"
    return [{"role": "system", "content": instruction}, {"role": "user", "content": content}]


def format_passages(passages: list[Passage]) -> str:
    return "\n\n".join(f"{passage.source}.md: {passage.title}. {passage.text}" for passage in passages)
