"""What a deployment keeps between requests, in one process: places, prompt cache, how often a body was seen."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from simulator.service.prompt_cache import PromptCache


class Full(Exception):
    """Every place is taken and so is every place in the line."""


class Places:
    """Room for a number of requests at a time; the others wait in the order in which they came."""

    def __init__(self) -> None:
        self.taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def take(self, places: int, line: int) -> None:
        """Take one of `places`, waiting behind at most `line` others. Raises Full."""
        if self.taken < places and not self._waiting:
            self.taken += 1
            return
        if len(self._waiting) >= line:
            raise Full
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            else:
                self._waiting.remove(turn)
            raise

    def leave(self) -> None:
        """Give the place to the next in line, or free it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1


class Engine:
    """One deployment at work."""

    def __init__(self) -> None:
        self.places = Places()
        self.cache = PromptCache()
        self._seen: OrderedDict[str, int] = OrderedDict()

    def occurrence(self, digest: str, remembered: int = 100_000) -> int:
        """How many times this body came before."""
        count = self._seen.pop(digest, 0)
        self._seen[digest] = count + 1
        if len(self._seen) > remembered:
            self._seen.popitem(last=False)
        return count
