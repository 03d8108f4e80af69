"""Sending a planned answer at its pace: as one body, or as a stream of events."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simulator.chat.request import ChatRequest
from simulator.config.settings import Deployment
from simulator.wire import azure as wire
from simulator.wire.azure import Answer, Chunk
from simulator.wire.exchange import Exchange

VERDICT_EVERY = 10
"""Content chunks between two verdicts of the asynchronous content filter."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One answer on its way. All instants of the plan count from `base` (monotonic clock, s)."""

    exchange: Exchange
    deployment: Deployment
    request: ChatRequest
    identity: wire.Identity
    answers: list[Answer]
    rng: random.Random
    headers: dict[str, str]
    base: float

    async def send_whole(self) -> None:
        """A completion in one body, when its last token is there."""
        entry = self.exchange.entry
        await self._sleep_until_end()
        body = wire.completion_body(self.identity, self.answers, self._usage())
        await self.exchange.respond(200, self.headers, body)
        self._note_tokens()
        entry.update(first_token_at=entry["finished_at"], last_token_at=entry["finished_at"])

    async def stream(self) -> None:
        """Verdict on the prompt, role, content, finish, usage when asked for, [DONE]."""
        head = {"content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no"}
        await self.exchange.start(200, head | self.headers)
        if self.identity.azure:
            await self.exchange.write(wire.prompt_filter_event())
        await self._send_content()
        await self._sleep_until_end()
        self._note_tokens()
        self.exchange.entry["finished_at"] = await self.exchange.write(self._ending(), more=False)

    async def _send_content(self) -> None:
        exchange, entry = self.exchange, self.exchange.entry
        writers = self._writers()
        lengths = [0] * len(self.answers)
        entry.update(chunks=0, completion_tokens=0, reasoning_tokens=0)
        for index, chunk in self._in_order():
            await exchange.sleep_until(self.base + chunk.due_ms / 1e3)
            if entry["chunks"] == 0:
                await exchange.write(b"".join(map(self.identity.role_event, range(len(self.answers)))))
                entry["completion_tokens"] = entry["reasoning_tokens"] = self._reasoning_tokens()
            at = await exchange.write(writers[index].event(chunk.text))
            entry.setdefault("first_token_at", at)
            entry["last_token_at"] = at
            entry["chunks"] += 1
            entry["completion_tokens"] += chunk.tokens
            lengths[index] += len(chunk.text)
            if self._verdicts_apart and entry["chunks"] % VERDICT_EVERY == 0:
                await exchange.write(wire.async_verdict_event(index, 0, lengths[index]))

    def _writers(self) -> list[wire.ContentEvents]:
        asked = self.request.include_obfuscation
        padded = self.deployment.obfuscation if asked is None else asked
        return [
            wire.ContentEvents(self.identity, index, not self._verdicts_apart, self.rng if padded else None)
            for index in range(len(self.answers))
        ]

    def _in_order(self) -> Iterator[tuple[int, Chunk]]:
        """The chunks of all choices by the instant at which they are due."""
        one_by_one = ([(index, chunk) for chunk in answer.chunks] for index, answer in enumerate(self.answers))
        return heapq.merge(*one_by_one, key=lambda item: item[1].due_ms)

    def _ending(self) -> bytes:
        """Everything after the last token: it is sent in one go, as nothing more has to be waited for."""
        events = [self.identity.finish_event(index, answer.finish_reason) for index, answer in enumerate(self.answers)]
        if not any(answer.chunks for answer in self.answers):
            events = [*map(self.identity.role_event, range(len(self.answers))), *events]
        if self._verdicts_apart:
            events += [
                wire.async_verdict_event(index, 0, len(answer.text)) for index, answer in enumerate(self.answers)
            ]
        if self.request.include_usage:
            events.append(self.identity.usage_event(self._usage()))
        return b"".join(events) + wire.DONE

    @property
    def _verdicts_apart(self) -> bool:
        return self.identity.azure and self.deployment.content_filter == "async"

    async def _sleep_until_end(self) -> None:
        await self.exchange.sleep_until(self.base + max(answer.end_ms for answer in self.answers) / 1e3)

    def _note_tokens(self) -> None:
        self.exchange.entry.update(
            completion_tokens=self._completion_tokens(), reasoning_tokens=self._reasoning_tokens()
        )

    def _completion_tokens(self) -> int:
        return sum(answer.completion_tokens for answer in self.answers)

    def _reasoning_tokens(self) -> int:
        return sum(answer.reasoning_tokens for answer in self.answers)

    def _usage(self) -> dict[str, Any]:
        cached = self.exchange.entry["cached_tokens"]
        return wire.usage(self.request.prompt_tokens, cached, self._completion_tokens(), self._reasoning_tokens())
