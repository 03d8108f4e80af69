"""TLS records, however the network cuts them, decrypted where they were read: `Tls.decrypt`."""

from __future__ import annotations

import contextlib
import random
import ssl
from pathlib import Path

import pytest

from tests.faults.certificates import Authority
from tokenswarm.transport.connect import READ_BYTES, ReadBuffer, Tls
from tokenswarm.transport.tls import tls_context


class _Peer:
    """A TLS server over memory, and a session with it."""

    def __init__(self, folder: Path) -> None:
        authority = Authority("company")
        context = authority.server_context(folder, "host.invalid")
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.client = Tls(tls_context(str(authority.write(folder / "ca.pem"))), "host.invalid")
        for session in (self.client.session, self._session, self.client.session, self._session):
            with contextlib.suppress(ssl.SSLWantReadError):
                session.do_handshake()
            self._incoming.write(self.client.outgoing.read())
            self.client.incoming.write(self._outgoing.read())

    def encrypt(self, *records: bytes) -> bytes:
        for record in records:
            self._session.write(record)
        return self._outgoing.read()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> _Peer:
    return _Peer(tmp_path_factory.mktemp("peer"))


def _decrypted(peer: _Peer, reads: list[bytes]) -> list[bytes]:
    buffer, said = ReadBuffer(), []
    for data in reads:
        buffer.into[0][: len(data)] = data
        said.append(bytes(buffer.view[: peer.client.decrypt(buffer.view, len(data))]))
    return said


def test_a_record_a_read_is_decrypted_in_its_place(peer: _Peer) -> None:
    words = [b"one", b"two", b"three" * 3000]
    assert _decrypted(peer, [peer.encrypt(word) for word in words]) == words


def test_records_that_come_together_are_all_decrypted(peer: _Peer) -> None:
    words = [b"one", b"two", b"three"]
    assert _decrypted(peer, [peer.encrypt(*words)]) == [b"onetwothree"]


def test_an_unfinished_record_waits_for_its_rest(peer: _Peer) -> None:
    first, second = peer.encrypt(b"first"), peer.encrypt(b"second")
    reads = [first[:3], first[3:] + second[:-1], second[-1:]]
    assert _decrypted(peer, reads) == [b"", b"first", b"second"]


@pytest.mark.parametrize("seed", range(20))
def test_reads_that_end_anywhere_lose_nothing(peer: _Peer, seed: int) -> None:
    rng = random.Random(seed)
    records = [rng.randbytes(rng.choice((1, 200, 5000, 16384))) for _ in range(40)]
    wire, reads = peer.encrypt(*records), []
    while wire:
        size = rng.choice((1, 4, 6, 300, 20_000, READ_BYTES))
        reads.append(wire[:size])
        wire = wire[size:]
    assert b"".join(_decrypted(peer, reads)) == b"".join(records)


def test_a_full_read_behind_an_almost_whole_record_has_room(peer: _Peer) -> None:
    wire = peer.encrypt(*[bytes(16384)] * 6)
    reads = [wire[:16400], wire[16400 : 16400 + READ_BYTES], wire[16400 + READ_BYTES :]]
    assert len(b"".join(_decrypted(peer, reads))) == 6 * 16384


def test_a_forged_record_is_refused(peer: _Peer, tmp_path: Path) -> None:
    other = _Peer(tmp_path)
    wire = bytearray(other.encrypt(b"word"))
    wire[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        _decrypted(other, [bytes(wire)])
