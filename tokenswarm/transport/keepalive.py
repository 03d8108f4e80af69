"""Whether a server keeps connections as its answers say. Some close them a moment later: llama.cpp does after streams.

A request that is written on such a connection before its end is seen is lost: the server never reads it, and what looks
like the service failing is a race of the client's own making. `Transport` sends it again on a new connection, and its
row says so (`resent`). When kept connections turn out to be closed again and again, none is kept any more. A server
that closes those that lie idle is not meant: it does so after seconds.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gevent.hub import Hub

PROMPT_S = 1.0
"""A connection that is found closed this soon after its last answer was not idle."""
ENOUGH = 3
SHARE = 0.25
"""Of the kept connections, the share found closed from which none is kept; a restart closes some too."""

Origin = tuple[object, ...]
"""Scheme, host, port and what else tells two connections apart."""

logger = logging.getLogger(__name__)


class KeptConnections:
    """What became of the connections that one process has kept, by origin."""

    def __init__(self) -> None:
        self._tried: Counter[Origin] = Counter()
        self._closed: Counter[Origin] = Counter()
        self._given_up: set[Origin] = set()

    def worth_keeping(self, origin: Origin) -> bool:
        return origin not in self._given_up

    def note(self, origin: Origin, usable: bool, idle_s: float) -> None:
        """A kept connection was looked at before its next request, `idle_s` after its last answer."""
        self._tried[origin] += 1
        if not usable:
            self._count(origin, idle_s < PROMPT_S)

    def note_lost(self, origin: Origin, idle_s: float) -> None:
        """A kept connection that looked usable was closed when its request came, `idle_s` after its last answer."""
        self._count(origin, idle_s < PROMPT_S)

    def _count(self, origin: Origin, closed_at_once: bool) -> None:
        self._closed[origin] += closed_at_once
        closed, tried = self._closed[origin], self._tried[origin]
        if closed >= ENOUGH and closed > SHARE * tried and origin not in self._given_up:
            self._given_up.add(origin)
            logger.warning(
                "%s:%s closes connections that its answers said to keep (%d of %d): from now on each request opens its "
                "own, and its TTFT holds the time for that (connect_ms)",
                *origin[1:3],
                closed,
                tried,
            )

    @classmethod
    def of(cls, hub: Hub) -> KeptConnections:
        """Those of a hub, made on first use."""
        found = getattr(hub, "tokenswarm_kept_connections", None)
        if found is None:
            found = cls()
            hub.tokenswarm_kept_connections = found
        assert isinstance(found, cls)
        return found
