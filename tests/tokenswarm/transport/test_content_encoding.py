"""Bodies that come compressed: what the libraries that compress them wrote is what is read, however it is cut."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest

from tokenswarm.transport.content_encoding import MAX_PIECE_BYTES, decoder_of
from tokenswarm.transport.http1 import ProtocolError

BODY = b'{"error": {"message": "slow down"}}' * 20


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("br", brotli.compress),
        ("identity, gzip", gzip.compress),
        ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_what_was_compressed_is_read(encoding: str, compress: Callable[[bytes], bytes], size: int) -> None:
    decode = decoder_of(encoding)
    assert decode is not None
    data = compress(BODY)
    assert b"".join(decode(data[at : at + size]) for at in range(0, len(data), size)) == BODY


@pytest.mark.parametrize("encoding", ["", "identity", "zstd", "gzip, zstd"])
def test_what_cannot_be_decoded_is_left_as_it_is(encoding: str) -> None:
    assert decoder_of(encoding) is None


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_what_is_not_compressed_though_it_says_so_is_refused(encoding: str) -> None:
    decode = decoder_of(encoding)
    assert decode is not None
    with pytest.raises(ProtocolError, match="compressed body cannot be read"):
        decode(b"<html>no such thing</html>" * 10)


def test_a_bomb_is_refused() -> None:
    decode = decoder_of("gzip")
    assert decode is not None
    with pytest.raises(ProtocolError, match="more than"):
        decode(gzip.compress(bytes(MAX_PIECE_BYTES + 1)))
