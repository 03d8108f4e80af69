"""Several targets of one run: shared out by weight, or one after another where the first cannot serve.

By weight, each request goes to the target that is furthest behind its share; the turns of a conversation stay with one
target, whose prompt cache and stored answers they use. By priority, a request that the first target refuses (429, 5xx)
or that reaches nobody is sent to the next at once, as a further attempt of the same call.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from tokenswarm.apis.api import Encoded
from tokenswarm.client.attempt_record import Call, Reply
from tokenswarm.client.call import Asked, Client
from tokenswarm.client.retry import is_retryable


class Shares:
    """Says which target is next, so that each has its share of all so far, to within one request. One for all users of
    a process."""

    def __init__(self, weights: Sequence[float]) -> None:
        total = sum(weights)
        self._shares = [weight / total for weight in weights]
        self._counts = [0] * len(weights)

    def next(self) -> int:
        """The place of the target that is furthest behind."""
        asked = sum(self._counts) + 1
        behind = [share * asked - count for share, count in zip(self._shares, self._counts, strict=True)]
        place = behind.index(max(behind))
        self._counts[place] += 1
        return place


class SeveralClients(Client[Asked]):
    """One virtual user's way to several targets, with a kept connection to each. `shares`: `None` for priority."""

    def __init__(self, clients: Sequence[Client[Asked]], shares: Shares | None) -> None:
        first = clients[0]
        super().__init__(first._api, first._endpoint, first._sending, first._caller)
        self._clients = clients
        self._shares = shares
        self._conversation: tuple[str, int] | None = None

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def encode(self, request: Asked) -> Encoded:
        place = self._place(request)
        return replace(self._clients[place].encode(request), place=place)

    def _place(self, request: Asked) -> int:
        if self._shares is None:
            return 0
        conversation = getattr(request, "session_id", None) or request.conversation_id
        if conversation is None:
            return self._shares.next()
        if self._conversation is None or self._conversation[0] != conversation:
            self._conversation = conversation, self._shares.next()
        return self._conversation[1]

    def _attempt(self, request: Asked, encoded: Encoded, call: Call, since_first_s: float) -> Reply:
        if self._shares is not None:
            return self._clients[encoded.place]._attempt(request, encoded, call, since_first_s)
        began = time.monotonic()
        *others, last = self._clients
        for client in others:
            reply = client._attempt(request, encoded, call, since_first_s + time.monotonic() - began)
            if not is_retryable(reply.record) or self._pause(0.0):
                return reply
            call.emit(reply.record)
            call.attempt += 1
            call.first_started_at = call.first_started_at or reply.record.started_at
            encoded = self._clients[self._clients.index(client) + 1].encode(request)
        return last._attempt(request, encoded, call, since_first_s + time.monotonic() - began)
