from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
import msgpack
import pytest

from tokenswarm.control import seen_blocks
from tokenswarm.control.mailbox import Mailbox
from tokenswarm.control.messages import MAX_BLOCKS_BYTES, SeenBlocks
from tokenswarm.control.seen_blocks import SeenRelay, SeenTeller
from tokenswarm.traffic.seen_prefixes import SeenPrefixes

RUN = "test/run"


class Wire:
    """One process's end of what Locust sends: a message is what it is after msgpack."""

    def __init__(self, name: str, others: dict[str, Wire]) -> None:
        self.name, self.worker_index, self.clients = name, int(name[1:] or 0), others
        self.takes: dict[str, Callable[..., None]] = {}
        self.sent = 0
        self._others = others

    def register_message(self, kind: str, take: Callable[..., None], concurrent: bool = False) -> None:
        self.takes[kind] = take

    def send_message(self, kind: str, data: Any, client_id: str | None = None) -> None:
        self.sent += 1
        data = msgpack.unpackb(msgpack.packb(data))
        if take := self._others[client_id or "m"].takes.get(kind):
            take(msg=SimpleNamespace(data=data, node_id=self.name))


class Fleet:
    """A master and workers, of whom `elsewhere` are on other machines."""

    def __init__(self, count: int, elsewhere: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(seen_blocks, "EVERY_S", 0.001)
        wires: dict[str, Wire] = {}
        workers = {f"w{number}": Wire(f"w{number}", wires) for number in range(count)}
        self.master = Wire("m", workers)
        self.mailbox = Mailbox(self.master)  # type: ignore[arg-type]
        self.relay = SeenRelay(self.master, self.mailbox)  # type: ignore[arg-type]
        self.relay.begin(RUN)
        wires.update(workers, m=self.master)
        self.seen = [SeenPrefixes(tells=True) for _ in range(count)]
        self.tellers = [self._teller(wire, number, number in elsewhere) for number, wire in enumerate(workers.values())]

    def _teller(self, wire: Wire, number: int, is_elsewhere: bool) -> SeenTeller:
        teller = SeenTeller(Mailbox(wire), lambda: self.seen[number], lambda: (RUN, is_elsewhere))  # type: ignore[arg-type]
        teller.listen()
        return teller

    def tell(self) -> None:
        for teller in self.tellers:
            teller.tell()
        gevent.sleep(0.01)


def test_what_one_worker_has_sent_is_known_to_those_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, alone = Fleet(3, {1, 2}, monkeypatch), SeenPrefixes()
    texts = [bytes([number % 3]) * 3000 + bytes([number]) * 900 * number for number in range(12)]
    for number, text in enumerate(texts):
        assert fleet.seen[number % 3].share([text]) == alone.share([text])
        fleet.tell()
    assert fleet.mailbox.refused == 0


def test_nothing_is_told_where_all_share_what_they_remember(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(2, set(), monkeypatch)
    fleet.seen[0].share([b"a" * 500])
    fleet.tell()
    assert fleet.master.sent == 0


def test_what_is_of_another_run_or_of_nobody_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(2, {0, 1}, monkeypatch)
    take = fleet.master.takes[SeenBlocks.NAME]
    for data, sender in (
        ({"run": "before", "blocks": b"12345678", "is_elsewhere": True}, "w0"),
        ({"run": RUN, "blocks": b"1234567", "is_elsewhere": True}, "w0"),
        ({"run": RUN, "blocks": bytes(MAX_BLOCKS_BYTES + 8), "is_elsewhere": True}, "w0"),
        ({"run": RUN, "blocks": "12345678", "is_elsewhere": True}, "w0"),
        ({"run": RUN, "blocks": b"12345678", "is_elsewhere": True}, "stranger"),
    ):
        take(msg=SimpleNamespace(data=data, node_id=sender))
    gevent.sleep(0.01)
    assert (fleet.mailbox.refused, fleet.master.sent) == (4, 0)
